"""OpenTelemetry, where it is installed and where it is not."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import numpy as np
from opentelemetry import context as otel, propagate, trace
from opentelemetry.propagators.textmap import TextMapPropagator, default_setter

IMAGE = np.full((64, 64, 3), 7, np.uint8)


def test_the_callers_trace_goes_along(connect: Any, scripted: Any) -> None:
    servicer, url = scripted
    sam = connect(url)
    sam.embed(IMAGE)
    span = trace.SpanContext(0x1234, 0x56, is_remote=False, trace_flags=trace.TraceFlags(1))
    token = otel.attach(trace.set_span_in_context(trace.NonRecordingSpan(span)))
    try:
        sam.embed(IMAGE)
        sam.embed([IMAGE, IMAGE])  # sent by other threads or tasks
    finally:
        otel.detach(token)
    assert "traceparent" not in servicer.seen[0].headers
    for seen in servicer.seen[1:]:
        assert seen.headers["traceparent"] == f"00-{0x1234:032x}-{0x56:016x}-01"


class XRay(TextMapPropagator):
    """Propagates a name with capitals, as those of AWS X-Ray have it."""

    def inject(self, carrier: Any, context: Any = None, setter: Any = default_setter) -> None:
        setter.set(carrier, "X-Amzn-Trace-Id", "Root=1-2-3;Sampled=1")

    def extract(self, carrier: Any, context: Any = None, getter: Any = None) -> Any:
        return context  # a client receives no requests

    @property
    def fields(self) -> set[str]:
        return {"X-Amzn-Trace-Id"}


def test_a_propagator_whose_names_have_capitals(connect: Any, scripted: Any) -> None:
    servicer, url = scripted
    configured = propagate.get_global_textmap()
    propagate.set_global_textmap(XRay())
    try:
        connect(url).embed(IMAGE)
    finally:
        propagate.set_global_textmap(configured)
    assert servicer.seen[0].headers["x-amzn-trace-id"] == "Root=1-2-3;Sampled=1"


def test_a_client_without_opentelemetry(scripted: Any) -> None:
    servicer, url = scripted
    program = f"""
import asyncio, sys
class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == "opentelemetry":
            raise ImportError(name)
sys.meta_path.insert(0, Refuse())
import numpy
from slimsam_client import AsyncSlimSam, SlimSam
image = numpy.zeros((8, 8, 3), numpy.uint8)
headers = {{"x-team": "blue"}}
with SlimSam("{url}", headers=headers) as sam:
    sam.embed(image)
async def main():
    async with AsyncSlimSam("{url}", headers=headers) as sam:
        await sam.embed(image)
asyncio.run(main())
assert "opentelemetry" not in sys.modules
print("fine")
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stdout.strip() == "fine", done.stderr
    assert [seen.headers["x-team"] for seen in servicer.seen] == ["blue", "blue"]
