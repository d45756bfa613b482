"""How much of what the edge lets through, and what the client makes of its refusals."""

from __future__ import annotations

import itertools
import socket
import ssl
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
from envoy_edge import DEPLOY, Authorities, Edge, edge
from raw_http2 import has_answer
from raw_requests import LYING, decoder_inputs, lying_request
from short_timeouts import assert_fails
from tritonclient.grpc import service_pb2 as messages
from tritonclient.grpc.service_pb2_grpc import GRPCInferenceServiceStub
from tritonclient.utils import np_to_triton_dtype

from benchmarks.first_call import first_call
from slimsam_client import (
    Embedding,
    RequestCancelledError,
    RequestTimeoutError,
    ServerBusyError,
    ServerError,
    SlimSam,
)
from slimsam_client.contract import DECODER, MAX_PROMPTS
from slimsam_client.operations import predict
from slimsam_client.testing import FakeServer
from slimsam_client.transport.tensors import to_request

EMBEDDING = Embedding(np.zeros((256, 64, 64), np.float16), (300, 400), (768, 1024))
CLICK: dict[str, Any] = {"points": [[1, 1]]}
LIMITED = "requests.http_local_rate_limit.rate_limited"
MORE_THAN_MAY = "more requests than this client may send"
TRIES = 5


@pytest.fixture
def stub(small: Edge, authorities: Authorities) -> Iterator[GRPCInferenceServiceStub]:
    credentials = grpc.ssl_channel_credentials(
        authorities.root.read_bytes(), *2 * (authorities.client.read_bytes(),)
    )
    with grpc.secure_channel(small.url, credentials) as channel:
        yield GRPCInferenceServiceStub(channel)


def test_a_greedy_client_is_busy_and_hurts_no_other(
    small: Edge, authorities: Authorities, fake: FakeServer, stub: GRPCInferenceServiceStub
) -> None:
    metadata = tuple(authorities.headers("greedy").items())
    for _ in range(40):
        assert stub.ServerLive(messages.ServerLiveRequest(), metadata=metadata, timeout=60).live
    greedy, modest = (
        SlimSam(small.url, 60, tls=authorities.tls, headers=authorities.headers(subject))
        for subject in ("greedy", "modest")
    )
    with greedy, modest:
        before = len(fake.requests)
        for _ in range(TRIES):
            limited = small.counter(LIMITED)
            assert_fails(
                lambda seconds: greedy.with_options(timeout=seconds).predict(EMBEDDING, **CLICK),
                ServerBusyError,
                MORE_THAN_MAY,
            )
            came = small.counter(LIMITED) - limited
            if came > 1:  # else this process stood still while it backed off
                break
        assert len(fake.requests) == before
        # It has come back, and has backed off in between.
        assert 2 <= came < 20
        assert len(modest.predict(EMBEDDING, **CLICK).scores) == 3


def test_a_client_of_much_work_is_busy_and_hurts_no_other(
    small: Edge, authorities: Authorities, fake: FakeServer
) -> None:
    """Few requests may be much work: 16 prompts are 16 clicks."""
    points = np.full((16, 1, 2), 5.0)
    working, modest = (
        SlimSam(small.url, 60, tls=authorities.tls, headers=authorities.headers(subject))
        for subject in ("working", "clicking")
    )
    with working, modest:
        working.predict(EMBEDDING, points=points, masks=None)
        working.predict(EMBEDDING, points=points, masks=None)
        before = len(fake.requests)
        assert_fails(
            lambda seconds: working.with_options(timeout=seconds).predict(
                EMBEDDING, points=points, masks=None
            ),
            ServerBusyError,
            MORE_THAN_MAY,
        )
        assert len(fake.requests) == before
        working.predict(EMBEDDING, **CLICK)  # there is work left for a few of them
        working.wait_until_ready(60)
        modest.predict(EMBEDDING, points=points, masks=None)


