"""Quicker builds: `SamModel`'s answers are computed once for all that are compared with them."""

from __future__ import annotations

import hashlib
import time
import weakref
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from transformers import SamModel

from slimsam_build import parity, reference
from slimsam_build.targets.target import Run
from slimsam_client.contract import Arrays


class Weights:
    """Digests of models' weights, made anew when a weight was written to."""

    def __init__(self) -> None:
        self._known: weakref.WeakKeyDictionary[SamModel, tuple[tuple[int, ...], str]] = (
            weakref.WeakKeyDictionary()
        )

    def digest(self, model: SamModel) -> str:
        weights = model.state_dict(keep_vars=True)
        versions = tuple(tensor._version for tensor in weights.values())
        known = self._known.get(model)
        if known is None or known[0] != versions:
            found = hashlib.sha256()
            for name, tensor in weights.items():
                found.update(name.encode())
                found.update(tensor.detach().contiguous().numpy().tobytes())
            known = self._known[model] = (versions, found.hexdigest())
        return known[1]


def of_arrays(*arrays: NDArray[Any]) -> str:
    found = hashlib.sha256()
    for array in arrays:
        found.update(f"{array.dtype}{array.shape}".encode())
        found.update(np.ascontiguousarray(array).tobytes())
    return found.hexdigest()


def keep_answers(patch: pytest.MonkeyPatch) -> None:
    """Let `slimsam_build.reference` give an answer again where weights and inputs are the same."""
    weights = Weights()
    answers: dict[tuple[str, ...], Any] = {}
    embed, decode = reference.embed, reference.decode

    def once(key: tuple[str, ...], compute: Callable[[], Any]) -> Any:
        if key not in answers:
            answers[key] = compute()
        return answers[key]

    def embed_once(
        model: SamModel, image: NDArray[np.uint8], input_size: NDArray[np.int32]
    ) -> NDArray[np.float32]:
        key = ("embed", weights.digest(model), of_arrays(image, input_size))
        embeddings: NDArray[np.float32] = once(key, lambda: embed(model, image, input_size))
        return embeddings.copy()

    def decode_once(
        model: SamModel, embeddings: NDArray[np.float32], prompts: reference.Prompts
    ) -> reference.Answer:
        given = [value.numpy() for _, value in sorted(prompts.arguments.items())]
        names = " ".join(sorted(prompts.arguments))
        key = ("decode", weights.digest(model), names, of_arrays(embeddings, *given))
        answer: reference.Answer = once(key, lambda: decode(model, embeddings, prompts))
        return reference.Answer(answer.masks.copy(), answer.scores.copy())

    patch.setattr(reference, "embed", embed_once)
    patch.setattr(reference, "decode", decode_once)


def time_once(patch: pytest.MonkeyPatch) -> None:
    """Let the parity gate time an artifact by one run instead of four."""

    def seconds(run: Run, inputs: Arrays) -> float:
        start = time.perf_counter()
        run(inputs)
        return time.perf_counter() - start

    patch.setattr(parity, "_seconds", seconds)
