"""The translation between arrays and Triton's messages; it does no I/O."""

from __future__ import annotations

import math
import struct
from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from tritonclient.grpc import service_pb2 as messages
from tritonclient.utils import serialize_byte_tensor, triton_to_np_dtype

from slimsam_client.calls import Call
from slimsam_client.contract import ANY_VERSION, Arrays, ModelSpec, TensorSpec, model_version
from slimsam_client.errors import OTHER_CONTRACT, ContractError, InvalidRequestError
from slimsam_client.numeric import is_finite
from slimsam_client.quoting import quoted
from slimsam_client.transport.shared_memory.region import Slot

Slots = Mapping[str, Slot]
"""Slots say where tensors lie in shared memory, by name; the others are in the message."""
NO_SLOTS: Final[Slots] = MappingProxyType({})


class Answer(Arrays):
    """An answer's arrays.

    Attributes:
        version: that of the model that gave it.
    """

    version = ANY_VERSION


FLOATS: Final = ("FP16", "FP32")
MAX_NAMED: Final = 5
"""A message shows at most so many names or sizes of a server's list."""


def to_request(
    call: Call, slots: Slots = NO_SLOTS, request_id: str = ""
) -> messages.ModelInferRequest:
    """Make a request of one row from a call.

    Optional inputs may be left out. All outputs are asked for.
    """
    spec = call.spec
    request = messages.ModelInferRequest(model_name=spec.name, id=request_id)
    if call.digest is not None:
        request.model_version = model_version(call.digest)
    if call.priority is not None:
        request.parameters["priority"].uint64_param = call.priority
    for tensor in spec.inputs:
        if tensor.optional and tensor.name not in call.arrays:
            continue
        array = call.arrays[tensor.name]
        array = array[None] if spec.batched else array
        item = request.inputs.add(name=tensor.name, datatype=tensor.dtype, shape=array.shape)
        if slot := slots.get(tensor.name):
            _put(item, slot)
        else:
            request.raw_input_contents.append(_to_bytes(array, tensor))
    for tensor in spec.outputs:
        output = request.outputs.add(name=tensor.name)
        if slot := slots.get(tensor.name):
            _put(output, slot)
    return request


def from_response(
    spec: ModelSpec,
    arrays: Mapping[str, NDArray[Any]],
    response: messages.ModelInferResponse,
    url: str,
    slots: Slots,
) -> Answer:
    """Take an answer's arrays, without their batch axis; those in shared memory as views of it.

    Args:
        spec: the model.
        arrays: the request's inputs, which say how many prompts were asked for.
        response: the response.
        url: address of the server, for messages.
        slots: the request's tensors in shared memory.

    Raises:
        ContractError: an output is missing, or not of the contract's dtype and of this request's
            shape.
        InvalidRequestError: there is a NaN or an infinity in it.
    """
    names = {tensor.name for tensor in spec.outputs}
    found = {
        output.name: (index, output)
        for index, output in enumerate(response.outputs)
        if output.name in names
    }
    prompts = len(arrays["point_labels"]) if "point_labels" in arrays else -1
    answer = Answer()
    answer.version = response.model_version or ANY_VERSION
    for tensor in spec.outputs:
        dims = tuple(prompts if dim < 0 else dim for dim in tensor.dims)
        expected = (1, *dims) if spec.batched else dims
        where = f"{url}: expected the output {tensor.name} of {spec.name}"
        if tensor.name not in found:
            raise ContractError(f"{where}, got none; {OTHER_CONTRACT}")
        index, output = found[tensor.name]
        shape = tuple(output.shape)
        fits = len(shape) == len(expected) and all(
            size >= 0 and dim in (-1, size) for dim, size in zip(expected, shape, strict=True)
        )
        if output.datatype != tensor.dtype or not fits:
            raise ContractError(
                f"{where} as {tensor.dtype} {list(expected)}, "
                f"got {quoted(output.datatype)} {_some(shape)}; {OTHER_CONTRACT}"
            )
        if slot := slots.get(tensor.name):
            array = slot.view
        elif index < len(response.raw_output_contents):
            array = _from_bytes(response.raw_output_contents[index], tensor, shape, where)
        else:
            raise ContractError(f"{where} with its values, got none; {OTHER_CONTRACT}")
        if spec.batched and tensor.dtype in FLOATS and not is_finite(array):
            raise InvalidRequestError(
                f"{url}: expected numbers in the output {tensor.name} of {spec.name}, the server "
                "answered NaN: values of this request that the contract forbids, or a model whose "
                "precision overflows; try `slimsam health`, and another precision of the artifact"
            )
        answer[tensor.name] = array[0] if spec.batched else array
    return answer


