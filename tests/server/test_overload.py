"""More requests than a real tritonserver takes, with the configurations as they are."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import Callable
from dataclasses import astuple

import grpc
import numpy as np
import pytest
from inference_counts import counts, settled_counts
from skimage import data

from benchmarks.first_call import first_call
from benchmarks.resident_memory import peak_mib, reset_peak, resident_mib
from slimsam_client import AsyncSlimSam, GenerateSettings, MaskRecord, SlimSam
from slimsam_client.calls import Call
from slimsam_client.contract import (
    BULK_DECODER,
    CLICK,
    CONTINUED_PRIORITY,
    DECODER,
    ENSEMBLE,
    MAX_PROMPTS,
    ModelSpec,
)
from slimsam_client.everything.remote import bytes_tensor
from slimsam_client.operations import generate
from slimsam_client.prompts.encode import encode_prompts, prompt_arrays
from slimsam_client.transport.status import Status
from slimsam_client.transport.tensors import to_request
from slimsam_server import EmbeddedServer

COUNT = 500
TRIES = 5
MAX_RESIDENT_MIB = 1.2e9 / 2**20
MANY = 5000
MOST_GROWN_MIB = 1e9 / 2**20
PROMPT: dict[str, object] = {"points": [[[5, 5]]]}
FINE = GenerateSettings(points_per_side=64)
FINE_CALLS = FINE.points_per_side**2 / MAX_PROMPTS
AUTOMATIC_INSTANCES = 2
SMALL = GenerateSettings(points_per_side=3, pred_iou_thresh=0.0, stability_score_thresh=0.0)

FRAME = {
    "image": np.zeros((1024, 1024, 3), np.uint8),
    "input_size": np.array([1024, 1024], np.int32),
}
PROMPTS = prompt_arrays(encode_prompts((64, 64), (1024, 1024), [[5, 5]], None, None, None))
EMBEDDING = {"image_embeddings": np.zeros((256, 64, 64), np.float16)}
REQUESTS = {
    "segments": Call(ENSEMBLE, {**FRAME, **PROMPTS}),
    "clicks": Call(DECODER, {**EMBEDDING, **PROMPTS}),
}


@pytest.fixture(scope="module")
def server(serve: Callable[[str], EmbeddedServer]) -> EmbeddedServer:
    return serve("openvino")


def body(call: Call) -> bytes:
    return bytes(to_request(call).SerializeToString())


def click() -> bytes:
    return body(REQUESTS["clicks"])


def prompt_on(image_id: str, prompt: dict[str, object]) -> Call:
    """A request on a kept picture."""
    arrays = {"image_id": bytes_tensor([image_id]), "prompt": bytes_tensor([json.dumps(prompt)])}
    return Call(CLICK, arrays)


def many(spec: ModelSpec, priority: int | None = None) -> bytes:
    points = np.random.default_rng(0).uniform(0, 64, (MAX_PROMPTS, 1, 2))
    prompts = prompt_arrays(encode_prompts((64, 64), (1024, 1024), points, None, None, None))
    return body(Call(spec, {**EMBEDDING, **prompts}, priority=priority))


def channel_of(server: EmbeddedServer) -> grpc.aio.Channel:
    return grpc.aio.insecure_channel(
        server.grpc_url, options=[("grpc.max_receive_message_length", -1)]
    )


async def ask(channel: grpc.aio.Channel, request: bytes, timeout: float | None = None) -> str:
    """How a request ended that nobody repeats."""
    call = channel.unary_unary("/inference.GRPCInferenceService/ModelInfer")
    try:
        await call(request, timeout=timeout)
    except grpc.aio.AioRpcError as error:
        status = Status.of(error)
        return "busy" if status.busy else str(status)
    return "answered"


def place_of_late(server: EmbeddedServer, early: list[bytes], late: bytes) -> int:
    """How many requests end before one that comes when the first of them has ended.

    There is room for all of them, and behind the others it would be the last.
    """

    async def main() -> list[str]:
        ends: list[str] = []

        async def note(name: str, request: bytes) -> None:
            ends.append(f"{name} {await ask(channel, request)}")

        async with channel_of(server) as channel:
            waiting = [asyncio.ensure_future(note("early", request)) for request in early]
            while not ends:
                await asyncio.sleep(0.01)
            await asyncio.gather(note("late", late), *waiting)
        return ends

    ends = asyncio.run(main())
    assert set(ends) == {"early answered", "late answered"}
    return ends.index("late answered")


def goes_before(server: EmbeddedServer, early: list[bytes], late: bytes, most: int = 7) -> bool:
    """Whether fewer than `most` end before the late one, in one of some tries.

    One that waits for all of them never does. One that goes before them seems to wait where this
    process stands still and its server goes on.
    """
    return any(place_of_late(server, early, late) < most for _ in range(TRIES))


@pytest.mark.parametrize("kind", REQUESTS)
def test_what_the_queue_has_no_room_for_is_refused(kind: str, server: EmbeddedServer) -> None:
    async def main() -> Counter[str]:
        async with channel_of(server) as channel:
            request = body(REQUESTS[kind])
            return Counter(await asyncio.gather(*(ask(channel, request) for _ in range(COUNT))))

    ends = asyncio.run(main())
    assert set(ends) == {"answered", "busy"}
    assert ends["busy"] > COUNT / 2
    assert peak_mib(server.processes()[:1]) < MAX_RESIDENT_MIB
    with SlimSam(server.grpc_url, timeout=120) as sam:  # nothing stays behind
        assert sam.segment(np.zeros((64, 64, 3), np.uint8), [(5, 5)]).masks.shape == (3, 64, 64)


def test_five_thousand_clicks_at_once_take_no_gigabyte(server: EmbeddedServer) -> None:
    with SlimSam(server.grpc_url, timeout=120) as sam:
        image = sam.upload(data.coffee())
        sam.predict(image, [(5, 5)])
    request = body(prompt_on(image.image_id, PROMPT))
    pids = server.processes()
    reset_peak(pids)
    idle = resident_mib(pids)

    async def main() -> Counter[str]:
        async with channel_of(server) as channel:
            return Counter(await asyncio.gather(*(ask(channel, request) for _ in range(MANY))))

    ends = asyncio.run(main())
    assert set(ends) == {"answered", "busy"}
    assert peak_mib(pids) - idle < MOST_GROWN_MIB


def test_a_click_does_not_wait_for_many_prompts(server: EmbeddedServer) -> None:
    assert goes_before(server, [many(BULK_DECODER)] * 8, click())


def test_a_click_on_a_kept_picture_does_not_wait_for_many_prompts(server: EmbeddedServer) -> None:
    with SlimSam(server.grpc_url, timeout=120) as sam:
        image = sam.upload(data.coffee())
        many_points = np.random.default_rng(0).uniform(0, 400, (MAX_PROMPTS, 1, 2)).tolist()
        early = body(prompt_on(image.image_id, {"points": many_points}))
        late = body(prompt_on(image.image_id, {"points": [[[5, 5]]]}))
        assert goes_before(server, [early] * 16, late)

        two = body(prompt_on(image.image_id, {"points": many_points[:2]}))

        async def flood() -> Counter[str]:
            async with channel_of(server) as channel:
                return Counter(await asyncio.gather(*(ask(channel, two) for _ in range(50))))

        ends = asyncio.run(flood())
        assert set(ends) == {"answered", "busy"}
        assert sam.predict(image, many_points[:3]).masks.shape == (3, 3, 400, 600)


def test_many_prompts_on_a_kept_picture_end_with_their_user(server: EmbeddedServer) -> None:
    def computed() -> int:
        return counts(server.grpc_url, BULK_DECODER.name)[0]

    users, further = 16, 0
    with SlimSam(server.grpc_url, timeout=120) as sam:
        image = sam.upload(data.coffee())
        points = np.random.default_rng(0).uniform(0, 400, (MAX_PROMPTS, 1, 2)).tolist()
        request = body(prompt_on(image.image_id, {"points": points}))

        async def main() -> tuple[int, int]:
            """How many were computed when the server had heard that nobody waits, and then."""
            before = settled_counts(server.grpc_url, BULK_DECODER.name)[0]
            async with channel_of(server) as channel:
                asking = [asyncio.create_task(ask(channel, request)) for _ in range(users)]
                await next(asyncio.as_completed(asking))
                for user in asking:
                    user.cancel()
                await asyncio.gather(*asking, return_exceptions=True)
                await channel.unary_unary("/inference.GRPCInferenceService/ServerLive")(b"")
                heard = computed()
                while await ask(channel, many(BULK_DECODER)) == "busy":  # it comes after the others
                    await asyncio.sleep(0.1)
            after = settled_counts(server.grpc_url, BULK_DECODER.name, heard + 1)[0]
            return heard - before, after - heard

        for _ in range(TRIES):
            early, further = asyncio.run(main())
            if early < users / 2:  # else the server went on while this process stood still
                break
        assert early < users / 2
        assert sam.predict(image, [(5, 5)]).masks.shape == (3, 400, 600)
    # What was under way in the two threads of the two instances is computed to its end.
    assert further <= 4 + 1


def test_what_is_begun_goes_before_what_is_new(server: EmbeddedServer) -> None:
    begun = many(BULK_DECODER, CONTINUED_PRIORITY)
    assert goes_before(server, [many(BULK_DECODER)] * 8, begun)


@pytest.mark.parametrize("seconds", [None, 5.0], ids=["cancelled", "expired"])
def test_everything_mode_is_refused_at_once_and_stops_when_nobody_waits(
    seconds: float | None, server: EmbeddedServer
) -> None:
    image = np.zeros((64, 64, 3), np.uint8)
    request = body(first_call(generate(image, FINE, None, on_server=True)))

    async def main() -> Counter[str]:
        async with channel_of(server) as channel:
            users = [asyncio.create_task(ask(channel, request, seconds)) for _ in range(24)]
            for refused, user in enumerate(asyncio.as_completed(users), 1):
                await user
                if refused == len(users) / 2:  # the others wait, or are under way
                    break
            for user in users if seconds is None else []:
                user.cancel()
            ends = await asyncio.gather(*users, return_exceptions=True)
        return Counter(end if isinstance(end, str) else type(end).__name__ for end in ends)

    for _ in range(TRIES):
        before = settled_counts(server.grpc_url, BULK_DECODER.name)[0]
        ends = asyncio.run(main())
        if ends["busy"]:  # a machine that stands still refuses nobody before they expire
            break
    assert ends["busy"]
    if seconds is None:
        assert set(ends) == {"busy", "CancelledError"}
    with SlimSam(server.grpc_url, timeout=300) as sam:
        sam.generate(image, SMALL, on_server=True)  # an instance is free again
    computed = settled_counts(server.grpc_url, BULK_DECODER.name)[0] - before
    # A fast machine answers some before they expire. Of the others only what was under way has
    # been begun, and nothing of it computed to its end.
    assert computed < (ends["answered"] + AUTOMATIC_INSTANCES) * FINE_CALLS, ends


def test_everything_mode_waits_for_a_decoder_that_is_full(server: EmbeddedServer) -> None:
    """Its own request has been accepted, so its calls are repeated inside the server.

    Against requests of its own priority: it is not served before clicks, if those never end.
    """
    image = data.coffee()

    async def main() -> tuple[list[MaskRecord], Counter[str]]:
        ends: Counter[str] = Counter()
        async with (
            AsyncSlimSam(server.grpc_url, timeout=300) as sam,
            channel_of(server) as channel,
        ):
            request = body(Call(BULK_DECODER, {**EMBEDDING, **PROMPTS}))
            found = asyncio.ensure_future(sam.generate(image, SMALL, on_server=True))

            async def insist() -> None:
                while not found.done():
                    ends[await ask(channel, request)] += 1

            await asyncio.gather(*(insist() for _ in range(64)))
            return await found, ends

    with SlimSam(server.grpc_url, timeout=300) as sam:
        alone = sam.generate(image, SMALL, on_server=True)
    crowded, ends = asyncio.run(main())
    assert list(map(astuple, crowded)) == list(map(astuple, alone))
    assert set(ends) == {"answered", "busy"}
