"""Quantising of float models by onnxruntime, with the measure of what it costs."""
