"""`slimsam-build`: a checkpoint in, gated artefacts in the model repository out."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path

TARGETS = ("torchscript", "onnxruntime", "openvino", "tensorrt")
PRECISIONS = ("fp32", "fp16", "bf16")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command.

    Returns:
        0; 1 if an artefact failed the parity gate, or if --check found one that is stale; 2 if
        what was asked for cannot be done; 3 if the ONNX for TensorRT is made and verified, and the
        plan has to be built elsewhere.
    """
    parser = _parser()
    options = parser.parse_args(arguments)
    if options.check:
        return _check(options)
    if options.checkpoint is None or options.target is None:
        parser.error("expected --checkpoint and --target, or --check")
    return _build(options)


def _check(options: argparse.Namespace) -> int:
    from slimsam_build.check import find_stale
    from slimsam_build.machine import this_machine

    stale = find_stale(options.model_repository, options.target, this_machine())
    for line in stale:
        print(f"stale: {line}", file=sys.stderr)
    if not stale:
        print(f"{options.model_repository}: all artefacts are those that belong here")
    return 1 if stale else 0


def _build(options: argparse.Namespace) -> int:
    # PyTorch and transformers take seconds to import; --help and usage errors need neither.
    from slimsam_build import plans
    from slimsam_build.checkpoints import load_checkpoint
    from slimsam_build.errors import BuildError, ParityError
    from slimsam_build.repository import build, check_repository
    from slimsam_build.targets import find_target

    start = time.monotonic()
    try:
        find_target(options.target, options.precision)
        check_repository(options.model_repository)
        checkpoint = load_checkpoint(options.checkpoint)
        built = build(
            checkpoint,
            options.target,
            options.precision,
            options.model_repository,
            workspace_mib=options.workspace,
        )
    except BuildError as error:
        print(f"slimsam-build: error: {error}", file=sys.stderr)
        return 1 if isinstance(error, ParityError) else 2
    measured = built.measured
    figures = measured.figures
    print(
        f"parity with SamModel in {built.precision}: embedding error "
        f"{figures.embedding_error:.1e}, mask IoU mean {figures.mask_iou_mean:.5f} min "
        f"{figures.mask_iou_min:.5f}, score error {figures.score_error:.1e}\n"
        f"one image {measured.encode_seconds:.3f} s, one click {measured.decode_seconds:.4f} s; "
        f"built in {time.monotonic() - start:.0f} s"
    )
    if options.target == "tensorrt" and (reason := plans.missing()):
        print(
            f"slimsam-build: no plan was built, because {reason}: the ONNX files are in place and "
            f"verified; on the GPU that will serve run: {_container_command(options)}",
            file=sys.stderr,
        )
        return 3
    return 0


def _container_command(options: argparse.Namespace) -> str:
    """The line that builds the plans in NVIDIA's image."""
    mounts = [f"-v {options.model_repository.resolve()}:/models"]
    checkpoint = options.checkpoint
    if Path(checkpoint).is_dir():
        mounts.append(f"-v {Path(checkpoint).resolve()}:/checkpoint:ro")
        checkpoint = "/checkpoint"
    return (
        f"docker run --rm --gpus all --user $(id -u) {' '.join(mounts)} slimsam-build:0.1.0 "
        f"--checkpoint {checkpoint} --target tensorrt --precision {options.precision} "
        "--model-repository /models"
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="slimsam-build", description=__doc__)
    parser.add_argument(
        "--checkpoint",
        metavar="ID|DIR|demo",
        help="Hugging Face id (nielsr/slimsam-77-uniform, facebook/sam-vit-base, ...), "
        "a directory in that format, or the bundled demo checkpoint",
    )
    parser.add_argument("--target", choices=TARGETS)
    parser.add_argument(
        "--precision",
        default="fp32",
        choices=PRECISIONS,
        help="default: %(default)s; where a half precision fails the parity gate, fp32 is built",
    )
    parser.add_argument(
        "--model-repository",
        type=Path,
        default=Path("model_repository"),
        metavar="DIR",
        help="default: %(default)s",
    )
    parser.add_argument(
        "--workspace", type=_mebibytes, metavar="MIB", help="memory limit of TensorRT's builder"
    )
    parser.add_argument(
        "--check",
        action="store_true",
        help="build nothing; say which artefacts (of --target, or all) do not belong to these "
        "configurations and this machine",
    )
    return parser


def _mebibytes(text: str) -> int:
    if not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"expected MiB, at least 1, got {text!r}")
    return int(text)


if __name__ == "__main__":
    sys.exit(main())
