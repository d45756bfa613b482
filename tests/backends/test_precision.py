"""In which precision Triton's own OpenVINO backend computes, and that its directory stays as it is.

Nothing here needs a processor that has bf16.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tritonclient.grpc as triton
from raw_requests import encoder_inputs, infer

from slimsam_build.parity import BOUNDS
from slimsam_client import SlimSam
from slimsam_client.contract import DECODER, ENCODER, INFO
from slimsam_client.parity.figures import relative_error
from slimsam_server import EmbeddedServer, ServerError, native_backends

PLUGINS_OF_NO_USE = '<ie><plugins><plugin name="CPU" location="libnothere.so"/></plugins></ie>'


@pytest.fixture
def repository(exported: Callable[[str, str], Path]) -> Path:
    return exported("demo", "openvino")


def test_openvino_reads_the_precision_that_is_laid_over_its_folder(
    repository: Path, backends: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plugins = tmp_path / "plugins.xml"
    plugins.write_text(PLUGINS_OF_NO_USE)
    monkeypatch.setattr(native_backends, "PLUGINS", plugins)
    with pytest.raises(ServerError, match=r"failed to load .*libnothere\.so"):
        EmbeddedServer(repository, backends=backends).start()


def as_in_a_container(backends: Path, directory: Path) -> Path:
    """Bring OpenVINO's libraries beside its backend, with a plugins.xml of their own."""
    place = directory / "openvino"
    place.mkdir(parents=True)
    for file in (backends / "openvino" / "lib").iterdir():
        (place / file.name).symlink_to(file.resolve())
    library = (backends / "openvino" / "libtriton_openvino.so").read_bytes()
    assert library.count(b"$ORIGIN/lib\0") == 1  # where the linker looks for them
    library = library.replace(b"$ORIGIN/lib\0", b"$ORIGIN\0\0\0\0\0")
    (place / "libtriton_openvino.so").write_bytes(library)
    (place / "plugins.xml").unlink(missing_ok=True)
    (place / "plugins.xml").write_text(PLUGINS_OF_NO_USE)
    place.chmod(0o555)
    directory.chmod(0o555)
    return directory


def test_a_directory_as_in_a_container(repository: Path, backends: Path, tmp_path: Path) -> None:
    if not (backends / "openvino" / "lib").is_dir():
        pytest.skip("the directory of these tests is one already")
    directory = as_in_a_container(backends, tmp_path / "backends")
    with EmbeddedServer(repository, backends=directory) as server, SlimSam(server.grpc_url) as sam:
        assert sam.segment(np.zeros((8, 8, 3), np.uint8), points=[(4, 4)]).masks.shape == (3, 8, 8)
        maps = Path(f"/proc/{server.processes()[0]}/maps").read_text()
        assert str(directory / "openvino" / "libtriton_openvino.so") in maps
    assert (directory / "openvino" / "plugins.xml").read_text() == PLUGINS_OF_NO_USE


def test_bf16_artifacts_are_served_with_the_hint(
    repository: Path, backends: Path, tmp_path: Path, serve_native: Callable[..., EmbeddedServer]
) -> None:
    rounded = tmp_path / "repository"
    shutil.copytree(repository, rounded, symlinks=True)
    for file in (rounded / INFO.name / "1").glob("openvino.*"):
        file.unlink()  # the demo checkpoint fails the gate in bf16, so that it would not start
    for model in (ENCODER, DECODER):
        report = rounded / model.name / "1" / "model.xml.json"
        report.write_text(json.dumps({"precision": "bf16"}))
    expected = infer(serve_native("demo", "openvino").grpc_url, ENCODER.name, encoder_inputs())
    with EmbeddedServer(rounded, backends=backends) as server:
        found = infer(server.grpc_url, ENCODER.name, encoder_inputs())
        with triton.InferenceServerClient(server.grpc_url) as client:
            for model in (ENCODER, DECODER):
                parameters = client.get_model_config(model.name).config.parameters
                assert parameters["HINT_BF16"].string_value == "YES"
    error = relative_error(*(each.as_numpy("image_embeddings") for each in (found, expected)))
    assert error <= BOUNDS["bf16"].embedding_error
