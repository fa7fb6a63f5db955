"""Reading of ONNX files: a layer of one operator, or a quantised network and what of it the host computes."""
