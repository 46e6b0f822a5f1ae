"""Trained weights: for each name a ``.safetensors`` file and its ``.json`` card, read by `zoo.weights`.

Only data lives here. The files are written by ``edgeadapt model train``, never by hand.
"""
