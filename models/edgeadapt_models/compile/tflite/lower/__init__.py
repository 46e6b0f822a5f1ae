"""From an ONNX graph to LiteRT subgraphs: what is known of it, where its values lie, who folds what."""
