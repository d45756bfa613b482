"""Encoded images: opened as a binary file, and read by Pillow's plugins."""

from __future__ import annotations

import inspect
import io
import os
import struct
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import IO, Any, Final

from PIL import Image, ImageFile

from slimsam_client.errors import ImageError
from slimsam_client.image import jpeg, tiff
from slimsam_client.quoting import quoted

LONGEST_PATH: Final = 1024
"""Text of more characters is likely to be an image itself, in base64."""

_locks: list[threading.RLock] = []


def _renew_locks() -> None:
    _locks[:] = [threading.RLock() for _ in range(64)]


_renew_locks()
if hasattr(os, "register_at_fork"):
    # A lock that another thread holds during a fork would stay locked in the child.
    os.register_at_fork(after_in_child=_renew_locks)


def exclusive(source: object) -> threading.RLock:
    """Give a lock to hold while a file or a PIL image is read.

    Both have one position in one file. A list may name the same source for several of its images,
    and two threads that read it at once would get pixels of neither, without an error. Two sources
    may share a lock, which costs no more than time.
    """
    return _locks[id(source) // 16 % len(_locks)]


@contextmanager
def opened(source: Any) -> Iterator[tuple[IO[bytes], str]]:
    """Open a path, bytes, or a binary file or upload, which stays open afterwards.

    Yields:
        A file that can be sought in, and its name for messages.

    Raises:
        ImageError: it is none of these, or cannot be opened or read.
    """
    if isinstance(source, bytes | bytearray | memoryview):
        try:
            content = bytes(source)
        except ValueError as error:  # the memoryview was released
            raise _unreadable("image bytes", error) from error
        yield io.BytesIO(content), "image bytes"
    elif isinstance(source, str | os.PathLike):
        name = quoted(os.fsdecode(source))
        with _opened_path(os.fspath(source)) as file:
            yield _seekable(file, name), name
    elif hasattr(source, "read") or hasattr(getattr(source, "file", None), "read"):
        given = getattr(source, "name", None) or getattr(source, "filename", None)
        name = quoted(given) if isinstance(given, str) else "image file"
        file = _binary_file(source, name)
        with exclusive(file):
            yield _seekable(file, name), name
    else:
        raise ImageError(
            "expected a path, bytes, a binary file, a PIL image or a NumPy array, "
            f"got {type(source).__name__}; give several images as a list"
        )


def open_image(
    file: IO[bytes], name: str, formats: Sequence[str] | None = None
) -> ImageFile.ImageFile:
    """Read an image's header, as `PIL.Image.open` does but with no limit of pixels.

    Pillow's own limit is one setting for the whole process, `PIL.Image.MAX_IMAGE_PIXELS`, and warns
    at half of it. Here the caller compares the size with a limit of its own before it decodes, so
    that neither has to be changed for other threads.

    Args:
        file: a binary file that can be sought in.
        name: name of the file, for messages.
        formats: Pillow's names of formats; those of all plugins by default.

    Raises:
        ImageError: it is of no format that is known, cannot be read, or is above a limit of
            `check_jpeg` or `check_tiff`.
    """
    prefix = _read(file, name, 16)  # by as many bytes plugins tell a format
    if prefix.startswith(jpeg.START):
        jpeg.check_jpeg(_read(file, name), name)
    if prefix.startswith(tiff.STARTS):
        tiff.check_tiff(file, name)
    try:
        # Plugins of common formats come first, because loading all of them takes a while.
        for load_plugins in (Image.preinit, Image.init):
            load_plugins()
            for format_name in list(Image.ID) if formats is None else formats:
                image = _open_as(format_name, file, prefix)
                if image is not None:
                    return image
    except ImageError:  # a file has a limit of its own
        raise
    except Exception as error:  # plugins raise OSError, ValueError, struct.error and others
        raise damaged(name, error) from error
    expected = (
        "that Pillow reads (JPEG, PNG, WebP, ...)"
        if formats is None
        else f"of one of the formats {', '.join(formats)}"
    )
    raise ImageError(f"{name}: expected an image {expected}, got something else; check the file")


def load(image: Image.Image) -> None:
    """Decode an image whose size the caller has compared with its own limit, as `open_image` says.

    A TIFF compares it with Pillow's again, unless the memory for its pixels is already there.
    """
    stored_size = getattr(image, "_tile_size", None)  # before EXIF's orientation
    if stored_size is not None and getattr(image, "_im", image) is None:
        image.im = Image.new(image.mode, stored_size).im
    image.load()


def damaged(name: str, error: Exception) -> ImageError:
    """Give the error for an image that cannot be read to its end."""
    if isinstance(error, Image.DecompressionBombError):
        return ImageError(
            f"{name}: expected an image within Pillow's own limit, which its format keeps "
            f"({error}); to lift it, set PIL.Image.MAX_IMAGE_PIXELS for the whole process"
        )
    if isinstance(error, MemoryError):
        return ImageError(f"{name}: expected an image that fits into memory, got one that does not")
    return ImageError(
        f"{name}: expected a whole image, got a damaged or truncated one "
        f"({quoted(str(error) or type(error).__name__)}); fetch it again"
    )


def _open_as(format_name: str, file: IO[bytes], prefix: bytes) -> ImageFile.ImageFile | None:
    """Open it in one format, unless the format's plugin is missing or says that it is another."""
    if format_name not in Image.OPEN:
        return None
    factory, accept = Image.OPEN[format_name]
    try:
        accepted = accept is None or accept(prefix)
        if not accepted or isinstance(accepted, str):  # a text says that a codec is missing
            return None
        file.seek(0)
        return factory(file, "")
    except (SyntaxError, IndexError, TypeError, struct.error):
        return None


def _opened_path(path: str | bytes) -> IO[bytes]:
    try:
        return open(path, "rb")
    # ValueError comes of NUL, and of what no file system can encode.
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        text = os.fsdecode(path)
        advice = "check the path"
        if len(text) > LONGEST_PATH or "://" in text or text.startswith("data:"):
            advice = "text is taken for a path: give an image of the web, or of base64, as bytes"
        raise ImageError(
            f"{quoted(text)}: expected a readable image file, got {reason or error}; {advice}"
        ) from error


def _binary_file(source: Any, name: str) -> IO[bytes]:
    """The file itself, or the one in an upload whose own `read` has to be awaited."""
    candidates: tuple[Any, Any] = source, getattr(source, "file", None)
    for file in candidates:
        read = getattr(file, "read", None)
        if callable(read) and not inspect.iscoroutinefunction(read):
            if isinstance(file, io.TextIOBase):
                raise ImageError(_text_mode(name))
            return file  # type: ignore[no-any-return]
    raise ImageError(
        f"{name}: expected a binary file, got {type(source).__name__}, whose `read` is "
        "asynchronous; give what `await file.read()` gives"
    )


def _seekable(file: IO[bytes], name: str) -> IO[bytes]:
    """The file, or what is left in it where it cannot be sought in."""
    try:
        try:
            file.seek(0)
            return file
        except (AttributeError, OSError):  # it is a pipe, or the body of an HTTP response
            content = file.read()
    except Exception as error:
        raise _unreadable(name, error) from error
    if not isinstance(content, bytes | bytearray | memoryview):
        raise ImageError(_text_mode(name))
    return io.BytesIO(content)


def _read(file: IO[bytes], name: str, count: int = -1) -> bytes:
    """Read so many bytes from the file's start, or all of it."""
    try:
        file.seek(0)
        content = file.read(count)
    except UnicodeDecodeError as error:
        raise ImageError(_text_mode(name)) from error
    except Exception as error:
        raise _unreadable(name, error) from error
    if not isinstance(content, bytes):
        raise ImageError(_text_mode(name))
    return content


def _unreadable(name: str, error: Exception) -> ImageError:
    return ImageError(
        f"{name}: expected a binary file that can be read, got "
        f"{quoted(f'{type(error).__name__}: {error}')}; keep it open until the call is over"
    )


def _text_mode(name: str) -> str:
    return f'{name}: expected a binary file, got one of text; open it with mode "rb"'
