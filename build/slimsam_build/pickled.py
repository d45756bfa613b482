"""Tensors of files that torch.save wrote, read without running what the files may hold.

A pickle can name any function to be called when it is loaded. PyTorch's own restricted reader calls
none but those that make tensors; here it also gets an inert class in the place of every other name,
so that the tensors of a whole pickled module can be read, too, and nothing else of it is looked at.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.serialization import get_unsafe_globals_in_checkpoint, safe_globals

from slimsam_build.errors import CheckpointError, reason


class _Inert:
    """Stands for every class and function that a file names: it keeps its state, and that is all.

    The reader makes it, calls it, and puts the pickled state into its `__dict__`.
    """

    def __init__(self, *_: Any) -> None:
        pass

    def __new__(cls, *_: Any) -> _Inert:
        return super().__new__(cls)


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Read the tensors of a state dict, or of a whole pickled module.

    Args:
        path: a file that torch.save wrote.

    Returns:
        The tensors by their names in the state dict, on the CPU; `module.` of DataParallel is left
        out of the names.

    Raises:
        CheckpointError: it cannot be read without running code of it, or holds no tensors.
    """
    try:
        content = _load(path)
    except OSError as error:
        raise CheckpointError(
            f"{path}: expected a file that can be read, got {reason(error)}; "
            "check the spelling, or see to its owner and mode"
        ) from error
    except Exception as error:  # those of pickle, zipfile and torch, and of a state that is none
        raise CheckpointError(
            f"{path}: expected the tensors of a file that torch.save wrote, got {reason(error)}; "
            "download it again, or, where the model can be loaded in its own code, save them with "
            "torch.save(model.state_dict(), FILE)"
        ) from error
    tensors = {
        ".".join(part for part in name.split(".") if part != "module"): tensor
        for name, tensor in _named(content)
    }
    if not tensors:
        raise CheckpointError(
            f"{path}: expected the state dict of a model, or a whole model, found "
            f"{type(content).__name__ if not isinstance(content, _Inert) else 'another object'} "
            "without named tensors; save it with torch.save(model.state_dict(), FILE)"
        )
    return tensors


def _load(path: Path) -> Any:
    with path.open("rb") as file:
        try:
            names = get_unsafe_globals_in_checkpoint(file)
        except ValueError:  # not of the format of today: read without stand-ins
            names = []
    with safe_globals([(_Inert, name) for name in names]):
        return torch.load(path, map_location="cpu", weights_only=True)


def _named(content: Any, prefix: str = "") -> Iterator[tuple[str, Tensor]]:
    """Names and tensors of a state dict, or of the state of an `nn.Module`."""
    if isinstance(content, dict):
        for name, value in content.items():
            if isinstance(name, str) and isinstance(value, Tensor):
                yield prefix + name, value.detach()
    elif isinstance(content, _Inert):
        state = vars(content)
        for kind in ("_parameters", "_buffers"):
            yield from _named(state.get(kind), prefix)
        modules = state.get("_modules")
        for name, module in modules.items() if isinstance(modules, dict) else ():
            yield from _named(module, f"{prefix}{name}.")
