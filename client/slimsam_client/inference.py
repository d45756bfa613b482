"""One inference: its tensors in the bodies of request and answer, or in shared memory."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

from tritonclient.utils import InferenceServerException

from slimsam_client.calls import Call
from slimsam_client.errors import SlimSamError
from slimsam_client.exchange import Exchange, Rpc
from slimsam_client.retries import is_passing
from slimsam_client.shared_memory.layout import Layout, lay_out
from slimsam_client.shared_memory.pool import RegionPool
from slimsam_client.shared_memory.region import Region
from slimsam_client.wire import Arrays, Slots, from_result, to_inputs, to_outputs

Lent = AbstractContextManager[Arrays]
"""An answer's arrays, without batch axis; they may be used as long as the context lasts."""


def infer(call: Call, url: str, request_id: str, regions: RegionPool | None) -> Exchange[Lent]:
    """Have a model answer.

    Args:
        call: the model and its inputs.
        url: of the server, for messages.
        request_id: for the server's log.
        regions: shared memory for large tensors; None does without.
    """
    layout = {} if regions is None else lay_out(call.spec, call.arrays)
    if regions is not None and layout:
        region = None
        try:
            region = yield from regions.take(layout, call.arrays)
            return (yield from _through_region(call, url, request_id, regions, region, layout))
        except SlimSamError as error:
            if region is not None and region.name in str(error):
                regions.retire_free()  # a server that was started anew knows none of them
            elif not _is_away(error):
                raise
        # A request that carries its tensors needs nothing that a server can lose, so it is repeated
        # while the server is away. The next request takes a region again.
    result = yield _request(call, request_id, {}, again=True)
    return nullcontext(from_result(call.spec, result, url, {}))


def _through_region(
    call: Call, url: str, request_id: str, regions: RegionPool, region: Region, layout: Layout
) -> Exchange[Lent]:
    try:
        slots = region.slots(layout)
        region.write(slots, call.arrays)
        result = yield _request(call, request_id, slots)
        answer = from_result(call.spec, result, url, slots)
    except BaseException:
        # No answer: the server may still be at work, and write.
        regions.retire(region.name)
        raise
    return _lent(answer, regions, region)


@contextmanager
def _lent(answer: Arrays, regions: RegionPool, region: Region) -> Iterator[Arrays]:
    try:
        yield answer
    finally:
        regions.give_back(region)


def _request(call: Call, request_id: str, slots: Slots, again: bool = False) -> Rpc:
    return Rpc(
        "infer",
        {
            "model_name": call.spec.name,
            "inputs": to_inputs(call.spec, call.arrays, slots),
            "outputs": to_outputs(call.spec, slots),
            "request_id": request_id,
        },
        again,
    )


def _is_away(error: SlimSamError) -> bool:
    cause = error.__cause__
    return isinstance(cause, InferenceServerException) and is_passing(cause)
