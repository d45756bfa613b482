"""`slimsam-build`: a checkpoint in, gated artefacts in the model repository out."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path

TARGETS = ("torchscript", "onnxruntime", "openvino")
PRECISIONS = ("fp32", "fp16", "bf16")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command.

    Returns:
        0; 1 if an artefact failed the parity gate; 2 if what was asked for cannot be done.
    """
    options = _parser().parse_args(arguments)
    # PyTorch and transformers take seconds to import; --help and usage errors need neither.
    from slimsam_build.checkpoints import load_checkpoint
    from slimsam_build.errors import BuildError, ParityError
    from slimsam_build.repository import build, check_repository
    from slimsam_build.targets import find_target

    start = time.monotonic()
    try:
        find_target(options.target, options.precision)
        check_repository(options.model_repository)
        checkpoint = load_checkpoint(options.checkpoint)
        measured = build(checkpoint, options.target, options.precision, options.model_repository)
    except BuildError as error:
        print(f"slimsam-build: error: {error}", file=sys.stderr)
        return 1 if isinstance(error, ParityError) else 2
    figures = measured.figures
    print(
        f"parity with SamModel: embedding error {figures.embedding_error:.1e}, "
        f"mask IoU mean {figures.mask_iou_mean:.5f} min {figures.mask_iou_min:.5f}, "
        f"score error {figures.score_error:.1e}\n"
        f"one image {measured.encode_seconds:.3f} s, one click {measured.decode_seconds:.4f} s; "
        f"built in {time.monotonic() - start:.0f} s"
    )
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="slimsam-build", description=__doc__)
    parser.add_argument(
        "--checkpoint",
        required=True,
        metavar="ID|DIR|demo",
        help="Hugging Face id (nielsr/slimsam-77-uniform, facebook/sam-vit-base, ...), "
        "a directory in that format, or the bundled demo checkpoint",
    )
    parser.add_argument("--target", required=True, choices=TARGETS)
    parser.add_argument(
        "--precision", default="fp32", choices=PRECISIONS, help="default: %(default)s"
    )
    parser.add_argument(
        "--model-repository",
        type=Path,
        default=Path("model_repository"),
        metavar="DIR",
        help="default: %(default)s",
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())
