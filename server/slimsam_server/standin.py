"""The part that all stand-ins share: requests in, batches through a runtime, responses out.

Runs inside Triton's Python stub. As Triton's own backends, it looks at no value: the graphs answer
every one. Nothing in a request may hurt another: a batch that fails is run again row by row.
"""

from __future__ import annotations

import faulthandler
import json
import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import triton_python_backend_utils as pb_utils
from numpy.typing import NDArray

from slimsam_client.contract import MAX_PROMPTS, Arrays

Run = Callable[[list[NDArray[Any]]], Sequence[NDArray[Any]]]
"""Inputs in the configuration's order to outputs in the configuration's order."""
Answer = Sequence[NDArray[Any]] | Exception

SECONDS_WITHOUT_PYTHON = 20
"""After which a process that runs no Python code is given up: runtimes let it run meanwhile."""


class Model:
    """One model instance.

    Args:
        arguments: what Triton gives `TritonPythonModel.initialize`.
        load: makes the runtime's function from (artifact, arguments).
    """

    def __init__(
        self, arguments: dict[str, str], load: Callable[[Path, dict[str, str]], Run]
    ) -> None:
        config = json.loads(arguments["model_config"])
        self.inputs: list[str] = [tensor["name"] for tensor in config["input"]]
        self.outputs: list[dict[str, Any]] = config["output"]
        folder = Path(arguments["model_repository"]) / arguments["model_version"]
        self.run = load(folder / config["default_model_filename"], arguments)
        threading.Thread(target=_end_with, args=(os.getppid(),), daemon=True).start()

    def execute(self, requests: Sequence[Any]) -> list[Any]:
        """Answer every request: with its tensors, or with an error of its own."""
        responses: list[Any] = [None] * len(requests)
        live: dict[int, Arrays] = {}
        for index, request in enumerate(requests):
            try:
                if request.is_cancelled():
                    responses[index] = _error("cancelled", pb_utils.TritonError.CANCELLED)
                    continue
                live[index] = {
                    name: pb_utils.get_input_tensor_by_name(request, name).as_numpy()
                    for name in self.inputs
                }
            except Exception as error:
                responses[index] = _error(f"{type(error).__name__}: {error}")
        for group in _groups(live):
            answers = self._run_group([live[index] for index in group])
            for index, answer in zip(group, answers, strict=True):
                responses[index] = (
                    _error(f"{type(answer).__name__}: {answer}")
                    if isinstance(answer, Exception)
                    else self._answer(requests[index], answer)
                )
        return responses

    def _run_group(self, group: list[Arrays]) -> list[Answer]:
        """Run requests of equal shapes as one batch; if that fails, each alone."""
        try:
            if len(group) == 1:
                return [self.run([group[0][name] for name in self.inputs])]
            outputs = self.run([np.concatenate([r[name] for r in group]) for name in self.inputs])
            ends = np.cumsum([len(request[self.inputs[0]]) for request in group])
            starts = [0, *ends[:-1]]
            return [
                [output[start:end] for output in outputs]
                for start, end in zip(starts, ends, strict=True)
            ]
        except Exception as error:
            if len(group) == 1:
                return [error]
            return [answer for request in group for answer in self._run_group([request])]

    def _answer(self, request: Any, outputs: Sequence[NDArray[Any]]) -> Any:
        try:
            wanted = request.requested_output_names()
            return pb_utils.InferenceResponse(
                [
                    pb_utils.Tensor(tensor["name"], np.ascontiguousarray(output))
                    for tensor, output in zip(self.outputs, outputs, strict=True)
                    if tensor["name"] in wanted
                ]
            )
        except Exception as error:
            return _error(f"{type(error).__name__}: {error}")


def _groups(requests: dict[int, Arrays]) -> Iterator[list[int]]:
    """Split into batches of equal shapes within a request's limits, so memory is bounded."""
    by_shape: dict[Any, list[int]] = {}
    for index, inputs in requests.items():
        by_shape.setdefault(tuple(array.shape[1:] for array in inputs.values()), []).append(index)
    for indices in by_shape.values():
        group: list[int] = []
        total = 0
        for index in indices:
            inputs = requests[index]
            rows, *shape = inputs.get("point_coords", next(iter(inputs.values()))).shape
            prompts = rows * shape[0] if "point_coords" in inputs else rows
            if group and total + prompts > MAX_PROMPTS:
                yield group
                group, total = [], 0
            group.append(index)
            total += prompts
        yield group


def _end_with(server: int) -> None:
    """End this process some seconds after the server's.

    The stub of Triton 2.51 ends by itself, but for one that was computing when the server was
    killed: it waits for ever, with Python's lock, so that no line of Python would end it.
    """
    while os.getppid() == server:
        faulthandler.dump_traceback_later(SECONDS_WITHOUT_PYTHON, exit=True)  # by a thread in C
        time.sleep(SECONDS_WITHOUT_PYTHON / 10)


def _error(message: str, code: int | None = None) -> Any:
    error = pb_utils.TritonError(message, *([] if code is None else [code]))
    return pb_utils.InferenceResponse(error=error)


def core_count() -> int:
    """How many cores this process may use."""
    return len(os.sched_getaffinity(0))
