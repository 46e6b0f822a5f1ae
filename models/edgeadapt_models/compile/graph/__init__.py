"""The ONNX graph: exported, searched for norm layers and slots, given a probe, walked byte by byte."""
