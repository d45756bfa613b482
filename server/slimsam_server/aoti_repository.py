"""The model repository for target torch_aoti as Triton 2.51 takes it, which lacks its platform.

Triton's PyTorch backend tells AOTInductor's packages by `platform: "torch_aoti"`, from 26.07 on.
2.51 refuses to load a model of that platform, so its stand-in is served from configurations that
name the backend alone.
"""

from __future__ import annotations

from pathlib import Path

from google.protobuf import text_format
from tritonclient.grpc.model_config_pb2 import ModelConfig


def link_repository(repository: Path, config_name: str, into: Path) -> Path:
    """Make a directory of links to a repository's files, with configurations without a platform.

    Args:
        repository: the model repository; it is not written to.
        config_name: the value of `--model-config-name`.
        into: the directory to be.

    Returns:
        The directory.

    Raises:
        OSError: a file cannot be read or written.
    """
    # Absolute, since a relative link starts from where it lies.
    for config in sorted(repository.absolute().glob("*/config.pbtxt")):
        model = into / config.parent.name
        (model / "configs").mkdir(parents=True)
        for entry in config.parent.iterdir():
            if entry.name != "configs":
                (model / entry.name).symlink_to(entry)
        source = config.parent / "configs" / f"{config_name}.pbtxt"
        if source.is_file():
            served = text_format.Parse(source.read_text("utf-8"), ModelConfig())
            if served.backend:  # not an ensemble, which has a platform alone
                served.ClearField("platform")
            (model / "configs" / source.name).write_text(
                text_format.MessageToString(served), encoding="utf-8"
            )
    return into
