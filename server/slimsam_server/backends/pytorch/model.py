"""Stands in for Triton's PyTorch backend: the same configurations, the same artifacts."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from slimsam_server.standin import Model, Run, core_count


def load(path: Path, arguments: dict[str, str]) -> Run:
    """Load an artifact, on the GPU where Triton has placed the instance on one."""
    torch.set_num_threads(core_count())
    on_gpu = arguments["model_instance_kind"] == "GPU" and torch.cuda.is_available()
    device = f"cuda:{arguments['model_instance_device_id']}" if on_gpu else "cpu"
    if path.suffix == ".pt2":
        index = int(arguments["model_instance_device_id"]) if on_gpu else -1
        package = torch._inductor.aoti_load_package(str(path), device_index=index)
        return _runner(package, device)
    return _runner(torch.jit.load(str(path), map_location=device).eval(), device)


def _runner(module: Callable[..., Any], device: str) -> Run:
    def run(inputs: list[Any]) -> list[Any]:
        # As the configurations say: the executor would compile for every shape at its first runs.
        with torch.jit.optimized_execution(False), torch.inference_mode():
            outputs = module(*(torch.from_numpy(array).to(device) for array in inputs))
        if isinstance(outputs, torch.Tensor):
            outputs = (outputs,)
        return [output.cpu().numpy() for output in outputs]

    return run


class TritonPythonModel:
    """What Triton's Python backend calls."""

    def initialize(self, args: dict[str, str]) -> None:
        """Load the model."""
        self.model = Model(args, load)

    def execute(self, requests: list[Any]) -> list[Any]:
        """Answer requests."""
        return self.model.execute(requests)