@pytest.mark.parametrize("in_contents", [False, True], ids=["raw", "in the tensor"])
def test_objects_of_a_click_on_an_upload_are_work(
    in_contents: bool,
    small: Edge,
    authorities: Authorities,
    fake: FakeServer,
    stub: GRPCInferenceServiceStub,
) -> None:
    """Its JSON alone says how many there are, wherever it lies in the message."""
    with SlimSam(fake.url) as direct:
        image = direct.upload(np.zeros((20, 20, 3), np.uint8))
    metadata = tuple(authorities.headers(f"objects {in_contents}").items())

    def click(objects: int) -> str:
        boxes = np.tile([1, 1, 9, 9], (objects, 1))
        request = to_request(first_call(predict(image, None, None, boxes, None, True, "rle")))
        if in_contents:
            for tensor, raw in zip(request.inputs, request.raw_input_contents, strict=True):
                tensor.contents.bytes_contents.append(raw[4:])
            del request.raw_input_contents[:]
        try:
            stub.ModelInfer(request, metadata=metadata, timeout=60)
        except grpc.RpcError as error:
            return str(error.code().name)
        return "OK"

    assert [click(16), click(16)] == ["OK", "OK"]
    before = len(fake.requests)
    assert click(16) == "RESOURCE_EXHAUSTED"
    assert len(fake.requests) == before
    assert click(1) == "OK"  # there is work left for a few of them


def test_as_many_requests_are_under_way_as_may_be(
    small: Edge, authorities: Authorities, fake: FakeServer
) -> None:
    before = len(fake.requests)
    fake.delay(DECODER.name, 280)
    first, second = (
        SlimSam(small.url, 280, tls=authorities.tls, headers=authorities.headers(subject))
        for subject in ("first", "second")
    )
    with ThreadPoolExecutor(1) as pool, first, second:
        for sam in (first, second):
            sam.wait_until_ready(60)
        slow = pool.submit(first.predict, EMBEDDING, **CLICK)
        while len(fake.requests) == before and not slow.done():
            time.sleep(0.01)
        assert_fails(
            lambda seconds: second.with_options(timeout=seconds).predict(EMBEDDING, **CLICK),
            ServerBusyError,
            "as many requests are under way as may be",
        )
        second.wait_until_ready(60)  # such questions have room of their own
        first.close()
        with pytest.raises(RequestCancelledError):
            slow.result()
        assert len(second.predict(EMBEDDING, **CLICK).scores) == 3


def test_a_deadline_is_not_longer_than_may_be(authorities: Authorities, tmp_path: Path) -> None:
    shorter = {"grpc_timeout_header_max: 300s": "grpc_timeout_header_max: 1s"}
    with (
        FakeServer() as slow,  # of which no other test gets the delay
        edge(authorities, slow.url, tmp_path, shorter) as running,
        SlimSam(running.url, 60, tls=authorities.tls, headers=authorities.headers("ann")) as sam,
    ):
        slow.delay(DECODER.name, 60)
        with pytest.raises(RequestTimeoutError):
            sam.predict(EMBEDDING, **CLICK)


def test_a_message_that_is_too_large_is_sent_once(
    small: Edge, authorities: Authorities, fake: FakeServer, connect: Any
) -> None:
    subject = f"large {connect}"
    sam = connect(small.url, 60, tls=authorities.tls, headers=authorities.headers(subject))
    before = len(fake.requests)
    with pytest.raises(
        ServerError, match="one is above .*: edge: the message size is above the limit"
    ):
        sam.embed(np.zeros((9, 9, 3), np.uint8))
    assert len(sam.predict(EMBEDDING, **CLICK).scores) == 3
    mine = (each for each in small.logged("ModelInfer") if each["subject"] == subject)
    statuses = [each["status"] for each in itertools.islice(mine, 3)]
    assert statuses == ["OK", "ResourceExhausted", "OK"]  # of slimsam_info, image and click
    assert len(fake.requests) == before + 1


def infer(
    stub: GRPCInferenceServiceStub, authorities: Authorities, request: Any, **options: Any
) -> tuple[str, str]:
    """Send a request, or bytes in place of one, and give its status and what is said."""
    metadata = tuple(authorities.headers("mallory " + str(time.monotonic())).items())
    call = stub.ModelInfer
    if isinstance(request, bytes):
        call._request_serializer, request = bytes, request
    try:
        call(request, metadata=metadata, timeout=60, **options)
    except grpc.RpcError as error:
        return error.code().name, error.details()
    return "OK", ""


