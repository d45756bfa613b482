"""What each way sends and receives: the bytes of gRPC's messages, without HTTP/2's framing."""

from __future__ import annotations

import time
from typing import Any, Final

import grpc

from benchmarks.clicks.ways import EMBEDDING, KEPT, TIMEOUT
from benchmarks.first_call import first_call
from benchmarks.scene_pictures import new_picture
from slimsam_client import SlimSam, operations
from slimsam_client.calls import Operation
from slimsam_client.clicks.upload import upload
from slimsam_client.transport.exchange import Attempt
from slimsam_client.transport.tensors import to_request

POINT: Final = (512.25, 384.75)
OPTIONS: Final = [("grpc.max_receive_message_length", -1)]


def message_bytes(url: str) -> dict[str, tuple[int, int]]:
    """Measure one call of each kind: bytes of the request and of the answer.

    Args:
        url: host:port of the server.

    Returns:
        By the call's name: "upload" and "click", "embed" and "predict".
    """
    picture = new_picture()
    with SlimSam(url, timeout=TIMEOUT) as sam, grpc.insecure_channel(url, OPTIONS) as channel:
        kept, embedding = (way.know(sam, picture) for way in (KEPT, EMBEDDING))

        def of(steps: Operation[Any]) -> tuple[int, int]:
            return _send(channel, to_request(first_call(steps)).SerializeToString())

        def predict(known: Any) -> Operation[Any]:
            return operations.predict(known, [POINT], None, None, None, True, "rle")

        return {
            "upload": of(upload(new_picture())),
            "click": of(predict(kept)),
            "embed": of(operations.embed(picture)),
            "predict": of(predict(embedding)),
        }


def _send(channel: grpc.Channel, body: bytes) -> tuple[int, int]:
    attempt = Attempt("ModelInfer", body, time.monotonic() + TIMEOUT)
    answer = channel.unary_unary(attempt.path)(attempt.body, timeout=attempt.seconds_left())
    return len(body), len(answer)
