"""A directory of Triton's own backends: what is missing in it, and how it is left as it is.

With real ones, tests/backends tests what they answer.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from slimsam_server import EmbeddedServer, ServerError
from slimsam_server.backend_directory import assemble
from slimsam_server.native_backends import PLUGINS


@pytest.fixture(params=["lib", "."], ids=["libraries in a folder", "as in a container"])
def backends(tmp_path: Path, request: pytest.FixtureRequest) -> Path:
    """A directory whose libraries are none."""
    directory = tmp_path / "backends"
    runtimes = {"openvino": "libopenvino.so.1", "onnxruntime": "libonnxruntime.so"}
    for name, runtime in runtimes.items():
        libraries = directory / name / request.param
        libraries.mkdir(parents=True)
        (directory / name / f"libtriton_{name}.so").write_text("no library")
        (libraries / runtime).write_text("no library")
    (directory / "openvino" / request.param / "plugins.xml").write_text("its own")
    (directory / "python").mkdir()
    (directory / "python" / "libtriton_python.so").write_text("of another Python")
    for path in (directory, *directory.rglob("*")):
        path.chmod(0o555 if path.is_dir() else 0o444)
    return directory


def contents(directory: Path) -> dict[str, str]:
    files = (path for path in directory.rglob("*") if path.is_file())
    return {str(path.relative_to(directory)): path.read_text() for path in files}


def test_the_directory_is_not_written_to(backends: Path, tmp_path: Path) -> None:
    before = contents(backends)
    made = assemble(tmp_path / "made", "openvino", backends)
    assert contents(backends) == before
    library = made / "openvino" / "libtriton_openvino.so"
    assert library.is_symlink() and library.resolve() == backends / "openvino" / library.name
    assert not library.parent.is_symlink()  # a library's folder is that of its link
    (runtime,) = made.rglob("libopenvino.so.1")
    assert runtime.with_name("plugins.xml").read_text() == PLUGINS.read_text()
    assert not runtime.with_name("plugins.xml").is_symlink()
    assert not (made / "onnxruntime").exists()


def test_the_python_backend_is_this_pythons(backends: Path, tmp_path: Path) -> None:
    made = assemble(tmp_path / "made", "onnxruntime", backends)
    assert (made / "python" / "triton_python_backend_stub").is_file()
    assert (made / "python" / "libtriton_python.so").stat().st_size > 100_000
    assert not list(made.rglob("plugins.xml"))


def with_files(repository: Path, *names: str) -> Path:
    """Give a repository artifacts that are empty, and not read here."""
    for model in ("slimsam_encoder", "slimsam_decoder", "slimsam_decoder_bulk"):
        for name in names:
            (repository / model / "1" / name).touch()
    return repository


@pytest.mark.parametrize("backends", ["lib"], indirect=True)
@pytest.mark.parametrize(
    ("target", "files"),
    [("openvino", ["model.xml", "model.bin"]), ("onnxruntime", ["model.onnx"])],
    ids=["openvino", "onnxruntime"],
)
def test_a_library_that_cannot_be_loaded(
    backends: Path, empty_repository: Path, target: str, files: list[str]
) -> None:
    repository = with_files(empty_repository, *files)
    message = (
        r"its log says: failed to load '\w+' version 1: Not found: unable to load shared library: "
        rf"\S+/{target}/libtriton_{target}\.so: file too short"
    )
    with pytest.raises(ServerError, match=message):
        EmbeddedServer(repository, target, backends=backends).start()


def test_openvino_without_its_libraries(empty_repository: Path, tmp_path: Path) -> None:
    lacking = tmp_path / "lacking"
    (lacking / "openvino").mkdir(parents=True)
    (lacking / "openvino" / "libtriton_openvino.so").write_text("no library")
    repository = with_files(empty_repository, "model.xml", "model.bin")
    with pytest.raises(ServerError, match=r"expected OpenVINO's own libopenvino\.so\*"):
        EmbeddedServer(repository, backends=lacking).start()


@pytest.mark.parametrize("backends", ["lib"], indirect=True)
@pytest.mark.parametrize(
    ("place", "message"),
    [
        ("none", "expected a directory of Triton's backends, .* found none"),
        ("file", "expected a directory of Triton's backends, .* found a file"),
        ("empty", r"expects pytorch/libtriton_pytorch\.so, found no backends"),
        ("backends", r"target torchscript expects .*found the backends onnxruntime, openvino"),
    ],
)
def test_a_directory_that_lacks_the_targets_backend(
    empty_repository: Path, tmp_path: Path, place: str, message: str, backends: Path
) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "empty").mkdir()
    repository = with_files(empty_repository, "model.pt")
    with pytest.raises(ServerError, match=message):
        EmbeddedServer(repository, "torchscript", backends=tmp_path / place).start()
