"""`slimsam`: masks of images from the command line."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from importlib.metadata import version

from slimsam_client.cli import everything, export_coco, health, segment
from slimsam_client.cli.status import EXPLANATION, FAILED, INTERRUPTED, WRONG
from slimsam_client.errors import MissingExtraError, SlimSamError

COMMANDS = {
    "everything": (everything, "segment all objects of an image, or of all images of a folder"),
    "segment": (segment, "segment one object of an image by points, a box, or both"),
    "health": (health, "look whether a server lives, serves the models and answers"),
    "export-coco": (export_coco, "turn a folder's records into one COCO annotations file"),
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command.

    Returns:
        The exit status: see `status`.
    """
    options = _parser().parse_args(arguments)
    try:
        status: int = options.run(options)
        sys.stdout.flush()
        return status
    except KeyboardInterrupt:
        print("slimsam: interrupted", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:  # who read our output has gone, as `head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILED
    except SlimSamError as error:
        print(f"slimsam: error: {error}", file=sys.stderr)
        return WRONG if isinstance(error, ValueError | MissingExtraError) else FAILED
    except OSError as error:
        said = f"{error.filename}: {error.strerror}" if error.filename else error
        print(f"slimsam: error: {said}", file=sys.stderr)
        return WRONG


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="slimsam",
        description="Masks of images, from a Triton server that serves SlimSAM.",
        epilog=EXPLANATION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=version("slimsam-client"))
    commands = parser.add_subparsers(dest="command", required=True)
    for name, (module, text) in COMMANDS.items():
        command = commands.add_parser(
            name,
            help=text,
            description=f"{text[0].upper()}{text[1:]}.",
            epilog=EXPLANATION,
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
        )
        module.add_options(command)
        command.set_defaults(run=module.run)
    return parser
