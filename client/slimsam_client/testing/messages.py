"""Triton's messages: requests to arrays, checked as Triton checks them, and arrays to responses.

The checks and their statuses are those of tritonserver 2.51; a test sends the same requests to
both. Messages name what is wrong in much the same words.
"""

from __future__ import annotations

import math
import struct
from typing import Any, Final

import grpc
import numpy as np
from numpy.typing import NDArray
from tritonclient.grpc import service_pb2 as messages
from tritonclient.utils import (
    deserialize_bytes_tensor,
    np_to_triton_dtype,
    serialize_byte_tensor,
    triton_to_np_dtype,
)

from slimsam_client.contract import (
    ANY_VERSION,
    BULK_DECODER,
    CLICK,
    DECODER,
    ENCODER,
    ENSEMBLE,
    Arrays,
    ModelSpec,
    TensorSpec,
)

MAX_BATCH_SIZES: Final = {ENCODER: 8, DECODER: 8, BULK_DECODER: 1, ENSEMBLE: 8, CLICK: 8}
"""Models with a batch axis have these, which are the default of the repository's."""

CONTENTS: Final = {
    "UINT8": "uint_contents",
    "INT32": "int_contents",
    "FP32": "fp32_contents",
    "BYTES": "bytes_contents",
}
"""A request without raw contents has its values in these fields of InferTensorContents, by dtype;
the protocol has none for FP16."""


class Refused(Exception):
    """A request that gets no answer but a gRPC status.

    Attributes:
        status: the grpc.StatusCode that the client gets.
    """

    def __init__(self, message: str, status: Any = grpc.StatusCode.INVALID_ARGUMENT) -> None:
        super().__init__(message)
        self.status = status


def describe(
    spec: ModelSpec, platform: str, version: str = ANY_VERSION
) -> messages.ModelMetadataResponse:
    """Describe a model as Triton does."""
    answer = messages.ModelMetadataResponse(name=spec.name, versions=[version], platform=platform)
    for field, tensors in ((answer.inputs, spec.inputs), (answer.outputs, spec.outputs)):
        for tensor in tensors:
            field.add(name=tensor.name, datatype=tensor.dtype, shape=_shape(spec, tensor))
    return answer


def read_inputs(request: messages.ModelInferRequest, spec: ModelSpec) -> Arrays:
    """Take a request's tensors, with their batch axis.

    Raises:
        Refused: they are not of the model's names, dtypes and dims.
    """
    model = f"for model '{spec.name}'"
    for output in request.outputs:
        if output.name not in {tensor.name for tensor in spec.outputs}:
            raise Refused(f"unexpected inference output '{output.name}' {model}")
    expected = {tensor.name: tensor for tensor in spec.inputs}
    raw = list(request.raw_input_contents)
    given = {}
    for index, tensor in enumerate(request.inputs):
        if tensor.name in given:
            raise Refused(f"input '{tensor.name}' already exists in request")
        if "shared_memory_region" in tensor.parameters:
            region = tensor.parameters["shared_memory_region"].string_param
            raise Refused(
                f"Unable to find shared memory region: '{region}'", grpc.StatusCode.NOT_FOUND
            )
        if raw and tensor.HasField("contents"):
            raise Refused(
                "contents field must not be specified when using raw_input_contents "
                f"for '{tensor.name}' {model}"
            )
        given[tensor.name] = (tensor, raw[index] if index < len(raw) else None)
    missing = [name for name, spec_ in expected.items() if name not in given and not spec_.optional]
    # Triton counts: an optional input may stand in for a required one, which the model then misses.
    least = sum(not tensor.optional for tensor in spec.inputs)
    if not least <= len(given) <= len(expected):
        raise Refused(
            f"expected {len(expected)} inputs but got {len(given)} inputs {model}. "
            f"Got input(s) {sorted(given)}, but missing required input(s) {missing}"
        )
    if unknown := sorted(set(given) - set(expected)):
        raise Refused(f"unexpected inference input '{unknown[0]}' {model}")
    for name, (tensor, _) in given.items():
        _check_shape(tensor, expected[name], spec)
    if spec.batched:
        _check_batch({name: tensor.shape for name, (tensor, _) in given.items()}, spec)
    return {name: _array(tensor, content, model) for name, (tensor, content) in given.items()}


