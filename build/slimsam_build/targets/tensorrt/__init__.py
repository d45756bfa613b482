"""TensorRT: ONNX made for its parser, checked without it; and plans, built or rehearsed."""
