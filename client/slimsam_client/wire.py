"""Requests and answers as Triton has them; no I/O, so any kind of client can use it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tritonclient.grpc import InferInput, InferRequestedOutput, InferResult

from slimsam_client.contract import MAX_PROMPTS, NUM_MASKS, ModelSpec
from slimsam_client.errors import ContractError
from slimsam_client.masks import upscale_masks
from slimsam_client.prompts import Prompts
from slimsam_client.results import Prediction

Arrays = dict[str, NDArray[Any]]


def to_inputs(spec: ModelSpec, arrays: Mapping[str, NDArray[Any]]) -> list[InferInput]:
    """Bring arrays without a batch axis into a request for one row.

    Optional inputs may be left out.
    """
    inputs = []
    for tensor in spec.inputs:
        if tensor.optional and tensor.name not in arrays:
            continue
        array = arrays[tensor.name]
        array = np.ascontiguousarray(array[None] if spec.batched else array)
        item = InferInput(tensor.name, list(array.shape), tensor.dtype)
        item.set_data_from_numpy(array)
        inputs.append(item)
    return inputs


def to_outputs(spec: ModelSpec) -> list[InferRequestedOutput]:
    """Name all outputs of a model."""
    return [InferRequestedOutput(tensor.name) for tensor in spec.outputs]


def from_result(spec: ModelSpec, result: InferResult, url: str) -> Arrays:
    """Take an answer's arrays, without their batch axis."""
    arrays = {}
    for tensor in spec.outputs:
        array = result.as_numpy(tensor.name)
        if array is None:
            raise ContractError(
                f"{url}: expected the output {tensor.name} of {spec.name}, got none"
            )
        arrays[tensor.name] = array[0] if spec.batched else array
    return arrays


def split_prompts(prompts: Prompts) -> Iterator[Prompts]:
    """Cut prompts into requests of at most MAX_PROMPTS."""
    for start in range(0, len(prompts.point_labels), MAX_PROMPTS):
        part = slice(start, start + MAX_PROMPTS)
        yield replace(
            prompts,
            point_coords=prompts.point_coords[part],
            point_labels=prompts.point_labels[part],
        )


def prompt_arrays(prompts: Prompts) -> Arrays:
    """Name the prompt tensors."""
    return {
        "point_coords": prompts.point_coords,
        "point_labels": prompts.point_labels,
        "mask_input": prompts.mask_input,
        "has_mask_input": prompts.has_mask_input,
    }


def to_prediction(
    answers: list[Arrays],
    prompts: Prompts,
    input_size: tuple[int, int],
    original_size: tuple[int, int],
    multimask_output: bool,
) -> Prediction:
    """Join answers and turn them into what the user sees.

    The one place where the wire's words become the user's: iou_predictions are scores and
    low_res_masks are low_res_logits; and where multimask_output chooses among the four masks.
    """
    chosen = slice(1, NUM_MASKS) if multimask_output else slice(0, 1)
    scores = np.concatenate([answer["iou_predictions"][:, chosen] for answer in answers])
    logits = np.concatenate([answer["low_res_masks"][:, chosen] for answer in answers])
    if prompts.single:
        scores, logits = scores[0], logits[0]
    low_res_logits = logits.astype(np.float32)
    masks = upscale_masks(low_res_logits, input_size, original_size)
    return Prediction(masks, scores, low_res_logits)


def check_metadata(spec: ModelSpec, metadata: Mapping[str, Any], url: str) -> None:
    """Compare a server's model with the contract.

    Args:
        spec: what the client speaks.
        metadata: the server's ModelMetadataResponse, as a mapping.
        url: for the message.

    Raises:
        ContractError: names, dtypes or shapes differ; the first difference is named.
    """
    for kind, expected in (("inputs", spec.inputs), ("outputs", spec.outputs)):
        found = {
            tensor["name"]: (tensor["datatype"], tuple(map(int, tensor["shape"])))
            for tensor in metadata.get(kind, [])
        }
        for tensor in expected:
            # The batch axis comes first and is -1 or, where the backend batches no further, 1.
            batches: list[tuple[int, ...]] = [(-1,), (1,)] if spec.batched else [()]
            shapes = [(*batch, *tensor.dims) for batch in batches]
            if found.get(tensor.name) not in [(tensor.dtype, shape) for shape in shapes]:
                raise ContractError(
                    f"{url}: model {spec.name}: expected {kind[:-1]} {tensor.name} "
                    f"{tensor.dtype} {list(tensor.dims)}{' and a batch axis' * spec.batched}, "
                    f"found {_described(found.get(tensor.name))}; serve the model repository of "
                    "this client's version"
                )
        if kind == "inputs" and len(found) != len(expected):
            more = sorted(set(found) - {tensor.name for tensor in expected})
            raise ContractError(
                f"{url}: model {spec.name}: expected no further inputs, found {', '.join(more)}; "
                "serve the model repository of this client's version"
            )


def _described(found: tuple[str, tuple[int, ...]] | None) -> str:
    return "none" if found is None else f"{found[0]} {list(found[1])}"
