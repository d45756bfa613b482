"""The same comparison on a GPU: `SamModel` with sdpa beside this project's TorchScript graphs.

    python -m benchmarks.comparison.gpu

Batches of 1 to 16, in float32, float16 and bfloat16; tensors are on the device before the call, and
CUDA events take the time. `make bench` does this where it finds a GPU. It was written without one:
only `--device cpu`, with the small demo checkpoint, has run.
"""

from __future__ import annotations

import argparse
import copy
import json
import tempfile
import warnings
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor
from transformers import SamModel

from benchmarks.comparison.agreement import difference
from benchmarks.comparison.flops import decoder_flops, encoder_flops
from benchmarks.comparison.gemm_peak import gemm_peak
from benchmarks.comparison.interleave import Call, Unsupported, first_calls, in_turn, wall_clock
from benchmarks.comparison.labels import BASELINE, OURS
from benchmarks.comparison.ratios import derive
from benchmarks.comparison.scene import Scene, make_scene
from benchmarks.comparison.stages import about, outcomes
from slimsam_build.checkpoints import load_checkpoint
from slimsam_build.graphs.precision import DTYPES
from slimsam_build.random_checkpoint import GEOMETRIES, random_checkpoint
from slimsam_build.targets import TARGETS
from slimsam_client.contract import NUM_MASKS
from slimsam_client.prompts.encode import encode_prompts, prompt_arrays

BATCHES: Final = (1, 2, 4, 8, 16)
PROMPTS: Final = (1, 64)
ROUNDS: Final = 5
GEMM_SIDES: Final = {"cuda": (4096, 8192), "cpu": (512,)}

Graphs = tuple[torch.jit.ScriptModule, torch.jit.ScriptModule]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        "python -m benchmarks.comparison.gpu",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--device", default="cuda", choices=GEMM_SIDES, help="default: %(default)s")
    parser.add_argument("--checkpoint", default="slimsam-77", choices=("demo", *GEOMETRIES))
    parser.add_argument("--batches", type=int, nargs="+", default=BATCHES, metavar="IMAGES")
    parser.add_argument("--prompts", type=int, nargs="+", default=PROMPTS, metavar="COUNT")
    parser.add_argument("--precisions", nargs="+", default=list(DTYPES), choices=DTYPES)
    parser.add_argument("--rounds", type=int, default=ROUNDS, help="default: %(default)s")
    options = parser.parse_args()
    torch.set_grad_enabled(False)
    name = options.checkpoint
    model = random_checkpoint(name) if name in GEOMETRIES else load_checkpoint(name).model
    with tempfile.TemporaryDirectory() as directory:
        scene = make_scene(model, Path(directory))
    found = measure_gpu(
        model, scene, options.device, options.batches, options.prompts, options.precisions,
        options.rounds,
    )  # fmt: skip
    print(json.dumps(found, indent=1))


def measure_gpu(
    model: SamModel,
    scene: Scene,
    device: str = "cuda",
    batches: Sequence[int] = BATCHES,
    prompts: Sequence[int] = PROMPTS,
    precisions: Sequence[str] = tuple(DTYPES),
    rounds: int = ROUNDS,
) -> dict[str, Any]:
    """Compare and time encoder and decoder.

    Args:
        model: float32, on the CPU.
        scene: whose photo fills every batch.
        device: "cuda"; or "cpu", to try it.
        batches: numbers of images in one call.
        prompts: numbers of clicks on each image.
        precisions: keys of `DTYPES`.
        rounds: how many turns each side has, of several calls.

    Returns:
        By precision and stage what `ratios.derive` gives; times are those of a whole batch.
    """
    timer = cuda_events if device == "cuda" else wall_clock
    flops = {"encode": encoder_flops(model)}
    flops |= {f"decode_{count}": decoder_flops(model, count) for count in prompts}
    exact = sam_model(copy.deepcopy(model).to(device), scene, 1, prompts)
    results: dict[str, Any] = {}
    for precision in precisions:
        dtype = DTYPES[precision]
        peak = gemm_peak(dtype, device, GEMM_SIDES[device], timer)
        theirs, ours = copy.deepcopy(model).to(device, dtype), load_graphs(model, device, precision)
        stages = results[precision] = {}
        for batch in batches:
            pair = sam_model(theirs, scene, batch, prompts), our_graphs(ours, scene, batch, prompts)
            for stage, counted in flops.items():
                calls = {BASELINE: pair[0][stage], OURS: pair[1][stage]}
                first = first_calls(calls, timer)
                expected = exact[stage]()
                differing = {
                    side: difference(_last_row(expected), _last_row(output), precision)
                    for side, output in first.outputs.items()
                }
                first.outputs.clear()
                able = {side: calls[side] for side in first.seconds}
                times = in_turn(able, rounds, able, timer)
                measured = {
                    **about(rounds, counted * batch),
                    "sides": outcomes(differing, times, first.absent),
                }
                stages[f"{stage}, batch {batch}"] = derive(measured, {"fp32": peak})
    return results


