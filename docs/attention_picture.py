"""Draws docs/images/attention-kernel.svg: `python docs/attention_picture.py`.

Bars are as long as the bytes that a global layer moves, counted by `benchmarks.attention_kernel`.
"""

from __future__ import annotations

import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks.attention_kernel import layer  # noqa: E402

PICTURE = ROOT / "docs/images/attention-kernel.svg"
STYLE = """
    text { fill: #808080; }
    .head { font-weight: 600; font-size: 15px; }
    .cell { stroke: #808080; stroke-width: 0.6; fill: none; }
    .bias { fill: #b45309; }
    .kept { fill: #0f766e; }
    .faint { fill: #0f766e; fill-opacity: 0.25; }
    .way { stroke: #808080; stroke-width: 2; fill: none; marker-end: url(#tip); }
"""
WIDTH = 560
"""Of the longest bar."""


def picture() -> str:
    """Give the SVG."""
    counted = layer(16, 12, 64)
    before = counted.bias + counted.tables + counted.read
    after = counted.tables + counted.read
    title = (
        "A block of keys is one row of the grid: its part of the bias is one number per query, "
        "and the columns' part is the same for every block"
    )
    parts = [
        '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 760 370" font-family="sans-serif" '
        'font-size="13" role="img" aria-labelledby="title">',
        f'  <title id="title">{title}</title>',
        f"  <style>{STYLE}  </style>",
        '  <defs><marker id="tip" viewBox="0 0 10 10" refX="9" refY="5" markerWidth="7" '
        'markerHeight="7" orient="auto"><path d="M0 0 10 5 0 10z" fill="#808080"/></marker></defs>',
        '  <text class="head" x="10" y="20">One query and its keys, row of the grid by row</text>',
    ]
    side, cells, left, top = 18, 8, 250, 66
    parts.append(_text(left, top - 26, "rel_w of the query: loaded once"))
    for column in range(cells):
        shade = 0.2 + 0.1 * ((column * 3) % 8)
        parts.append(_box(left + column * side, top - 20, side, side - 4, "kept", shade))
    for row in range(cells):
        y = top + row * side
        parts.append(_box(left - 34, y, side, side, "kept", 0.2 + 0.1 * ((row * 5) % 8)))
        for column in range(cells):
            kind = "faint" if row == 3 else "cell"
            parts.append(_box(left + column * side, y, side, side, kind))
    parts.append(_text(10, top + 20, "rel_h of the query: one"))
    parts.append(_text(10, top + 36, "number for a row of keys,"))
    parts.append(_text(10, top + 52, "added to the row's maximum"))
    x, y = left + cells * side, top + 3.5 * side
    parts.append(f'  <path class="way" d="M{x + 8} {y} H{x + 40}"/>')
    parts.append(_text(x + 48, y - 12, "one block of keys, one step of the softmax:"))
    parts.append(_text(x + 48, y + 5, "scores, maximum, weights, sum and mean"))
    parts.append(_text(x + 48, y + 22, "stay in registers"))

    parts.append(
        '  <text class="head" x="10" y="244">Bytes of a global layer, SlimSAM-77, fp16</text>'
    )
    for at, name, kinds in (
        (258, "before", (("bias", counted.bias), ("kept", after))),
        (296, "with the kernel", (("kept", after),)),
    ):
        parts.append(_text(10, at + 19, name))
        start = 118.0
        for kind, size in kinds:
            length = WIDTH * size / before
            parts.append(_box(start, at, length, 26, kind))
            start += length
        total = sum(size for _, size in kinds) / 1e6
        parts.append(_text(start + 6, at + 19, f"{total:.0f} MB"))
    parts.append(_box(118, 342, 12, 12, "bias"))
    parts.append(_text(136, 353, "the bias of all pairs, written and read again"))
    parts.append(_box(420, 342, 12, 12, "kept"))
    parts.append(_text(438, 353, "queries, keys, values, tables, results"))
    return "\n".join([*parts, "</svg>", ""])


def _box(x: float, y: float, width: float, height: float, kind: str, opacity: float = 1) -> str:
    shade = f' fill-opacity="{opacity:.1f}"' if opacity < 1 else ""
    place = f'x="{x:g}" y="{y:g}" width="{width:.4g}" height="{height:g}"'
    return f'  <rect class="{kind}" {place}{shade}/>'


def _text(x: float, y: float, text: str) -> str:
    return f'  <text x="{x:.4g}" y="{y:g}">{text}</text>'


if __name__ == "__main__":
    PICTURE.write_text(picture(), "utf-8")
