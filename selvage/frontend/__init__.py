"""Reading of models: layer files, ONNX files of one operator and of networks; pruning and quantising."""
