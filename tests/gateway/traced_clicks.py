"""A click over HTTP and one by the SDK, and the spans of this process as lines of JSON.

python traced_clicks.py PICTURE URL SPANS
"""

from __future__ import annotations

import sys
from pathlib import Path

from opentelemetry import propagate, trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import ConsoleSpanExporter, SimpleSpanProcessor
from running_gateway import serving

from slimsam_client import SlimSam, UploadedImage
from slimsam_gateway import GatewaySettings

POINT = (914, 256)


def main(picture: str, url: str, spans: str) -> None:
    content = Path(picture).read_bytes()
    with (
        Path(spans).open("w") as lines,
        serving(GatewaySettings(url=url, timeout=120)) as gateway,
        SlimSam(url, 120) as sam,
    ):
        gateway.http.timeout = 300
        image_id = gateway.upload(content)
        uploaded = sam.upload(content)
        assert isinstance(uploaded, UploadedImage) and uploaded.image_id == image_id
        provider = TracerProvider()
        exporter = ConsoleSpanExporter(out=lines, formatter=lambda span: span.to_json(None) + "\n")
        provider.add_span_processor(SimpleSpanProcessor(exporter))
        trace.set_tracer_provider(provider)
        tracer = trace.get_tracer("test")
        with tracer.start_as_current_span("over HTTP"):
            headers: dict[str, str] = {}
            propagate.inject(headers)
            address = f"/v1/images/{image_id}/masks"
            answer = gateway.http.post(address, json={"points": [POINT]}, headers=headers)
            assert answer.status_code == 200, answer.text
        with tracer.start_as_current_span("by the SDK"):
            sam.predict(uploaded, [POINT])
        provider.shutdown()


if __name__ == "__main__":
    main(*sys.argv[1:])