@pytest.mark.parametrize("shapes", LYING.values(), ids=LYING)
def test_shapes_that_lie(
    shapes: tuple[list[int], list[int]],
    authorities: Authorities,
    fake: FakeServer,
    stub: GRPCInferenceServiceStub,
) -> None:
    before = len(fake.requests)
    code, said = infer(stub, authorities, lying_request(*shapes))
    assert (code, said) == (
        "INVALID_ARGUMENT",
        "edge: expected no such message, got a shape of more than 4194304 elements or 8 axes",
    )
    assert len(fake.requests) == before


def varint(value: int) -> bytes:
    value %= 2**64
    return bytes((value % 128 + 128,)) + varint(value // 128) if value > 127 else bytes((value,))


def field(number: int, content: bytes | int, padding: int = 0) -> bytes:
    """A field of a message; its tag may have further bits that protobuf does not keep."""
    wire = 2 if isinstance(content, bytes) else 0
    tag = varint(number * 8 + wire + padding)
    return tag + (varint(len(content)) + content if isinstance(content, bytes) else varint(content))


MODEL = field(1, DECODER.name.encode())
HUGE = varint(2**62)
HIDDEN = {
    "packed": MODEL + field(5, field(3, HUGE)),
    "not packed": MODEL + field(5, field(3, 1) + field(3, 2**62)),
    "in parts": MODEL + field(5, field(3, varint(2**16)) + field(3, varint(2**16))),
    "negative": MODEL + field(5, field(3, varint(-1))),
    "beside a zero": MODEL + field(5, field(3, varint(0) + HUGE)),
    "many axes": MODEL + field(5, field(3, bytes([1] * 9))),
    "after the contents": MODEL + field(7, bytes(100_000)) + field(5, field(3, HUGE)),
    "in the last input": MODEL + field(5, field(3, b"\1")) * 5 + field(5, field(3, HUGE)),
    "behind other fields": MODEL + field(99, b"x") * 40 + field(5, field(3, HUGE)),
    "cut off": MODEL + field(5, field(3, b"\xff")),
    "longer than its message": MODEL + b"\x2a\x7f\x1a",
    "behind too many fields": MODEL + field(99, 1) * 300,
    "too many fields within": MODEL + field(5, field(4, field(9, 1) * 40) * 5) * 5,
    "with a tag of 33 bits": MODEL + field(5, field(3, HUGE), 2**32),
    "in a group": MODEL + bytes([5 * 8 + 3]) + field(3, HUGE) + bytes([5 * 8 + 4]),
    "no varint": MODEL + b"\xff" * 20,
}
"""Messages that are damaged, or have shapes that no model takes where one might not look."""


@pytest.mark.parametrize("message", HIDDEN.values(), ids=HIDDEN)
def test_shapes_that_hide(
    message: bytes, authorities: Authorities, fake: FakeServer, stub: GRPCInferenceServiceStub
) -> None:
    before = len(fake.requests)
    code, said = infer(stub, authorities, message)
    assert code == "INVALID_ARGUMENT" and said.startswith("edge: expected no such message, got ")
    assert len(fake.requests) == before


def test_many_prompts_that_go_on(small: Edge, authorities: Authorities, connect: Any) -> None:
    """The client's later requests have a priority, which is let through."""
    headers = authorities.headers(f"many {connect}")
    sam = connect(small.url, 60, tls=authorities.tls, headers=headers)
    points = np.ones((2 * MAX_PROMPTS, 1, 2))
    assert len(sam.predict(EMBEDDING, points).scores) == len(points)


REGION = field(1, b"shared_memory_region") + field(2, field(3, b"somebodys"))


@pytest.mark.parametrize(
    "tensor",
    [
        field(5, field(3, b"\1") + field(4, REGION)),
        field(6, field(1, b"low_res_masks") + field(2, REGION)),
    ],
    ids=["input", "output"],
)
def test_memory_that_is_somebody_elses(
    tensor: bytes, authorities: Authorities, fake: FakeServer, stub: GRPCInferenceServiceStub
) -> None:
    before = len(fake.requests)
    assert infer(stub, authorities, MODEL + tensor) == (
        "INVALID_ARGUMENT",
        "edge: expected no such message, got a name of shared memory",
    )
    assert len(fake.requests) == before


def test_the_edge_knows_how_many_prompts_there_may_be() -> None:
    script = (DEPLOY / "requests.lua").read_text()
    assert f"\nlocal MAX_PROMPTS = {MAX_PROMPTS}\n" in script


@pytest.mark.parametrize(
    "message",
    [
        field(1, b"slimsam"),
        MODEL + field(1, b"slimsam"),
        field(1, b"slimsam") + MODEL,
        field(1, b"x" * 100_000),
        field(1, 7),
        MODEL + field(1, b"slimsam_decoder/../slimsam"),
    ],
    ids=["ensemble", "the last counts", "the first", "long", "no text", "a path"],
)
def test_models_that_are_not_offered(
    message: bytes, authorities: Authorities, fake: FakeServer, stub: GRPCInferenceServiceStub
) -> None:
    before = len(fake.requests)
    code, said = infer(stub, authorities, message)
    assert (code, said) == ("PERMISSION_DENIED", "edge: expected a model that is offered here")
    assert len(fake.requests) == before


def test_a_compressed_message(
    authorities: Authorities, fake: FakeServer, stub: GRPCInferenceServiceStub
) -> None:
    """Triton would unpack gigabytes of a few megabytes."""
    request = messages.ModelInferRequest(model_name=DECODER.name)
    request.raw_input_contents.append(bytes(10_000_000))
    before = len(fake.requests)
    code, said = infer(stub, authorities, request, compression=grpc.Compression.Gzip)
    assert (code, said) == ("UNIMPLEMENTED", "edge: expected a message that is not compressed")
    assert len(fake.requests) == before


def test_a_small_call_with_a_large_message(
    authorities: Authorities, stub: GRPCInferenceServiceStub
) -> None:
    metadata = tuple(authorities.headers("talkative").items())
    with pytest.raises(grpc.RpcError) as error:
        stub.ModelReady(
            messages.ModelReadyRequest(name="x" * 100_000), metadata=metadata, timeout=60
        )
    assert error.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED


@pytest.mark.parametrize("timeout", ["49m", "00000049m", "49000u", "9999999n", "0S", "0H"])
def test_a_deadline_that_is_nearly_over(
    timeout: str, small: Edge, authorities: Authorities
) -> None:
    """By hand: a client of gRPC would end such a call itself."""
    context = ssl.create_default_context(cafile=str(authorities.root))
    context.load_cert_chain(str(authorities.client))
    context.set_alpn_protocols(["h2"])
    headers = {":scheme": "https", **authorities.headers(f"hasty {timeout}")}
    host, port = small.url.split(":")

    def ask(**further: str) -> bool:
        plain = socket.create_connection((host, int(port)), timeout=60)
        with context.wrap_socket(plain, server_hostname=host) as connection:
            return has_answer(connection, "ServerLive", {**headers, **further})

    assert ask(**{"grpc-timeout": "60S"})
    assert not ask(**{"grpc-timeout": timeout})
    mine = (each for each in small.logged("ServerLive") if each["subject"] == f"hasty {timeout}")
    assert {entry["status"] for entry in itertools.islice(mine, 2)} == {"OK", "DeadlineExceeded"}


def test_connections_are_renewed_and_no_request_is_lost(
    small: Edge, authorities: Authorities
) -> None:
    numbers = itertools.count()
    with SlimSam(
        small.url,
        60,
        tls=authorities.tls,
        headers=lambda: authorities.headers(f"patient {next(numbers)}"),
    ) as sam:
        renewed = "http.edge.downstream_cx_max_duration_reached"
        end = small.counter(renewed) + 3
        while small.counter(renewed) < end:
            assert len(sam.predict(EMBEDDING, **CLICK).scores) == 3


def test_what_is_within_the_limits_goes_through(
    authorities: Authorities, stub: GRPCInferenceServiceStub
) -> None:
    """Fields in the order of protobuf's own writer, and backwards."""
    request = messages.ModelInferRequest(model_name=DECODER.name, id="x" * 1000)
    for name, array in decoder_inputs(2, 64).items():
        request.inputs.add(
            name=name, datatype=np_to_triton_dtype(array.dtype), shape=list(array.shape)
        )
        request.raw_input_contents.append(array.tobytes())
    request.outputs.add(name="iou_predictions")
    assert infer(stub, authorities, request) == ("OK", "")
    backwards = b"".join(field(7, bytes(raw)) for raw in request.raw_input_contents) + b"".join(
        field(5, each.SerializeToString()) for each in request.inputs
    )
    assert infer(stub, authorities, backwards + MODEL) == ("OK", "")
