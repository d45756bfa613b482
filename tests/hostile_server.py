"""A gRPC server of bad answers, a process of its own: the header `mode` says which.

It prints its address and serves until its standard input ends.
"""

from __future__ import annotations

import concurrent.futures
import sys
import time
from collections.abc import Callable
from typing import Any

import grpc
import numpy as np
from tritonclient.grpc import service_pb2 as messages
from tritonclient.utils import triton_to_np_dtype

from slimsam_client.contract import AUTOMATIC, INFO, MODELS
from slimsam_client.testing.messages import describe

SPECS = {spec.name: spec for spec in (*MODELS, AUTOMATIC)}
STALL = 20.0
"""Seconds; no client of the test waits for them."""

Change = Callable[[Any], object]


def honest(request: Any) -> Any:
    """An answer of zeros, in the shapes that this request asks for."""
    prompts = next((i.shape[1] for i in request.inputs if i.name == "point_labels"), 2)
    answer = messages.ModelInferResponse(model_name=request.model_name, id=request.id)
    spec = SPECS[request.model_name]
    for tensor in spec.outputs:
        shape = [prompts if dim < 0 else dim for dim in tensor.dims]
        shape = [1, *shape] if spec.batched else shape
        answer.outputs.add(name=tensor.name, datatype=tensor.dtype, shape=shape)
        if tensor.dtype == "BYTES":
            # Twice an RLE of no pixel: one run of 9 * 9 pixels outside.
            answer.raw_output_contents.append(2 * (b"\x02\x00\x00\x00" + b"a2"))
        elif tensor.name == "original_size":
            answer.raw_output_contents.append(np.array([9, 9], np.int32).tobytes())
        else:
            values = np.zeros(shape, triton_to_np_dtype(tensor.dtype))
            answer.raw_output_contents.append(values.tobytes())
    return answer


def info(content: bytes) -> Any:
    answer = messages.ModelInferResponse(model_name=INFO.name)
    answer.outputs.add(name="info", datatype="BYTES", shape=[1])
    answer.raw_output_contents.append(len(content).to_bytes(4, "little") + content)
    return answer


def place(answer: Any, name: str) -> int:
    return [output.name for output in answer.outputs].index(name)


def first_of(answer: Any, *names: str) -> str:
    """The first of these outputs that the answer has."""
    return next(name for name in names if any(one.name == name for one in answer.outputs))


def main_output(answer: Any) -> str:
    return first_of(answer, "low_res_masks", "image_embeddings", "boxes")


def reshaped(*shape: int, dtype: str = "", name: str = "") -> Change:
    """Another shape, and as many bytes as it needs."""

    def change(answer: Any) -> None:
        index = place(answer, name or main_output(answer))
        output = answer.outputs[index]
        del output.shape[:]
        output.shape.extend(shape)
        output.datatype = dtype or output.datatype
        size = np.dtype(triton_to_np_dtype(output.datatype)).itemsize
        answer.raw_output_contents[index] = bytes(int(np.prod(shape)) * size)

    return change


def labeled(shape: tuple[int, ...] = (), dtype: str = "", name: str = "") -> Change:
    """Another shape or dtype beside the same bytes."""

    def change(answer: Any) -> None:
        output = answer.outputs[place(answer, name or main_output(answer))]
        if shape:
            del output.shape[:]
            output.shape.extend(shape)
        output.datatype = dtype or output.datatype

    return change


def raw(content: Callable[[bytes], bytes], name: str = "") -> Change:
    """Other bytes."""

    def change(answer: Any) -> None:
        index = place(answer, name or main_output(answer))
        answer.raw_output_contents[index] = content(answer.raw_output_contents[index])

    return change


