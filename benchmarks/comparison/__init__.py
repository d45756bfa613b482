"""This project beside `SamModel` and its plain ONNX export: what `make bench` measures."""
