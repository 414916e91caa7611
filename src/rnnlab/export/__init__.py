"""Exports trained models to ONNX, plain torch or safetensors, each with a model card."""
