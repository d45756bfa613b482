"""Times the served models beside `SamModel`: `python benchmarks/against_sam_model.py --help`.

Both run in turn on the same machine, so that the ratio holds where the seconds do not. Run it on a
machine that does nothing else.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable

import numpy as np
import torch
import tritonclient.grpc as triton
from repository import built_repository
from tritonclient.utils import np_to_triton_dtype

from slimsam_build.checkpoints import load_checkpoint
from slimsam_build.random_checkpoint import GEOMETRIES, random_checkpoint
from slimsam_client.contract import DECODER, ENCODER, PIXEL_MEAN, PIXEL_STD, ModelSpec
from slimsam_server import EmbeddedServer

Call = Callable[[], object]


def main() -> None:
    """Build, serve, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--geometry", default="slimsam-77", choices=GEOMETRIES)
    parser.add_argument("--target", default="openvino")
    parser.add_argument("--attention", default="eager", choices=("eager", "sdpa"))
    parser.add_argument("--rounds", type=int, default=7, help="default: %(default)s")
    options = parser.parse_args()
    torch.set_grad_enabled(False)
    with tempfile.TemporaryDirectory() as directory:
        random_checkpoint(options.geometry).save_pretrained(directory)
        checkpoint = load_checkpoint(directory)
    model = checkpoint.model
    with (
        built_repository(checkpoint, options.target) as repository,
        EmbeddedServer(repository, options.target) as server,
        triton.InferenceServerClient(server.grpc_url) as client,
    ):
        model.set_attn_implementation(options.attention)
        print(f"{options.geometry}, {options.target} fp32 through gRPC beside SamModel")
        print(f"({options.attention}, fp32, {torch.get_num_threads()} threads), medians of")
        print(f"{options.rounds} rounds, in seconds\n")
        for what, served, local in pairs(client, model):
            compare(what, served, local, options.rounds)


def pairs(
    client: triton.InferenceServerClient, model: torch.nn.Module
) -> list[tuple[str, Call, Call]]:
    """What to compare: a name, the served call, and SamModel's."""
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (1, 1024, 1024, 3), np.uint8)
    frame = {"image": image, "input_size": np.array([[1024, 1024]], np.int32)}
    pixels = torch.from_numpy((image - PIXEL_MEAN) / PIXEL_STD).float().permute(0, 3, 1, 2)
    embeddings = model.get_image_embeddings(pixels)
    found = [
        ("encoder", calling(client, ENCODER, frame), lambda: model.get_image_embeddings(pixels))
    ]
    for prompts in (1, 64):
        points = rng.uniform(0, 1024, (1, prompts, 1, 2)).astype(np.float32)
        inputs = {
            "image_embeddings": embeddings.numpy().astype(np.float16),
            "point_coords": np.concatenate([points, np.zeros_like(points)], axis=2),
            "point_labels": np.tile(np.array([1, -1], np.int32), (1, prompts, 1)),
            "mask_input": np.zeros((1, 1, 256, 256), np.float32),
            "has_mask_input": np.zeros((1, 1), np.float32),
        }
        clicks = torch.from_numpy(points)
        found.append(
            (
                f"decoder, {prompts} clicks",
                calling(client, DECODER, inputs),
                lambda clicks=clicks: model(image_embeddings=embeddings, input_points=clicks),
            )
        )
    return found


def calling(
    client: triton.InferenceServerClient, spec: ModelSpec, arrays: dict[str, np.ndarray]
) -> Call:
    """A call of a served model."""
    inputs = []
    for name, array in arrays.items():
        tensor = triton.InferInput(name, list(array.shape), np_to_triton_dtype(array.dtype))
        tensor.set_data_from_numpy(array)
        inputs.append(tensor)
    return lambda: client.infer(spec.name, inputs).as_numpy(spec.outputs[0].name)


def compare(what: str, served: Call, local: Call, rounds: int) -> None:
    """Time both in turn and print their medians and ratio."""
    served(), local()
    seconds: tuple[list[float], list[float]] = ([], [])
    for _ in range(rounds):
        for call, times in zip((served, local), seconds, strict=True):
            start = time.perf_counter()
            call()
            times.append(time.perf_counter() - start)
    ours, theirs = map(statistics.median, seconds)
    print(f"{what:20} served {ours:.4f}  SamModel {theirs:.4f}  {theirs / ours:.1f} times as fast")


if __name__ == "__main__":
    main()
