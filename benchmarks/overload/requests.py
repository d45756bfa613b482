"""What the users of an overload ask for: requests of a few hundred bytes, with shared memory.

All users of a kind ask the same, and their answers are written over each other: what is measured is
who gets an answer, and `benchmarks.soak` compares them.
"""

from __future__ import annotations

import io
import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import numpy as np
import tritonclient.grpc as triton
from PIL import Image
from tritonclient.grpc import service_pb2 as messages

from benchmarks.first_call import first_call
from slimsam_client import GenerateSettings, SlimSam, load_image
from slimsam_client.calls import Call
from slimsam_client.contract import CONTINUED_PRIORITY, MAX_PROMPTS
from slimsam_client.operations import embed, generate, predict
from slimsam_client.transport.exchange import Rpc
from slimsam_client.transport.shared_memory.layout import lay_out
from slimsam_client.transport.shared_memory.region import Region, named_memory
from slimsam_client.transport.tensors import to_request

SCENE: Final = Path(__file__).parents[2] / "examples" / "scene.png"
PROMPTS: Final = 64
"""Of one user, in as many requests as the client makes of them."""


@dataclass(frozen=True)
class Kind:
    """What a user asks for.

    Attributes:
        name: of the kind.
        timeouts: the seconds that users give the server; each takes one of them.
        calls: the inferences, one after the other within the timeout.
    """

    name: str
    timeouts: tuple[float, ...]
    calls: tuple[Rpc, ...]


@contextmanager
def make_kinds(url: str, points_per_side: int) -> Iterator[dict[str, Kind]]:
    """Make every kind of request for a server on this machine that allows shared memory.

    Args:
        url: host:port of its gRPC service.
        points_per_side: of everything mode's grid.
    """
    picture = load_image(SCENE)
    file = io.BytesIO()
    Image.fromarray(picture).save(file, "JPEG", quality=90)
    height, width = picture.shape[:2]
    with SlimSam(url, timeout=600) as sam:
        embedding = sam.embed(picture)
    many = np.random.default_rng(0).uniform(1, height - 1, (PROMPTS, 1, 2))
    centre = [(width / 2, height / 2)]
    everything = generate(file.getvalue(), GenerateSettings(points_per_side), None, on_server=True)
    with ExitStack() as stack:
        embeds = stack.enter_context(_in_shared_memory(url, first_call(embed(picture))))
        first = first_call(predict(embedding, many, None, None, None, True))
        click, begin, go_on, found = (
            stack.enter_context(_in_shared_memory(url, call))
            for call in (
                first_call(predict(embedding, centre, None, None, None, True)),
                first,
                replace(first, priority=CONTINUED_PRIORITY),
                first_call(everything),
            )
        )
        prompts = (begin, *(go_on,) * (PROMPTS // MAX_PROMPTS - 1))
        kinds = (
            Kind("click", (1.0, 2.0, 5.0), (click,)),
            Kind("prompts", (5.0, 10.0, 20.0), prompts),
            Kind("segment", (5.0, 10.0, 20.0), (embeds, click)),
            Kind("everything", (5.0, 10.0, 20.0), (found,)),
        )
        yield {kind.name: kind for kind in kinds}


@contextmanager
def _in_shared_memory(url: str, call: Call) -> Iterator[Rpc]:
    """Make a request whose large tensors lie in shared memory, which the server has registered."""
    layout = lay_out(call.spec, call.arrays)
    if not layout:
        yield _rpc(to_request(call))
        return
    size = max(place.end for place in layout.values())
    name = f"slimsam_overload_{os.getpid()}_{id(call)}"
    client = triton.InferenceServerClient(url)
    with named_memory(name, size) as memory:
        client.register_system_shared_memory(name, f"/{name}", size)
        region = Region(name, memory)
        slots = region.slots(layout)
        region.write(slots, call.arrays)
        try:
            yield _rpc(to_request(call, slots))
        finally:
            client.close()


def _rpc(request: messages.ModelInferRequest) -> Rpc:
    return Rpc("ModelInfer", request, retry=True)
