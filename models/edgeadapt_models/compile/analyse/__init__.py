"""Find in any ONNX graph what can be adapted: norm layers, the classifier head, the embedding. Read only.

Start at `edgeadapt_models.compile.analyse.findings`. Changing graphs is in `edgeadapt_models.compile.graph`.
"""
