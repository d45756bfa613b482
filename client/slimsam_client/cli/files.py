"""Files that are written whole or not at all, however the command ends."""

from __future__ import annotations

import io
import os
import secrets
from pathlib import Path
from typing import Final

from PIL import Image

from slimsam_client.cli.status import UsageError

PART_SUFFIX: Final = ".slimsam-part"
"""Of files that are being written. Only a process that was killed leaves one behind."""


def write_whole(path: Path, content: bytes) -> None:
    """Write a file in one step, in place of one that is there.

    Links are followed. What is there and no file, such as /dev/stdout or a pipe, is written to: it
    must not be replaced.

    Raises:
        UsageError: it cannot be written.
    """
    try:
        if path.exists() and not path.is_file():
            path.write_bytes(content)
            return
        target = Path(os.path.realpath(path))
        part = target.parent / f".{secrets.token_hex(8)}{PART_SUFFIX}"
        try:
            with part.open("xb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())  # else a power cut could leave the new name empty
            os.replace(part, target)
        except BaseException:
            part.unlink(missing_ok=True)
            raise
    except OSError as error:
        raise UsageError(f"cannot write {path}: {error.strerror}") from error


def check_outputs(*paths: Path | None) -> None:
    """Refuse files that cannot be written, before anything is computed for them.

    Raises:
        UsageError: a path has no directory to lie in, or is one.
    """
    for path in paths:
        if path is not None and not path.parent.is_dir():
            raise UsageError(f"cannot write {path}: expected the directory {path.parent}, got none")
        if path is not None and path.is_dir():
            raise UsageError(f"cannot write {path}: expected a file's name, got a directory")


def write_picture(path: Path, picture: Image.Image) -> None:
    """Write a PNG as `write_whole` does."""
    encoded = io.BytesIO()
    # A fifth of the time that Pillow's default takes, for a sixth more bytes: photos are noise.
    picture.save(encoded, "PNG", compress_level=1)
    write_whole(path, encoded.getvalue())


def remove_parts(directory: Path) -> None:
    """Remove what a process that was killed left in a directory and those below it."""
    for part in directory.rglob(f".*{PART_SUFFIX}"):
        part.unlink(missing_ok=True)
