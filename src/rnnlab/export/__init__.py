"""Taking a trained model away: ONNX, plain torch, safetensors, each with a model card."""
