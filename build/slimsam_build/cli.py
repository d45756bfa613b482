"""`slimsam-build`: a checkpoint in, gated artifacts in the model repository out."""

from __future__ import annotations

import argparse
import shlex
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from slimsam_build.errors import BuildError, ParityError, one_line
from slimsam_build.repository import ARTIFACTS
from slimsam_client.version import __version__

PRECISIONS = ("fp32", "fp16", "bf16")
EXIT_STATUSES = """exit status:
  0  built or converted as asked for, or all artifacts belong here
  1  an artifact failed the parity gate and nothing was installed; or `check` found a stale one
  2  what was asked for cannot be done; one line says why
  3  the ONNX for TensorRT is made and verified; the plan has to be built on a GPU with TensorRT
  4  fp32 was installed, because the precision that was asked for, or fp16 as the default of a
     GPU, failed the parity gate
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command.

    Returns:
        The exit status, one of `EXIT_STATUSES`.
    """
    given = sys.argv[1:] if arguments is None else list(arguments)
    if given and given[0].startswith("-") and given[0] not in ("-h", "--help"):
        return _main_of_0_1(given)
    options = _parser().parse_args(given)
    run = {"build": _build, "check": _check, "convert": _convert}[options.command]
    return run(options)


def _main_of_0_1(given: list[str]) -> int:
    """Run a command in the spelling of 0.1.0, without a subcommand.

    It is not told of on standard error: scripts read that line by line.
    """
    parser = argparse.ArgumentParser(prog="slimsam-build")
    _add_build_options(parser, required=False)
    parser.add_argument("--check", action="store_true")
    options = parser.parse_args(given)
    if options.check:
        return _check(options)
    if options.checkpoint is None or options.target is None:
        parser.error("expected --checkpoint and --target, or --check")
    return _build(options)


def _check(options: argparse.Namespace) -> int:
    from slimsam_build.check import find_remains, find_stale
    from slimsam_build.machine import this_machine
    from slimsam_build.wanted import Wanted

    wanted = Wanted(options.checkpoint, options.precision)
    stale = find_stale(options.model_repository, options.target, this_machine(), wanted)
    for line in stale:
        print(f"stale: {one_line(line)}", file=sys.stderr)
    for line in find_remains(options.model_repository):
        print(f"left over: {one_line(line)}", file=sys.stderr)
    if not stale:
        print(f"{options.model_repository}: all artifacts are those that belong here")
    return 1 if stale else 0


def _build(options: argparse.Namespace) -> int:
    # PyTorch and transformers take seconds to import; --help and usage errors need neither.
    from slimsam_build.heap import keep_freed_memory
    from slimsam_build.pipeline import build
    from slimsam_build.targets import TARGETS

    if options.precision is None:
        options.precision = TARGETS[options.target].default_precision_here
    start = time.monotonic()
    keep_freed_memory()
    try:
        built = build(
            options.checkpoint,
            options.target,
            options.precision,
            options.model_repository,
            workspace_mib=options.workspace,
            strict=options.strict,
        )
    except BuildError as error:
        print(f"slimsam-build: error: {one_line(str(error))}", file=sys.stderr)
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
    if built.unfinished:
        print(
            f"slimsam-build: no plan was built, because {built.unfinished}: the ONNX files are in "
            "place and verified; on the GPU that will serve run: "
            f"{_container_command(options)}",
            file=sys.stderr,
        )
        return 3
    if built.precision != options.precision:
        print(
            f"slimsam-build: {built.precision} was installed, because {options.precision} failed "
            f"the {'; '.join(built.refused)}; with --strict nothing would have been",
            file=sys.stderr,
        )
        return 4
    return 0


def _convert(options: argparse.Namespace) -> int:
    from slimsam_build.convert import convert

    try:
        checkpoint = convert(options.file, options.output)
    except BuildError as error:
        print(f"slimsam-build: error: {one_line(str(error))}", file=sys.stderr)
        return 2
    vision = checkpoint.model.config.vision_config
    print(
        f"converted {options.file}: {vision.num_hidden_layers} layers, {vision.hidden_size} wide, "
        f"{vision.num_attention_heads} heads; now: slimsam-build build --checkpoint "
        f"{shlex.quote(str(options.output))} --target openvino"
    )
    return 0