def filled(value: float, dtype: str, name: str = "") -> Change:
    """One value everywhere."""
    return raw(
        lambda old: np.full(len(old) // np.dtype(dtype).itemsize, value, dtype).tobytes(), name
    )


def at_end(value: float, dtype: str, name: str) -> Change:
    """One value in the last place."""
    return raw(
        lambda old: old[: -np.dtype(dtype).itemsize] + np.array(value, dtype).tobytes(), name
    )


def without(field: str) -> Change:
    return lambda answer: answer.ClearField(field)


def renamed(answer: Any) -> None:
    answer.outputs[place(answer, main_output(answer))].name = "masks"


def one_raw_less(answer: Any) -> None:
    del answer.raw_output_contents[-1]


def many_outputs(answer: Any) -> None:
    for index in range(300_000):
        answer.outputs.add(name=f"output_{index}", datatype="FP32", shape=[1])
    renamed(answer)


def in_shared_memory(answer: Any) -> None:
    output = answer.outputs[place(answer, main_output(answer))]
    output.parameters["shared_memory_region"].string_param = "slimsam-1-1-1-1-1"
    one_raw_less(answer)
    answer.raw_output_contents[0] = b""


def swapped(answer: Any) -> None:
    contents = list(answer.raw_output_contents)
    del answer.raw_output_contents[:]
    answer.raw_output_contents.extend(contents[::-1])


def typed_contents(answer: Any) -> None:
    del answer.raw_output_contents[:]
    for output in answer.outputs:
        output.contents.fp32_contents.extend([0.0] * 4)


HUGE = 2**62
ANSWERS: dict[str, Change] = {
    "another P": reshaped(1, 3, 4, 256, 256),
    "P of scores": reshaped(1, 3, 4, name="iou_predictions"),
    "no prompt": reshaped(1, 0, 4, 256, 256),
    "batch of two": reshaped(2, 1, 4, 256, 256),
    "batch of none": reshaped(0, 1, 4, 256, 256),
    "three masks": reshaped(1, 1, 3, 256, 256),
    "one mask": reshaped(1, 1, 1, 256, 256),
    "half the side": reshaped(1, 1, 4, 128, 128),
    "one axis less": reshaped(1, 4, 256, 256),
    "one axis more": reshaped(1, 1, 1, 4, 256, 256),
    "a scalar": reshaped(),
    "masks in FP32": reshaped(1, 1, 4, 256, 256, dtype="FP32"),
    "masks in INT16": reshaped(1, 1, 4, 256, 256, dtype="INT16"),
    "scores in INT64": reshaped(1, 1, 4, dtype="INT64", name="iou_predictions"),
    "scores in BYTES": labeled(dtype="BYTES", name="iou_predictions"),
    "an unknown dtype": labeled(dtype="FP17"),
    "an empty dtype": lambda answer: answer.outputs[0].ClearField("datatype"),
    "a dtype of a megabyte": labeled(dtype="F" * 2**20),
    "a dtype that moves the cursor": labeled(dtype="\x1b[2J\r\nFP16"),
    "an axis of -1": labeled((1, -1, 4, 256, 256)),
    "axes below zero": labeled((1, -2, -2, 256, 256)),
    "a huge axis": labeled((1, HUGE, 4, 256, 256)),
    "axes that overflow": labeled((1, HUGE, HUGE, 256, 256)),
    "a million axes": labeled((1,) * 1_000_000),
    "bytes missing": raw(lambda old: old[:-2]),
    "one byte missing": raw(lambda old: old[:-1]),
    "bytes in excess": raw(lambda old: old + b"\0\0"),
    "no bytes": raw(lambda old: b""),
    "bytes of megabytes": raw(lambda old: bytes(64 * 2**20)),
    "NaN in masks": filled(np.nan, "<f2"),
    "infinity in masks": at_end(np.inf, "<f2", "low_res_masks"),
    "one NaN in masks": at_end(np.nan, "<f2", "low_res_masks"),
    "NaN in scores": filled(np.nan, "<f4", "iou_predictions"),
    "infinity in scores": at_end(-np.inf, "<f4", "iou_predictions"),
    "no outputs": without("outputs"),
    "no raw contents": without("raw_output_contents"),
    "one raw content less": one_raw_less,
    "nothing": lambda answer: answer.Clear(),
    "another name": renamed,
    "300,000 outputs": many_outputs,
    "shared memory that nobody asked for": in_shared_memory,
    "contents swapped": swapped,
    "typed contents": typed_contents,
}
"""To a click."""
EMBEDDINGS: dict[str, Change] = {
    "embedding of one": reshaped(1, 1, 1, 1),
    "embedding in FP32": reshaped(1, 256, 64, 64, dtype="FP32"),
    "embedding of NaN": filled(np.nan, "<f2"),
    "embedding transposed": reshaped(1, 64, 64, 256),
    "embedding cut off": raw(lambda old: old[:1000]),
    "embedding of infinity": at_end(np.inf, "<f2", "image_embeddings"),
}
"""To an image."""
SIZE = np.dtype(np.int32)
RECORDS: dict[str, Change] = {
    "size of another picture": raw(lambda old: np.array([9, 8], SIZE).tobytes(), "original_size"),
    "size of 60,000": raw(lambda old: np.array([60_000] * 2, SIZE).tobytes(), "original_size"),
    "size below zero": raw(lambda old: np.array([-9, -9], SIZE).tobytes(), "original_size"),
    "columns of different lengths": reshaped(3, name="areas"),
    "boxes of three": reshaped(2, 3, name="boxes"),
    "areas in FP32": reshaped(2, dtype="FP32", name="areas"),
    "area of nothing": at_end(7, "<i8", "areas"),
    "NaN in boxes": filled(np.nan, "<f4", "boxes"),
    "boxes outside": filled(1e9, "<f4", "boxes"),
    "NaN in predicted_iou": filled(np.nan, "<f4", "predicted_iou"),
    "strings without end": raw(lambda old: b"\xff\xff\xff\x7fab", "rles"),
    "strings in excess": raw(lambda old: old + old, "rles"),
    "strings cut off": raw(lambda old: old[:-1], "rles"),
    "too many strings": labeled((10**9,), name="rles"),
    "RLE of garbage": raw(lambda old: 2 * (b"\x04\0\0\0" + b"\xff\x80~\0"), "rles"),
    "RLE of too many pixels": raw(lambda old: 2 * (b"\x05\0\0\0" + b"PPPP1"), "rles"),
    "RLE of nothing": raw(lambda old: bytes(8), "rles"),
    "no rles": lambda answer: answer.outputs[place(answer, "rles")].ClearField("name"),
}
"""To everything mode."""


def rename_input(metadata: Any) -> None:
    metadata.inputs[0].name = "x"


def more_inputs(metadata: Any) -> None:
    for index in range(300_000):
        metadata.inputs.add(name=f"input_{index}\x1b[31m", datatype="FP32", shape=[1])


def long_shape(metadata: Any) -> None:
    metadata.outputs[0].shape.extend([1] * 1_000_000)


DESCRIPTIONS: dict[str, Change] = {
    "metadata of nothing": lambda metadata: metadata.Clear(),
    "metadata of another input": rename_input,
    "metadata of 300,000 inputs": more_inputs,
    "metadata of a million axes": long_shape,
}
INFOS: dict[str, bytes] = {
    "info of garbage": b"\xff\x1b[2J",
    "info of another kind": b"[1]",
    "info without end": b"[" * 100_000,
    "info of huge numbers": b'{"limits": {"max_prompts": ' + b"9" * 10_000 + b"}}",
}
"""Of what is served; an image asks for it."""
BODIES: dict[str, bytes] = {
    "an empty message": b"",
    "bytes of no message": b"\xff" * 64,
    "HTML": b"<html><body>502 Bad Gateway</body></html>",
    "an answer above the limit": bytes(160 * 2**20),
}
STATUSES = {f"status {code.name}": code for code in grpc.StatusCode if code.name != "OK"}
STALLS = ("never answers", "metadata hangs", "everything hangs")
TO_A_CLICK = (*ANSWERS, *DESCRIPTIONS, *BODIES, *STATUSES, "words of a megabyte", *STALLS)


class Hostile(grpc.GenericRpcHandler):  # type: ignore[misc]
    """The service, in bytes."""

    def service(self, details: Any) -> Any:
        method = details.method.rpartition("/")[2]
        return grpc.unary_unary_rpc_method_handler(
            lambda body, context: self.answer(method, body, context)
        )

    def answer(self, method: str, body: bytes, context: Any) -> bytes:
        mode = dict(context.invocation_metadata()).get("mode", "")
        infers = method == "ModelInfer"
        if mode == "everything hangs" or (mode, method) == ("metadata hangs", "ModelMetadata"):
            time.sleep(STALL)
        if infers and mode == "never answers":
            time.sleep(STALL)
        if infers and mode in BODIES:
            return BODIES[mode]
        if infers and mode in STATUSES:
            context.abort(STATUSES[mode], "\x1b[2J\x07 said")
        if infers and mode == "words of a megabyte":
            context.abort(grpc.StatusCode.INTERNAL, "\x1b[2J" * 1500)  # what headers may hold
        if infers and messages.ModelInferRequest.FromString(body).model_name == INFO.name:
            if mode not in INFOS:
                context.abort(
                    grpc.StatusCode.NOT_FOUND, f"unknown model: '{INFO.name}' is not found"
                )
            return info(INFOS[mode]).SerializeToString()  # type: ignore[no-any-return]
        return self.message(mode, method, body).SerializeToString()  # type: ignore[no-any-return]

    def message(self, mode: str, method: str, body: bytes) -> Any:
        if method == "ModelMetadata":
            request = messages.ModelMetadataRequest.FromString(body)
            metadata = describe(SPECS[request.name], "hostile")
            DESCRIPTIONS.get(mode, lambda _: None)(metadata)
            return metadata
        if method == "ModelInfer":
            answer = honest(messages.ModelInferRequest.FromString(body))
            change = {**ANSWERS, **EMBEDDINGS, **RECORDS}.get(mode)
            if change is not None:
                change(answer)
            return answer
        response = getattr(messages, f"{method}Response")()
        for field in ("live", "ready"):
            if hasattr(response, field):
                setattr(response, field, True)
        return response


def main() -> None:
    limits = [("grpc.max_send_message_length", -1), ("grpc.max_receive_message_length", -1)]
    server = grpc.server(concurrent.futures.ThreadPoolExecutor(64), options=limits)
    server.add_generic_rpc_handlers((Hostile(),))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    print(f"127.0.0.1:{port}", flush=True)
    sys.stdin.read()
    server.stop(None)


if __name__ == "__main__":
    main()
