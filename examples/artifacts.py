"""The artifacts that `make demo` and `make web` serve: those that are there, or a checkpoint's."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import urllib.request
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[1]
REPOSITORY: Final = ROOT / "model_repository"
TARGET: Final = "openvino"
DEMO: Final = "demo"
SLIMSAM: Final = "nielsr/slimsam-77-uniform"
"""SlimSAM's weights on the Hugging Face hub, 39 MB."""
HUB_SECONDS: Final = 2.0
"""A hub that takes longer to answer is not waited for."""


def prepare(checkpoint: str | None) -> str:
    """Have artifacts in model_repository/, and say of which checkpoint they are.

    Args:
        checkpoint: "demo", a directory, or an id on the hub. None takes the artifacts that are
            there; where there are none, SlimSAM's weights if the hub answers, or else the demo
            checkpoint.

    Returns:
        The name of the checkpoint.
    """
    there = _there()
    if there is not None and checkpoint in (None, there, there.partition("@")[0]):
        print(f"using the artifacts of {there} in {REPOSITORY.relative_to(ROOT)}")
        wanted = there
    else:
        wanted = checkpoint or (SLIMSAM if _hub_answers() else DEMO)
        print(f"building the model repository from {_described(wanted)} (target {TARGET})")
        program = str(Path(sys.executable).parent / "slimsam-build")
        command: list[str | Path] = [program, "build", "--checkpoint", wanted]
        command += ["--target", TARGET, "--model-repository", REPOSITORY]
        if status := subprocess.run(command, check=False).returncode:
            sys.exit(status)
    if checkpoint is None:
        print("  another one: CHECKPOINT=, with an id on the hub, a directory, or demo")
    return wanted


def _there() -> str | None:
    """Give the checkpoint of the artifacts that are there; None if there are none."""
    info = REPOSITORY / "slimsam_info" / "1" / f"{TARGET}.json"
    artifacts = [REPOSITORY / f"slimsam_{part}/1/model.xml" for part in ("encoder", "decoder")]
    if not (info.exists() and all(artifact.exists() for artifact in artifacts)):
        return None
    return str(json.loads(info.read_text("utf-8"))["checkpoint"])


def _described(checkpoint: str) -> str:
    if checkpoint == DEMO:
        return "the demo checkpoint, which knows drawn scenes and nothing of photos"
    return checkpoint


def _hub_answers() -> bool:
    if os.environ.get("HF_HUB_OFFLINE", "").lower() in ("1", "on", "true", "yes"):
        return False
    hub = os.environ.get("HF_ENDPOINT", "https://huggingface.co").rstrip("/")
    try:
        with urllib.request.urlopen(f"{hub}/api/models/{SLIMSAM}", timeout=HUB_SECONDS) as answer:
            return bool(answer.status == 200)
    except (OSError, ValueError):  # urllib's own errors are OSErrors
        return False
