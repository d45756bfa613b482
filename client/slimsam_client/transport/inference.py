"""One inference, with its tensors in the messages or in shared memory."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

from slimsam_client.calls import Call
from slimsam_client.contract import Arrays
from slimsam_client.errors import SlimSamError
from slimsam_client.transport.exchange import Exchange, Rpc
from slimsam_client.transport.retries import MAX_BROKEN, Breakages
from slimsam_client.transport.shared_memory.layout import Layout, lay_out
from slimsam_client.transport.shared_memory.pool import RegionPool
from slimsam_client.transport.shared_memory.region import Region
from slimsam_client.transport.status import Status
from slimsam_client.transport.tensors import from_response, to_request

Lent = AbstractContextManager[Arrays]
"""An answer's arrays have no batch axis, and may be used as long as the context lasts."""


def infer(
    call: Call, url: str, request_id: str, regions: RegionPool | None, breakages: Breakages
) -> Exchange[Lent]:
    """Have a model answer.

    Args:
        call: the model and its inputs.
        url: address of the server, for messages.
        request_id: id of the request, for the server's log.
        regions: shared memory for large tensors; None sends them in messages.
        breakages: what has broken with it under way, in a region or in a message.
    """
    layout = {} if regions is None else lay_out(call.spec, call.arrays)
    if regions is not None and layout:
        region = None
        try:
            region = yield from regions.take(layout, call.arrays)
            return (yield from _through_region(call, url, request_id, regions, region, layout))
        except SlimSamError as error:
            if region is not None and region.name in str(error):
                regions.retire_free()  # a restarted server knows none of them
            else:
                status = error.__cause__
                if not isinstance(status, Status) or not status.is_transient:
                    raise
                breakages.note(status, time.monotonic())
                if breakages.count > MAX_BROKEN:
                    raise
        # A request that carries its tensors needs nothing that a server can lose, so it is repeated
        # while the server is away. The next request takes a region again.
    request = to_request(call, request_id=request_id)
    response = yield Rpc("ModelInfer", request, True, breakages, call.image_key, call.turn)
    return nullcontext(from_response(call.spec, call.arrays, response, url, {}))


def _through_region(
    call: Call, url: str, request_id: str, regions: RegionPool, region: Region, layout: Layout
) -> Exchange[Lent]:
    try:
        slots = region.slots(layout)
        region.write(slots, call.arrays)
        response = yield Rpc("ModelInfer", to_request(call, slots, request_id))
        answer = from_response(call.spec, call.arrays, response, url, slots)
    except BaseException:
        # Without an answer, the server may still be at work, and write.
        regions.retire(region.name)
        raise
    return _lent(answer, regions, region)


@contextmanager
def _lent(answer: Arrays, regions: RegionPool, region: Region) -> Iterator[Arrays]:
    try:
        yield answer
    finally:
        regions.give_back(region)
