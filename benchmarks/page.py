"""How long the page takes to show what a click would give, and what it gives.

    python -m benchmarks.page                            # the demo checkpoint on OpenVINO
    python -m benchmarks.page --checkpoint slimsam-77
    python -m benchmarks.page --check

A real tritonserver, slimsam-gateway and a headless chromium, all on this machine. A preview is
measured from the move of the mouse to the frame in which its mask is on the canvas, a click from
its event to the frame in which its object has a score. The decoder's time is the server's own:
a mean of the same previews, compute alone.

`--check` ends with status 1 where the previews' 95th percentile is more than `SLOWER` after the
decoder's time.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import tritonclient.grpc as triton
from playwright.sync_api import Page, expect, sync_playwright

from benchmarks.checkpoints import add_model_options, checkpoint
from benchmarks.machine import this_machine
from benchmarks.repository import built_repository
from benchmarks.server_statistics import read_statistics
from slimsam_client.contract import DECODER
from slimsam_server import EmbeddedServer
from slimsam_server.ports import free_port

SCENE: Final = Path(__file__).parents[1] / "examples/scene.png"
PLACES: Final = ((914, 256), (540, 540), (760, 340), (600, 600), (450, 440))
"""Pixels of the scene, on objects of it."""
SLOWER: Final = 0.05
"""Seconds; this much later than the decoder's answer a preview may be seen."""
START_SECONDS: Final = 30.0
FIRST: Final = 5
"""So many come before the ones that count."""

PREPARE: Final = """async ([x, y, clicks]) => {
    const { stage } = await import("/page/main.js");
    const place = stage.view.toStage(x, y).map((at) => Math.floor(at * devicePixelRatio));
    const canvas = stage.canvases.masks;
    const scores = () => [...document.querySelectorAll("#objects .score")]
        .filter((score) => !score.textContent.includes("…")).length;
    const drawn = () => canvas.getContext("2d").getImageData(...place, 1, 1).data[3] > 0;
    const before = scores();
    const there = clicks ? () => scores() > before : drawn;
    if (there()) throw new Error("a mask is there before it is asked for");
    window.measured = new Promise((resolve) => {
        document.getElementById("stage").addEventListener(
            clicks ? "pointerup" : "pointermove",
            ({ timeStamp }) => {
                const look = () => there()
                    ? resolve((performance.now() - timeStamp) / 1000)
                    : requestAnimationFrame(look);
                requestAnimationFrame(look);
            },
            { once: true, capture: true },
        );
    });
}"""
ANSWERED: Final = "() => window.measured"


def main() -> int:
    """Measure and print; give 1 if `--check` finds a bound missed."""
    parser = argparse.ArgumentParser(
        "python -m benchmarks.page",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_model_options(parser)
    parser.add_argument("--count", type=int, default=100, help="of each; default: %(default)s")
    parser.add_argument("--check", action="store_true", help="status 1 where a bound is missed")
    options = parser.parse_args()
    program = shutil.which("chromium") or shutil.which("google-chrome")
    if program is None:
        parser.error("expected chromium, found none; `make chromium` installs it")
    load = os.getloadavg()[0]
    with (
        built_repository(checkpoint(options.checkpoint), options.target) as repository,
        EmbeddedServer(repository, options.target) as server,
        gateway(server.grpc_url) as address,
        triton.InferenceServerClient(server.grpc_url) as client,
        sync_playwright() as playwright,
    ):
        arguments = ["--no-sandbox", "--disable-gpu"]
        browser = playwright.chromium.launch(executable_path=program, args=arguments)
        page = browser.new_page(viewport={"width": 1280, "height": 800})
        page.goto(address)
        page.locator("#files").set_input_files(SCENE)
        expect(page.locator("#status")).to_contain_text("Click on an object.", timeout=60_000)
        for index in range(FIRST):
            preview(page, index)
        earlier = read_statistics(client)[DECODER.name]
        previews = [preview(page, index) for index in range(options.count)]
        decoded = read_statistics(client)[DECODER.name].since(earlier)
        started = time.perf_counter()
        clicks = [click(page, index) for index in range(options.count)]
        rate = options.count / (time.perf_counter() - started)
        browser.close()
    decoder = decoded.stages["compute_infer"] / decoded.requests
    found = {
        "checkpoint": options.checkpoint,
        "target": options.target,
        "load": round(load, 1),
        "machine": this_machine().processor,
        "decoder": decoder,
        "preview": shares(previews),
        "click": shares(clicks),
        "clicks_per_second": rate,
    }
    print(json.dumps(found, indent=2))
    late = shares(previews)["p95"] - decoder - SLOWER
    if options.check and late > 0:
        print(f"previews: p95 is {1000 * late:.0f} ms later than the decoder's time and 50 ms")
    return int(options.check and late > 0)


def preview(page: Page, index: int) -> float:
    """Move the mouse onto an object, and wait for what a click would give; seconds."""
    x, y = position(page, index)
    page.mouse.move(2, 2)
    page.wait_for_timeout(100)
    page.evaluate(PREPARE, [*place(index), False])
    page.mouse.move(x, y)
    return float(page.evaluate(ANSWERED))


def click(page: Page, index: int) -> float:
    """Click for a new object, and wait for it; seconds."""
    page.keyboard.press("n")
    x, y = position(page, index)
    page.evaluate(PREPARE, [*place(index), True])
    page.mouse.click(x, y)
    return float(page.evaluate(ANSWERED))


def place(index: int) -> tuple[int, int]:
    """Give a pixel that differs from one to the next, and on the same object from time to time."""
    x, y = PLACES[index % len(PLACES)]
    return x + index // len(PLACES) % 8, y + index // len(PLACES) // 8 % 8


def position(page: Page, index: int) -> tuple[float, float]:
    """Where that pixel is in the window."""
    bounds = page.locator("#stage").bounding_box()
    assert bounds is not None
    left, top = page.evaluate(
        """async ([x, y]) => {
            const { stage } = await import("/page/main.js");
            return stage.view.toStage(x, y);
        }""",
        list(place(index)),
    )
    return bounds["x"] + left, bounds["y"] + top


def shares(seconds: list[float]) -> dict[str, float]:
    """Give median and 95th percentile."""
    return {
        "median": statistics.median(seconds),
        "p95": statistics.quantiles(seconds, n=20, method="inclusive")[-1],
    }


@contextmanager
def gateway(url: str) -> Iterator[str]:
    """Run slimsam-gateway; give its address."""
    port = free_port()
    command = [str(Path(sys.executable).parent / "slimsam-gateway"), "--server", url]
    process = subprocess.Popen(
        [*command, "--port", str(port)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    address = f"http://127.0.0.1:{port}"
    # A proxy of the environment does not lead to this machine.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        end = time.monotonic() + START_SECONDS
        while True:
            try:
                opener.open(f"{address}/v1", timeout=5).close()
                break
            except OSError:
                if process.poll() is not None or time.monotonic() > end:
                    raise
                time.sleep(0.05)
        yield address
    finally:
        process.terminate()
        process.wait()


if __name__ == "__main__":
    sys.exit(main())
