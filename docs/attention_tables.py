"""Tables about the attention kernel: of its code and of its bounds; nothing in them was timed."""

from __future__ import annotations

import json

from tables import markdown

from benchmarks.attention_kernel import CARDS, RESULTS, WINDOW, estimates, layer

GRID = 64


def code() -> str:
    """What the kernel is compiled to, by card and channels of a head."""
    rows = [
        [
            f"sm_{row['card']}",
            f"{row['width']}",
            f"{row['grid']} x {row['grid']}",
            row["dtype"],
            f"{row['queries']}, {row['warps']}, {row['stages']}",
            f"{row['code']['registers']}",
            f"{row['code']['spilled']}",
            f"{row['code']['shared'] / 1024:.1f}",
            f"{row['code']['matrix']}",
            f"{row['code']['warps']}",
        ]
        for row in json.loads(RESULTS.read_text("utf-8"))["rows"]
    ]
    header = [
        "card", "channels", "grid", "", "queries, warps, stages", "registers", "spilled",
        "shared KiB", "matrix instructions", "warps resident",
    ]  # fmt: skip
    return markdown(header, rows)


def bounds(grid: int = GRID) -> str:
    """Milliseconds of a layer's bounds by card, computed from data sheets."""
    counted = layer(16, 12, grid)
    rows = []
    for name, card in CARDS.items():
        ms = estimates(card, counted)
        kernel = max(ms[key] for key in ("read", "products", "exponentials"))
        rows.append(
            [
                name,
                *(f"{ms[key]:.3f}" for key in ("bias", "read", "products", "exponentials")),
                f"{kernel:.3f}",
            ]
        )
    header = [
        "", "bias of all pairs", "kernel: bytes", "products", "exponentials", "kernel: at least",
    ]  # fmt: skip
    return markdown(header, rows)


def moved() -> str:
    """Bytes of a layer for an image, in fp16, by model."""
    rows = []
    for model, width, heads in (
        ("SlimSAM-77", 16, 12),
        ("SlimSAM-50", 32, 12),
        ("SAM-B", 64, 12),
        ("SAM-L", 64, 16),
        ("SAM-H", 80, 16),
    ):
        for kind, grid in (("global", GRID), ("windows", WINDOW)):
            counted = layer(width, heads, grid)
            before = counted.bias + counted.tables + counted.read
            after = counted.tables + counted.read
            rows.append(
                [
                    model,
                    kind,
                    f"{before / 1e6:.0f}",
                    f"{after / 1e6:.0f}",
                    f"{before / after:.1f}",
                    f"{counted.flop / 1e9:.1f}",
                    f"{counted.exponentials / 1e6:.0f}",
                ]  # fmt: skip
            )
    header = ["", "layer", "MB before", "MB with it", "times", "GFLOP", "million exponentials"]
    return markdown(header, rows)