def to_response(
    request: messages.ModelInferRequest, spec: ModelSpec, arrays: Arrays, version: str
) -> messages.ModelInferResponse:
    """Answer a request with the outputs that it asks for, or with all."""
    answer = messages.ModelInferResponse(model_name=spec.name, model_version=version, id=request.id)
    wanted = {output.name for output in request.outputs} or set(arrays)
    for tensor in spec.outputs:
        if tensor.name in wanted:
            array = np.ascontiguousarray(arrays[tensor.name])
            dtype = np_to_triton_dtype(array.dtype)
            answer.outputs.add(name=tensor.name, datatype=dtype, shape=array.shape)
            answer.raw_output_contents.append(_to_bytes(array))
    return answer


def _shape(spec: ModelSpec, tensor: TensorSpec) -> list[int]:
    return [*([-1] if spec.batched else []), *tensor.dims]


def _check_shape(tensor: Any, expected: TensorSpec, spec: ModelSpec) -> None:
    if tensor.datatype != expected.dtype:
        raise Refused(
            f"inference input '{tensor.name}' data-type is '{tensor.datatype}', "
            f"but model '{spec.name}' expects '{expected.dtype}'"
        )
    dims = _shape(spec, expected)
    fits = len(dims) == len(tensor.shape) and all(
        size >= 0 and dim in (-1, size) for dim, size in zip(dims, tensor.shape, strict=True)
    )
    if not fits:
        raise Refused(
            f"unexpected shape for input '{tensor.name}' for model '{spec.name}'. "
            f"Expected {dims}, got {list(tensor.shape)}"
        )


def _check_batch(shapes: dict[str, Any], spec: ModelSpec) -> None:
    sizes = {name: shape[0] for name, shape in shapes.items()}
    first = next(iter(sizes.values()))
    for name, size in sizes.items():
        if size != first:
            raise Refused(
                f"input '{name}' batch size does not match other inputs for '{spec.name}'"
            )
    most = MAX_BATCH_SIZES[spec]
    if not 1 <= first <= most:
        raise Refused(f"inference request batch-size must be >= 1 and <= {most} for '{spec.name}'")


def _array(tensor: Any, raw: bytes | None, model: str) -> NDArray[Any]:
    values = _typed(tensor, model) if raw is None else _from_bytes(tensor, raw, model)
    count = math.prod(tensor.shape)
    if len(values) != count:
        raise Refused(
            f"input size mismatch for input '{tensor.name}' {model}. "
            f"Expected {count} elements, got {len(values)}"
        )
    return values.reshape(tuple(tensor.shape))


def _typed(tensor: Any, model: str) -> NDArray[Any]:
    field = CONTENTS.get(tensor.datatype)
    filled = [descriptor.name for descriptor, _ in tensor.contents.ListFields()]
    if not filled:
        raise Refused(f"unable to find data for input tensor '{tensor.name}' {model} in request.")
    if filled != [field]:
        raise Refused(
            f"unexpected explicit tensor data for input tensor '{tensor.name}' {model} in "
            f"{', '.join(filled)}, expected datatype '{tensor.datatype}'"
        )
    values = list(getattr(tensor.contents, filled[0]))
    dtype = triton_to_np_dtype(tensor.datatype)
    # They go through int64, so that what is no uint8 wraps around as it does in Triton.
    return np.array(values, np.int64 if tensor.datatype == "UINT8" else dtype).astype(dtype)


def _from_bytes(tensor: Any, raw: bytes, model: str) -> NDArray[Any]:
    if tensor.datatype == "BYTES":
        try:
            array: NDArray[Any] = deserialize_bytes_tensor(raw)
        except struct.error as error:
            raise Refused(
                f"incomplete string data for inference input '{tensor.name}' ({error})"
            ) from error
        return array
    dtype = np.dtype(triton_to_np_dtype(tensor.datatype))
    expected = math.prod(tensor.shape) * dtype.itemsize
    if len(raw) != expected:
        raise Refused(
            f"input byte size mismatch for input '{tensor.name}' {model}. "
            f"Expected {expected}, got {len(raw)}"
        )
    return np.frombuffer(raw, dtype)


def _to_bytes(array: NDArray[Any]) -> bytes:
    if array.dtype != np.object_:
        return array.tobytes()
    return serialize_byte_tensor(array).item() if array.size else b""
