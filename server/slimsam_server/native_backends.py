"""Triton's own C++ backends, from a directory such as a container's /opt/tritonserver/backends."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

from slimsam_server.errors import ServerError

BACKENDS: Final = {"openvino": "openvino", "torchscript": "pytorch", "onnxruntime": "onnxruntime"}
"""The backend that a target's configurations name; of 24.10's, none takes another target."""
PLUGINS: Final = Path(__file__).with_name("plugins.xml")


def check_backends(directory: Path, target: str) -> None:
    """Check that a directory has the backend that a target needs.

    Raises:
        ServerError: it has not; the message names what it has. Or 24.10 has none for the target.
    """
    if target not in BACKENDS:
        raise ServerError(
            f"backends {directory}: expected target {', '.join(BACKENDS)}, got {target}, which "
            "Triton's backends take from 26.07 on and 24.10's do not; leave the directory out, and "
            "a stand-in serves it"
        )
    name = BACKENDS[target]
    try:
        if not directory.is_dir():
            raise ServerError(
                f"backends {directory}: expected a directory of Triton's backends, as 24.10's "
                f"container has in /opt/tritonserver/backends, found "
                f"{'a file' if directory.exists() else 'none'}"
            )
        if not _library(directory, name).is_file():
            found = sorted(path.parent.name for path in directory.glob("*/libtriton_*.so"))
            raise ServerError(
                f"backends {directory}: target {target} expects {name}/libtriton_{name}.so, found "
                f"{'the backends ' + ', '.join(found) if found else 'no backends'}; give the whole "
                "directory, as 24.10's container has in /opt/tritonserver/backends"
            )
    except OSError as error:
        raise ServerError(
            f"backends {directory}: expected a directory that can be read, got {error}"
        ) from error


def link_backend(directory: Path, target: str, into: Path) -> None:
    """Make a folder of links to a target's backend, so that its own is not written to.

    Every file has a link of its own: the dynamic linker and OpenVINO look beside the link for what
    they need, so a folder of links can have files that the linked folder has not.

    Args:
        directory: of the backends.
        target: whose backend.
        into: the backend directory to be; the backend's folder is made in it.

    Raises:
        ServerError: OpenVINO's libraries are not among its files.
    """
    source = directory.absolute() / BACKENDS[target]
    place = into / source.name
    for folder, _, files in os.walk(source, followlinks=True):
        linked = place / Path(folder).relative_to(source)
        linked.mkdir(parents=True)
        for file in files:
            (linked / file).symlink_to(Path(folder) / file)
    if target == "openvino":
        _keep_float32(place, source)


def _keep_float32(place: Path, source: Path) -> None:
    libraries = {library.parent for library in place.rglob("libopenvino.so*")}
    if not libraries:
        raise ServerError(
            f"backends {source.parent}: expected OpenVINO's own libopenvino.so* within {source}, "
            "beside which its precision is set, found none"
        )
    for folder in libraries:
        plugins = folder / PLUGINS.name
        plugins.unlink(missing_ok=True)  # of the directory; a container's says nothing of precision
        plugins.write_bytes(PLUGINS.read_bytes())


def _library(directory: Path, name: str) -> Path:
    return directory / name / f"libtriton_{name}.so"