def _container_command(options: argparse.Namespace) -> str:
    """The line that builds the plans in NVIDIA's image."""
    checkpoint = options.checkpoint
    mounts = [f"{options.model_repository.resolve()}:/models"]
    directory = Path(checkpoint).expanduser()
    if checkpoint != "demo" and directory.is_dir():
        mounts.append(f"{directory.resolve()}:/checkpoint:ro")
        checkpoint = "/checkpoint"
    asked = f" --workspace {options.workspace}" if options.workspace else ""
    asked += " --strict" if options.strict else ""
    return (
        "docker run --rm --gpus all --user $(id -u) "
        f"{' '.join(f'-v {shlex.quote(mount)}' for mount in mounts)} "
        f"slimsam-build:{__version__} build "
        f"--checkpoint {shlex.quote(checkpoint)} --target {options.target} "
        f"--precision {options.precision} --model-repository /models{asked}"
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="slimsam-build",
        description=__doc__,
        epilog=EXIT_STATUSES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    build = commands.add_parser(
        "build",
        help="export a checkpoint, gate the artifacts and install them",
        description="Export a checkpoint, gate the artifacts against SamModel and install them.",
    )
    _add_build_options(build, required=True)
    check = commands.add_parser(
        "check",
        help="say which artifacts do not belong to these configurations and this machine",
        description="Say which artifacts do not belong to these configurations and this machine.",
    )
    check.add_argument("--target", choices=tuple(ARTIFACTS), help="default: all that were built")
    check.add_argument(
        "--checkpoint",
        metavar="ID[@REVISION]|DIR|demo",
        help="which, and this slimsam-build, they are to be of; default: any",
    )
    check.add_argument(
        "--precision",
        choices=PRECISIONS,
        help="for which they are to be built, fp32 in its place included; default: any",
    )
    _add_repository(check)
    convert = commands.add_parser(
        "convert",
        help="convert a .pth of the original SAM or SlimSAM to the format that `build` takes",
        description="Convert a checkpoint of the original SAM or SlimSAM code, a state dict or a "
        "whole pickled model, to Hugging Face's format. No code of the file is run.",
    )
    convert.add_argument("file", type=Path, metavar="FILE.pth")
    convert.add_argument("output", type=Path, metavar="OUTPUT_DIR", help="a new directory")
    return parser


def _add_build_options(parser: argparse.ArgumentParser, required: bool) -> None:
    parser.add_argument(
        "--checkpoint",
        required=required,
        metavar="ID[@REVISION]|DIR|demo",
        help="Hugging Face id (nielsr/slimsam-77-uniform, facebook/sam-vit-base, ...), at a "
        "branch, tag or commit if one is given, a directory in that format, or the bundled demo "
        "checkpoint",
    )
    parser.add_argument("--target", required=required, choices=tuple(ARTIFACTS))
    parser.add_argument(
        "--precision",
        choices=PRECISIONS,
        help="default: fp16 for a GPU, that is for tensorrt, and for torchscript, onnxruntime and "
        "torch_aoti on a machine with one; else fp32. Where a half precision fails the parity "
        "gate, fp32 is built, and the exit status is 4",
    )
    parser.add_argument(
        "--strict",
        action="store_true",
        help="install nothing where the precision fails the parity gate; the exit status is 1",
    )
    _add_repository(parser)
    parser.add_argument(
        "--workspace", type=_mebibytes, metavar="MIB", help="memory limit of TensorRT's builder"
    )


def _add_repository(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--model-repository",
        type=Path,
        default=Path("model_repository"),
        metavar="DIR",
        help="default: %(default)s",
    )


def _mebibytes(text: str) -> int:
    # TensorRT takes bytes in 64 bits; a terabyte is more than any GPU has.
    if not (text.isascii() and text.isdigit() and len(text) < 8 and 1 <= int(text) <= 1 << 20):
        raise argparse.ArgumentTypeError(f"expected MiB, 1 to {1 << 20}, got {text[:40]!r}")
    return int(text)


if __name__ == "__main__":
    sys.exit(main())