def check_metadata(spec: ModelSpec, metadata: messages.ModelMetadataResponse, url: str) -> None:
    """Compare a server's model with the contract.

    Args:
        spec: the model as the client knows it.
        metadata: the server's description of the model.
        url: address of the server, for the message.

    Raises:
        ContractError: names, dtypes or shapes differ; the first difference is named.
    """
    for kind, expected, tensors in (
        ("input", spec.inputs, metadata.inputs),
        ("output", spec.outputs, metadata.outputs),
    ):
        names = {tensor.name for tensor in expected}
        found, others = {}, []
        for tensor in tensors:  # once, since there may be hundreds of thousands
            if tensor.name in names:
                found[tensor.name] = (tensor.datatype, tuple(tensor.shape))
            else:
                others.append(tensor.name)
        for tensor in expected:
            # The batch axis comes first and is -1 or, where the backend batches no further, 1.
            batches: list[tuple[int, ...]] = [(-1,), (1,)] if spec.batched else [()]
            shapes = [(*batch, *tensor.dims) for batch in batches]
            if found.get(tensor.name) not in [(tensor.dtype, shape) for shape in shapes]:
                raise ContractError(
                    f"{url}: model {spec.name}: expected {kind} {tensor.name} "
                    f"{tensor.dtype} {list(tensor.dims)}{' and a batch axis' * spec.batched}, "
                    f"found {_described(found.get(tensor.name))}; {OTHER_CONTRACT}"
                )
        if kind == "input" and others:
            raise ContractError(
                f"{url}: model {spec.name}: expected no further inputs, found {_names(others)}; "
                f"{OTHER_CONTRACT}"
            )


def _put(item: Any, slot: Slot) -> None:
    """Write into a request where a tensor lies in shared memory."""
    item.parameters["shared_memory_region"].string_param = slot.region
    item.parameters["shared_memory_byte_size"].int64_param = slot.view.nbytes
    if slot.offset:
        item.parameters["shared_memory_offset"].int64_param = slot.offset


def _to_bytes(array: NDArray[Any], tensor: TensorSpec) -> bytes:
    if tensor.dtype == "BYTES":
        packed: bytes = serialize_byte_tensor(array).item() if array.size else b""
        return packed
    return array.tobytes()


def _from_bytes(raw: bytes, tensor: TensorSpec, shape: tuple[int, ...], where: str) -> NDArray[Any]:
    count = math.prod(shape)
    if tensor.dtype == "BYTES":
        strings = _strings(raw, count)
        if strings is None:
            raise ContractError(f"{where} as {count} strings, got other bytes; {OTHER_CONTRACT}")
        return strings.reshape(shape)
    dtype = np.dtype(triton_to_np_dtype(tensor.dtype))
    if len(raw) != count * dtype.itemsize:
        raise ContractError(
            f"{where} in {count * dtype.itemsize} bytes, got {len(raw)} of them; {OTHER_CONTRACT}"
        )
    return np.frombuffer(raw, dtype).reshape(shape)


def _strings(raw: bytes, count: int) -> NDArray[np.object_] | None:
    """Unpack strings, each behind its length in 4 bytes; None if there are not as many."""
    if count > len(raw) // 4:
        return None if count else np.empty(0, np.object_)
    strings = np.empty(count, np.object_)
    start = 0
    for index in range(count):
        if start + 4 > len(raw):
            return None
        (length,) = struct.unpack_from("<I", raw, start)
        start += 4
        if start + length > len(raw):
            return None
        strings[index] = raw[start : start + length]
        start += length
    return strings if start == len(raw) else None


def _described(found: tuple[str, tuple[int, ...]] | None) -> str:
    return "none" if found is None else f"{quoted(found[0])} {_some(found[1])}"


def _some(sizes: tuple[int, ...]) -> str:
    more = f" and {len(sizes) - 10} more" if len(sizes) > 10 else ""
    return f"{list(sizes[:10])}{more}"


def _names(names: Iterable[str]) -> str:
    listed = list(names)
    more = f" and {len(listed) - MAX_NAMED} more" if len(listed) > MAX_NAMED else ""
    return ", ".join(map(quoted, listed[:MAX_NAMED])) + more
