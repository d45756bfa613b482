"""Large requests by the hundred: the edge keeps them from the server, which has no bound itself."""

from __future__ import annotations

import asyncio
import os
import ssl
from collections import Counter
from itertools import islice
from pathlib import Path
from typing import Final

import numpy as np
from envoy_edge import Authorities, edge
from waiting_requests import send_at_once

from benchmarks.first_call import first_call
from benchmarks.resident_memory import peak_mib, reset_peak, resident_mib
from slimsam_client import Embedding, SlimSam
from slimsam_client.operations import predict
from slimsam_client.transport.tensors import to_request
from slimsam_server import EmbeddedServer

COUNT: Final = int(os.environ.get("WAITING_REQUESTS", "500"))
"""`make test-waiting` sends 5,000."""
EACH: Final = 20
"""Of one subject, on one connection: as many as a subject may send at once."""
MOST_GROWN_MIB: Final = 1e9 / 2**20 * min(1.0, COUNT / 1000)
"""Without the edge the server would hold all of them: 2.4 GB for each thousand."""
FEW: Final = COUNT <= 500
"""Of more the edge's own bounds are not kept (docs/deployment.md), and what it does is printed."""
MOST_EDGE_MIB: Final = 1024
"""Its heap's limit. Where it ends none of those that hold most, 500 requests take 1,128 MiB."""
PATIENT: Final = {
    "request_timeout: 60s": "request_timeout: 600s",
    "grpc_timeout_header_max: 300s, max_stream_duration: 60s": "max_stream_duration: 600s",
    "interval: 30s, timeout: 10s": "interval: 30s, timeout: 600s",
}
"""A busy machine takes longer than a minute to send a gigabyte, and would be told it is late."""
EMBEDDING: Final = Embedding(np.zeros((256, 64, 64), np.float16), (300, 400), (768, 1024))


def test_waiting_requests_take_no_gigabyte_of_the_server(
    authorities: Authorities, demo_repository: Path, tmp_path: Path
) -> None:
    click = first_call(predict(EMBEDDING, [(1, 1)], None, None, None, True))
    message = to_request(click).SerializeToString()
    assert len(message) > 2**21
    tls = ssl.create_default_context(cafile=authorities.root)
    tls.load_cert_chain(authorities.client)
    tls.set_alpn_protocols(["h2"])
    subjects = [authorities.headers(f"waiting {n}") for n in range(COUNT // EACH)]
    with EmbeddedServer(demo_repository) as server:  # nobody has been here before
        processes = server.processes()
        with edge(authorities, server.grpc_url, tmp_path, PATIENT if FEW else None) as running:
            with SlimSam(
                running.url, 60, tls=authorities.tls, headers=authorities.headers("first")
            ) as sam:
                sam.predict(EMBEDDING, points=[(1, 1)])
                reset_peak(processes[:1])
                idle = resident_mib(processes[:1])
                ends = asyncio.run(send_at_once(running.url, message, subjects, EACH, tls))
                grown = peak_mib(processes[:1]) - idle
                held = peak_mib([running.pid])
                print(f"{ends}, server {idle:.0f} MiB and {grown:.0f} more")
                print(f"edge {held:.0f} MiB at most")
                assert ends.total() == len(subjects) * EACH
                if FEW:
                    entries = islice(running.logged("ModelInfer"), ends.total() + 1)
                    statuses = Counter(entry["status"] for entry in entries)
                    # The edge says that it is busy, and has no status for whom it resets.
                    expected = {"OK": 1 + ends["answered"], "ResourceExhausted": ends["refused"]}
                    assert statuses == Counter({**expected, None: ends["reset"]})
                    assert ends["answered"] > 0
                    assert held < MOST_EDGE_MIB
                assert grown < MOST_GROWN_MIB
                # Who is refused by the edge leaves nothing behind.
                assert len(sam.predict(EMBEDDING, points=[(1, 1)]).scores) == 3
