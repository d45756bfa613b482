"""Modules of the page beside the SDK, and how the gateway serves them."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from running_gateway import Gateway
from visitor import Visitor

from slimsam_client.drawing.colors import distinct_colors
from slimsam_client.encodings import rle_area, to_box, to_json_rle, to_rle
from slimsam_gateway.page_files import DIRECTORY

TYPES = (
    "--noEmit --allowJs --checkJs --strict --noUnusedLocals --noUnusedParameters --target es2022 "
    "--module esnext --moduleResolution bundler --lib es2023,dom,dom.iterable"
).split()


def test_the_types_that_the_comments_say_are_right(node_modules: Path) -> None:
    compiler = node_modules / "typescript/bin/tsc"
    command = ["node", compiler, *TYPES, DIRECTORY / "main.js"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "")


def masks() -> list[Any]:
    """Masks whose runs are long, short, none, at the edges, and across columns."""
    random = np.random.default_rng(0)
    noise = [random.random((height, 37)) < share
             for height in (1, 2, 50) for share in (0.02, 0.5, 0.98)]  # fmt: skip
    large = np.zeros((3000, 4000), bool)
    large[17:2900, 300:3900] = True
    full = np.ones((5, 7), bool)
    edge = np.zeros((6, 4), bool)
    edge[3:, 1] = edge[:2, 2] = True  # a run that goes on in the next column
    return [*noise, large, full, ~full, edge]


def test_runs_are_read_as_the_sdk_writes_them(visitor: Visitor) -> None:
    for mask in masks():
        height, width = mask.shape
        rle = to_rle(mask)
        ends, area, box, pixels = visitor.page.evaluate(
            """async ([counts, width, height]) => {
                const rle = await import("/page/rle.js");
                const ends = rle.decodeRuns(counts, width * height);
                const box = rle.boxOf(ends, height);
                const whole = [0, 0, width, height];
                const pixels = width * height < 1e5 ? rle.pixelsOf(ends, height, whole) : [];
                return [[...ends], rle.areaOf(ends), box, [...pixels]];
            }""",
            [to_json_rle(rle)["counts"], width, height],
        )
        assert ends[-1] == mask.size and area == rle_area(rle)
        assert tuple(box) == (to_box(mask) or (0, 0, 0, 0))
        if pixels:
            assert np.array_equal(np.reshape(pixels, mask.shape), mask)


def test_rings_are_around_all_parts_and_holes(visitor: Visitor) -> None:
    # Two parts that touch at a corner, one with a hole that touches the edge of the other at one.
    mask = np.zeros((40, 60), bool)
    mask[2:20, 2:20] = mask[20:38, 20:50] = True
    mask[5:9, 5:9] = mask[9:12, 9:12] = False
    rings = visitor.page.evaluate(
        """async ([pixels, width, height]) => {
            const { ringsOf } = await import("/page/exports/rings.js");
            return ringsOf(Uint8Array.from(pixels), width, height);
        }""",
        [mask.astype(int).ravel().tolist(), 60, 40],
    )
    assert sorted(map(sorted, rings["outer"])) == [
        sorted([[2, 2], [20, 2], [20, 20], [2, 20]]),
        sorted([[20, 20], [50, 20], [50, 38], [20, 38]]),
    ]
    # Holes that touch at a corner are one: what is outside is connected by corners, too.
    (hole,) = rings["holes"]
    assert sorted(map(tuple, hole)) == sorted(
        [(5, 5), (5, 9), (9, 9), (9, 12), (12, 12), (12, 9), (9, 9), (9, 5)]
    )


def test_colors_are_those_of_the_sdks_drawings(visitor: Visitor) -> None:
    colors = visitor.page.evaluate(
        """async () => {
            const { distinctColor, channelsOf } = await import("/page/colors.js");
            return Array.from({ length: 64 }, (_, index) => channelsOf(distinctColor(index)));
        }"""
    )
    assert np.abs(np.subtract(colors, distinct_colors(64))).max() <= 1


@pytest.mark.parametrize("path", ["/", "/page/main.js", "/page/exports/zip.js", "/page/style.css"])
def test_a_file_is_asked_for_once_per_version(path: str, gateway: Gateway) -> None:
    answer = gateway.http.get(path)
    assert answer.status_code == 200 and "'unsafe" not in answer.headers["content-security-policy"]
    again = gateway.http.get(path, headers={"If-None-Match": answer.headers["etag"]})
    assert again.status_code == 304 and again.content == b""
    assert answer.headers["cache-control"] == again.headers["cache-control"] == "no-cache"
    line = gateway.log.line_of(answer.headers["x-request-id"])
    assert line["kind"] == "page"


@pytest.mark.parametrize(
    "path", ["/page/", "/page/none.js", "/page/../app.py", "/page/%2e%2e/app.py", "/page//main.js"]
)
def test_no_other_file_is_there(path: str, gateway: Gateway) -> None:
    connection = gateway.send(f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
    with connection:
        assert connection.recv(4096).split()[1] == b"404"


def test_no_two_pictures_have_files_of_one_name(visitor: Visitor) -> None:
    cases = [
        (["a.jpg", "b.jpg"], ["a", "b"]),
        (["a.jpg", "a.png", "in/a.png"], ["a.jpg", "a.png", "in/a"]),
        (["A.jpg", "a.png"], ["A.jpg", "a.png"]),
        (["A.jpg", "a.JPG"], ["A.jpg", "a.JPG (2)"]),
        (["a", "a.jpg"], ["a", "a.jpg"]),
        # Without its extension, the last would be the first.
        (["a.jpg", "a.png", "a.jpg.webp"], ["a.jpg", "a.png", "a.jpg.webp"]),
    ]
    bases = visitor.page.evaluate(
        """async (cases) => {
            const { basesOf } = await import("/page/names.js");
            return cases.map(([names]) => basesOf(names));
        }""",
        cases,
    )
    assert bases == [expected for _, expected in cases]


def test_what_an_archive_cannot_hold_is_refused(visitor: Visitor) -> None:
    sizes = visitor.page.evaluate(
        """async () => {
            const { zip } = await import("/page/exports/zip.js");
            const { FORMATS } = await import("/page/exports/formats.js");
            const said = async (make) => {
                try {
                    return (await make()).size;
                } catch (error) {
                    return error.message;
                }
            };
            const empty = { name: "a.png", bytes: new Uint8Array() };
            const files = (count) => Array.from({ length: count }, () => empty);
            // Nobody reads what is refused, so what says that it is so large will do.
            const half = { name: "a.png", bytes: { length: 2 ** 31 } };
            const object = { label: "", counts: "", score: 1 };
            const many = { name: "a.png", width: 1, height: 1, objects: Array(65535).fill(object) };
            return [
                await said(() => zip(files(65534))),
                await said(() => zip(files(65535))),
                await said(() => zip([half, half])),
                await said(() => FORMATS.masks([many])),
            ];
        }"""
    )
    assert sizes[0] == 65534 * (30 + 46 + 2 * len("a.png")) + 22
    assert all("Nothing is saved" in message for message in sizes[1:])
    assert "65,534 files, and these are 65,535." in sizes[1] and sizes[3] == sizes[1]
    assert f"bytes, and these are {2 * (2**31 + 30 + 46 + 2 * len('a.png')) + 22:,}." in sizes[2]


def test_the_work_of_two_tabs_is_put_together(visitor: Visitor) -> None:
    merged, again, alone, earlier = visitor.page.evaluate(
        """async () => {
            const { together } = await import("/page/together.js");
            const work = (objects, next) => ({
                items: Object.entries(objects).map(([id, x]) => ({
                    id: Number(id), label: "", hidden: false, choice: null, answer: { masks: null },
                    prompt: { points: [[x, 0]], labels: [1], box: null, multimask: true },
                })),
                selected: next - 1,
                next,
            });
            const before = work({ 1: 1, 2: 2, 3: 3, 4: 4 }, 5);
            // 1 is changed here, 2 removed here, 3 removed there; both change 4 and begin a 5.
            const here = work({ 1: 11, 3: 3, 4: 14, 5: 15 }, 6);
            const there = work({ 1: 1, 2: 2, 4: 24, 5: 25, 6: 26 }, 7);
            const merged = together(before, here, there);
            const given = ({ items, selected, next }) => ({
                places: items.map(({ id, prompt }) => [id, prompt.points[0][0]]), selected, next,
            });
            return [
                given(merged),
                given(together(before, merged, there)),
                together(before, here, structuredClone(before)) === here,
                // A state before those clicks that were stored, which Undo would bring back.
                given(together(before, work({ 1: 0, 4: 3 }, 5), there, false)),
            ];
        }"""
    )
    assert merged == {
        "places": [[4, 24], [5, 25], [6, 26], [1, 11], [7, 14], [8, 15]],
        "selected": 8,
        "next": 9,
    }
    assert again["places"] == merged["places"]
    assert alone is True
    assert earlier["places"] == [[4, 24], [5, 25], [6, 26], [1, 0]]