def cuda_events(call: Call) -> tuple[float, Any]:
    """Time what a call leaves to the GPU."""
    start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    torch.cuda.synchronize()
    start.record()
    try:
        output = call()
    except torch.cuda.OutOfMemoryError as error:
        raise Unsupported(f"out of memory: {error}".split("\n")[0]) from error
    end.record()
    torch.cuda.synchronize()
    return start.elapsed_time(end) / 1000, output


def load_graphs(model: SamModel, device: str, precision: str) -> Graphs:
    """Build this project's TorchScript artifacts, and load encoder and decoder."""
    loaded = []
    with tempfile.TemporaryDirectory() as directory, warnings.catch_warnings():
        # PyTorch has announced a successor of TorchScript, Triton's own format.
        warnings.filterwarnings("ignore", ".*torch.jit.*", DeprecationWarning)
        for spec, graph in TARGETS["torchscript"].graphs.items():
            path = Path(directory) / spec.name
            TARGETS["torchscript"].export(graph(model).eval(), spec, path, precision)
            loaded.append(torch.jit.load(str(path), map_location=device))
    return loaded[0], loaded[1]


def sam_model(model: SamModel, scene: Scene, batch: int, prompts: Sequence[int]) -> dict[str, Call]:
    """Bring the inputs to `SamModel`'s device: by stage, a call that gives tensors by name."""
    pixels = _rows(scene.pixel_values, batch).to(model.device, model.dtype)
    embeddings = _rows(torch.from_numpy(scene.embedding.image_embeddings)[None], batch)
    embeddings = embeddings.to(model.device, model.dtype)

    def decode(points: Tensor) -> dict[str, Tensor]:
        answer = model(image_embeddings=embeddings, input_points=points)
        return {"masks": answer.pred_masks, "scores": answer.iou_scores}

    calls: dict[str, Call] = {
        "encode": lambda: {"image_embeddings": model.get_image_embeddings(pixels)}
    }
    for count in prompts:
        points = _rows(torch.from_numpy(scene.clicks(count))[None], batch).to(model.device)
        calls[f"decode_{count}"] = partial(decode, points)
    return calls


def our_graphs(graphs: Graphs, scene: Scene, batch: int, prompts: Sequence[int]) -> dict[str, Call]:
    """Do the same for the artifacts."""
    encoder, decoder = graphs
    device = next(encoder.parameters()).device
    known = scene.embedding

    def bring(*arrays: Any) -> list[Tensor]:
        return [_rows(torch.from_numpy(array.copy())[None], batch).to(device) for array in arrays]

    def decode(inputs: Sequence[Tensor]) -> dict[str, Tensor]:
        masks, scores = decoder(*inputs)
        return {"masks": masks[:, :, 1:NUM_MASKS], "scores": scores[:, :, 1:NUM_MASKS]}

    frame = bring(scene.frame, scene.input_size)
    calls: dict[str, Call] = {"encode": lambda: {"image_embeddings": encoder(*frame)}}
    for count in prompts:
        encoded = encode_prompts(known.original_size, known.input_size, scene.clicks(count))
        inputs = bring(known.image_embeddings, *prompt_arrays(encoded).values())
        calls[f"decode_{count}"] = partial(decode, inputs)
    return calls


def _rows(row: Tensor, batch: int) -> Tensor:
    return row.expand(batch, *row.shape[1:]).contiguous()


def _last_row(outputs: Mapping[str, Tensor]) -> dict[str, Any]:
    return {name: tensor[-1].float().cpu().numpy() for name, tensor in outputs.items()}


if __name__ == "__main__":
    main()
