"""Requests and answers as Triton has them; no I/O, so any kind of client can use it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
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
from slimsam_client.shared_memory.region import Slot

Arrays = dict[str, NDArray[Any]]
Slots = Mapping[str, Slot]
"""Where tensors lie in shared memory, by name; those that are not there are in the body."""


def to_inputs(
    spec: ModelSpec, arrays: Mapping[str, NDArray[Any]], slots: Slots
) -> list[InferInput]:
    """Bring arrays without a batch axis into a request for one row.

    Optional inputs may be left out.
    """
    inputs = []
    for tensor in spec.inputs:
        if tensor.optional and tensor.name not in arrays:
            continue
        array = arrays[tensor.name]
        array = array[None] if spec.batched else array
        item = InferInput(tensor.name, list(array.shape), tensor.dtype)
        if slot := slots.get(tensor.name):
            item.set_shared_memory(slot.region, slot.view.nbytes, slot.offset)
        else:
            item.set_data_from_numpy(np.ascontiguousarray(array))
        inputs.append(item)
    return inputs


def to_outputs(spec: ModelSpec, slots: Slots) -> list[InferRequestedOutput]:
    """Name all outputs of a model."""
    outputs = []
    for tensor in spec.outputs:
        item = InferRequestedOutput(tensor.name)
        if slot := slots.get(tensor.name):
            item.set_shared_memory(slot.region, slot.view.nbytes, slot.offset)
        outputs.append(item)
    return outputs


def from_result(spec: ModelSpec, result: InferResult, url: str, slots: Slots) -> Arrays:
    """Take an answer's arrays, without their batch axis; those in shared memory as views of it."""
    arrays = {}
    for tensor in spec.outputs:
        slot = slots.get(tensor.name)
        array = slot.view if slot else result.as_numpy(tensor.name)
        output = result.get_output(tensor.name)
        if array is None or output is None or tuple(output.shape) != array.shape:
            raise ContractError(
                f"{url}: expected the output {tensor.name} of {spec.name}, got "
                f"{'none' if array is None or output is None else list(output.shape)}"
            )
        arrays[tensor.name] = array[0] if spec.batched else array
    return arrays


ChosenMasks = tuple[NDArray[np.float32], NDArray[np.float32]]
"""scores (P, M) and low_res_logits (P, M, 256, 256)."""


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


def choose_masks(answer: Arrays, multimask_output: bool) -> ChosenMasks:
    """Copy what the user wants of an answer: three of each prompt's four masks, or one.

    The one place where the wire's words become the user's: iou_predictions are scores and
    low_res_masks are low_res_logits.
    """
    chosen = slice(1, NUM_MASKS) if multimask_output else slice(0, 1)
    scores: NDArray[np.float32] = answer["iou_predictions"][:, chosen].copy()
    return scores, answer["low_res_masks"][:, chosen].astype(np.float32)


def to_prediction(
    parts: Sequence[ChosenMasks],
    prompts: Prompts,
    input_size: tuple[int, int],
    original_size: tuple[int, int],
) -> Prediction:
    """Join what was chosen of each answer, and scale the masks to the image."""
    scores = np.concatenate([part[0] for part in parts])
    low_res_logits = np.concatenate([part[1] for part in parts])
    if prompts.single:
        scores, low_res_logits = scores[0], low_res_logits[0]
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
