"""`slimsam`: masks of images from the command line."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from importlib.metadata import version
from typing import NoReturn

from slimsam_client.cli import batch, everything, export_coco, health, segment
from slimsam_client.cli.messages import complain, escape_unencodable, printable
from slimsam_client.cli.status import EXPLANATION, FAILED, INTERRUPTED, USAGE
from slimsam_client.errors import MissingExtraError, SlimSamError

COMMANDS = {
    "everything": (everything, "segment all objects of an image, or of all images of a folder"),
    "batch": (batch, "segment many pictures in shards, which any number of workers share"),
    "segment": (segment, "segment one object of an image by points, a box, or both"),
    "health": (health, "look whether a server lives, serves the models and answers"),
    "export-coco": (export_coco, "turn a folder's records into one COCO annotations file"),
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command.

    Returns:
        The exit status: see `status`.
    """
    escape_unencodable()
    options = _parser().parse_args(arguments)
    try:
        status: int = options.run(options)
        if sys.stdout is not None:  # it is None where a shell closed it
            sys.stdout.flush()
        return status
    except KeyboardInterrupt:
        complain("interrupted")
        return INTERRUPTED
    except BrokenPipeError:  # the reader of the output has ended, as `head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILED
    except SlimSamError as error:
        complain(f"error: {error}")
        return USAGE if isinstance(error, ValueError | MissingExtraError) else FAILED
    except OSError as error:
        complain(
            f"error: {error.filename}: {error.strerror}" if error.filename else f"error: {error}"
        )
        return USAGE
    except UnicodeError as error:  # a file's name cannot be encoded in the system's encoding
        complain(f"error: expected names of files in the system's encoding, got another: {error}")
        return USAGE
    except MemoryError:
        complain("error: expected an image that fits into memory, got one that does not")
        return USAGE


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        """Print in one line what is wrong, without the usage of twenty lines."""
        self.exit(USAGE, f"{self.prog}: error: {printable(message)}; see {self.prog} --help\n")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
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
