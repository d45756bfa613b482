"""Which configurations are served, by the precision that the artifacts' reports name."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from slimsam_client.contract import (
    AUTOMATIC,
    BULK_DECODER,
    DECODED_MASKS,
    DECODER,
    ENCODER,
    ENSEMBLE,
    MASKS,
    MODELS,
)
from slimsam_server import EmbeddedServer, ServerError
from slimsam_server.aoti_repository import link_repository
from slimsam_server.model_config import loaded_models, model_config_name
from slimsam_server.targets import TARGETS


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """The files that count, empty."""
    for model in MODELS:
        for name in ("openvino", "openvino_bf16"):
            config = tmp_path / model.name / "configs" / f"{name}.pbtxt"
            config.parent.mkdir(parents=True, exist_ok=True)
            config.touch()
        (tmp_path / model.name / "config.pbtxt").touch()
        (tmp_path / model.name / "1").mkdir()
    return tmp_path


def report(repository: Path, target: str, encoder: str, decoder: str) -> None:
    for model, precision in ((ENCODER, encoder), (DECODER, decoder), (BULK_DECODER, decoder)):
        path = repository / model.name / "1" / f"{TARGETS[target].files[0]}.json"
        path.write_text(json.dumps({"precision": precision}))


@pytest.mark.parametrize(
    ("target", "precision", "name"),
    [
        ("openvino", "fp32", "openvino"),
        ("openvino", "bf16", "openvino_bf16"),
        ("openvino", None, "openvino"),
        ("onnxruntime", "fp32", "onnxruntime"),
        ("torchscript", "bf16", None),
        ("tensorrt", "fp16", "tensorrt"),
        ("tensorrt", "bf16", "tensorrt"),
    ],
)
def test_the_configurations_of_a_target_and_a_precision(
    repository: Path, target: str, precision: str | None, name: str | None
) -> None:
    if precision is not None:
        report(repository, target, precision, precision)
    assert model_config_name(repository, target) == name


@pytest.mark.parametrize("target", list(TARGETS))
def test_artifacts_of_two_precisions(repository: Path, target: str) -> None:
    report(repository, target, "fp32", "bf16")
    message = "slimsam_encoder in fp32 and slimsam_decoder in bf16 and slimsam_decoder_bulk"
    with pytest.raises(ServerError, match=message):
        model_config_name(repository, target)


@pytest.mark.parametrize("text", ["", "{", "[]", "3", "{}", '{"precision": null}', "\xff"])
def test_a_report_that_cannot_be_read(repository: Path, text: str) -> None:
    path = repository / ENCODER.name / "1" / "model.xml.json"
    path.write_bytes(text.encode("latin-1"))
    with pytest.raises(ServerError, match=f"{path}: expected the report of slimsam-build"):
        model_config_name(repository, "openvino")


@pytest.mark.parametrize("model", [model.name for model in MODELS])
def test_a_model_without_the_configuration_of_bf16(repository: Path, model: str) -> None:
    missing = repository / model / "configs" / "openvino_bf16.pbtxt"
    missing.unlink()
    report(repository, "openvino", "fp32", "fp32")
    assert model_config_name(repository, "openvino") == "openvino"
    report(repository, "openvino", "bf16", "bf16")
    with pytest.raises(ServerError, match=f"expects {missing}, found none"):
        model_config_name(repository, "openvino")


def test_the_server_reads_the_reports(repository: Path) -> None:
    report(repository, "openvino", "bf16", "fp32")
    for model in (ENCODER, DECODER, BULK_DECODER):
        for name in ("model.xml", "model.bin"):
            (repository / model.name / "1" / name).touch()
    with pytest.raises(ServerError, match="expected artifacts of one precision"):
        EmbeddedServer(repository).start()


def test_the_command_for_scripts(repository: Path) -> None:
    def run(target: str) -> tuple[int, str, str]:
        script = "import sys; from slimsam_server.model_config import main; sys.exit(main())"
        command = [sys.executable, "-c", script, target, str(repository)]
        done = subprocess.run(command, capture_output=True, text=True)
        return done.returncode, done.stdout, done.stderr

    report(repository, "openvino", "bf16", "bf16")
    assert run("openvino") == (0, "openvino_bf16\n", "")
    assert run("torchscript") == (0, "\n", "")
    report(repository, "openvino", "bf16", "fp32")
    status, output, error = run("openvino")
    assert (status, output, error.count("\n")) == (1, "", 1) and "of one precision" in error
    assert run("none")[0] == 1


def test_a_server_loads_the_masks_model_only_where_it_is_used(repository: Path) -> None:
    for model in (AUTOMATIC, MASKS, DECODED_MASKS):
        (repository / model.name / "configs").mkdir(parents=True)
        (repository / model.name / "config.pbtxt").touch()
    used = 'parameters { key: "masks_by" value: { string_value: "slimsam_masks" } }'
    (repository / AUTOMATIC.name / "configs" / "openvino.pbtxt").write_text(used)
    others = {model.name for model in (*MODELS, AUTOMATIC)}
    assert set(loaded_models(repository, None)) == others
    assert set(loaded_models(repository, "onnxruntime")) == others
    assert set(loaded_models(repository, "openvino")) == others | {MASKS.name, DECODED_MASKS.name}


def test_what_torch_aoti_is_served_from_names_the_backend_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    repository = Path(__file__).parents[2] / "model_repository"
    monkeypatch.chdir(repository.parent)
    into = link_repository(Path(repository.name), "torch_aoti", tmp_path / "models")
    served = (into / ENCODER.name / "configs/torch_aoti.pbtxt").read_text()
    assert 'backend: "pytorch"' in served and "platform" not in served
    assert (into / ENCODER.name / "warmup/input_size").is_file()
    assert "ensemble" in (into / ENSEMBLE.name / "config.pbtxt").read_text()
