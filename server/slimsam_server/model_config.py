"""Which of a model's configurations Triton takes: the target's, in the artifacts' precision."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from google.protobuf import text_format
from tritonclient.grpc.model_config_pb2 import ModelConfig

from slimsam_client.contract import (
    AUTOMATIC,
    BULK_DECODER,
    DECODED_MASKS,
    DECODER,
    ENCODER,
    MASKS,
)
from slimsam_server.errors import ServerError
from slimsam_server.targets import TARGETS


def models_of(repository: Path) -> list[str]:
    """Give the names of the models that a repository has."""
    return sorted(path.parent.name for path in repository.glob("*/config.pbtxt"))


def loaded_models(repository: Path, config_name: str | None) -> list[str]:
    """Give the names of the models that a server of this machine loads.

    All that the repository has, but slimsam_masks and its ensemble where everything mode makes its
    masks in NumPy: nobody asks for them, and each instance would be a process.

    Args:
        repository: the model repository.
        config_name: the value of `--model-config-name`; None: config.pbtxt.
    """
    found = models_of(repository)
    config = _read(repository / AUTOMATIC.name, config_name)
    if config is not None and config.parameters["masks_by"].string_value == MASKS.name:
        return found
    return [name for name in found if name not in (MASKS.name, DECODED_MASKS.name)]


def _read(model: Path, config_name: str | None) -> ModelConfig | None:
    """Read a model's configuration; None where there is none that Triton would take."""
    path = model / "configs" / f"{config_name}.pbtxt"
    try:
        text = (path if path.is_file() else model / "config.pbtxt").read_text("utf-8")
        config: ModelConfig = text_format.Parse(text, ModelConfig())
    except (OSError, ValueError, text_format.ParseError):
        return None
    return config


def model_config_name(repository: Path, target: str) -> str | None:
    """Choose the configurations to serve a target with.

    Args:
        repository: the model repository.
        target: a key of `TARGETS`.

    Returns:
        The value of `--model-config-name`; None for config.pbtxt.

    Raises:
        ServerError: encoder and decoders are of two precisions, a report cannot be read, or a model
            lacks the configuration.
    """
    found = TARGETS[target]
    if _precision(repository, target) != "bf16":
        return found.configuration
    name = found.bf16_configuration
    if name == found.configuration:
        return name
    for config in sorted(repository.glob(f"*/configs/{found.configuration}.pbtxt")):
        other = config.with_name(f"{name}.pbtxt")
        # Without it Triton would take config.pbtxt, which is another target's.
        if not other.is_file():
            raise ServerError(
                f"model repository {repository}: the artifacts are bf16, which expects {other}, "
                "found none; copy it from the project's model_repository/, or build with "
                "--precision fp32"
            )
    return name


def _precision(repository: Path, target: str) -> str | None:
    """Read the precision of a target's artifacts; None where no report says it."""
    found = {}
    for model in (ENCODER, DECODER, BULK_DECODER):
        report = repository / model.name / "1" / f"{TARGETS[target].files[0]}.json"
        try:
            precision = json.loads(report.read_text("utf-8"))["precision"]
            if not isinstance(precision, str):
                raise TypeError(f"precision is {precision!r}")
            found[model.name] = precision
        except FileNotFoundError:
            continue
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise ServerError(
                f"{report}: expected the report of slimsam-build with a precision, got "
                f"{type(error).__name__}: {error}; build target {target} again"
            ) from error
    if len(set(found.values())) > 1:
        raise ServerError(
            f"model repository {repository}: expected artifacts of one precision, got "
            f"{' and '.join(f'{model} in {precision}' for model, precision in found.items())}; "
            f"build target {target} again"
        )
    return next(iter(found.values()), None)


def main() -> int:
    """Print the name for docker/serve.sh, which gives target and repository as arguments.

    Returns:
        0, with an empty line for config.pbtxt; 1 with the reason on standard error.
    """
    target, repository = sys.argv[1:]
    try:
        if target not in TARGETS:
            raise ServerError(f"target: expected one of {', '.join(TARGETS)}, got {target!r}")
        print(model_config_name(Path(repository), target) or "")
    except ServerError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0
