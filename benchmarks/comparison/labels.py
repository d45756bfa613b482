"""Names of the comparison's sides and stages: those in the results, and those for people."""

from __future__ import annotations

from typing import Final

BASELINE: Final = "sam_model_sdpa"
OURS: Final = "ours_fp32"
BF16: Final = "ours_bf16"
SERVED: Final = "served_fp32"

SIDES: Final = {
    BASELINE: "SamModel, sdpa",
    "sam_model_eager": "SamModel, eager",
    "onnx_onnxruntime": "plain, ONNX Runtime",
    "onnx_openvino": "plain, OpenVINO",
    OURS: "ours, fp32",
    BF16: "ours, bf16",
    SERVED: "ours, served",
}
STAGES: Final = {
    "encode": "encode an image",
    "decode_1": "decode 1 prompt",
    "decode_8": "decode 8 prompts",
    "decode_64": "decode 64 prompts",
    "click": "click on a known image",
    "ensemble": "ensemble, 1 prompt",
    "segment": "segment a 12 MP JPEG",
    "everything_1024": "everything, 1024 points",
}
