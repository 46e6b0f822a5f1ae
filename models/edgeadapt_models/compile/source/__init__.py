"""Where models come from: torch modules, exported programs, ONNX files; and the data they are measured on.

Each source makes a `draft.Draft`; all that follows is the same for all of them (`compile.prepare`).
"""
