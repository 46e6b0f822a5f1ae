"""ONNX files as other people's exporters write them."""
