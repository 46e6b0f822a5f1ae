"""Post-training quantisation to 8 bits: ranges of activations, and the ONNX graph in QDQ form.

`ranges` is shared by every 8-bit artifact: it measures a float model, whatever runtime the integers are for.
"""
