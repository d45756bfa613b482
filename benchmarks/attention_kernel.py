"""What the attention kernel is compiled to, card by card, and what is its bound; without a GPU.

NVIDIA's assembler says of the code for each card how many registers and how much shared memory it
needs, whether it spills, and which matrix instructions it has. From these follows how many warps
a multiprocessor holds. Bytes, products and exponentials of a layer are counted. The times are
computed from both and from data sheets, and none is measured.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from itertools import product
from pathlib import Path
from typing import Any, Final

from slimsam_build.attention_rule import BLOCKS, WIDTHS, Blocks, find_blocks
from slimsam_client.contract import EMBEDDING_SIZE

RESULTS: Final = Path(__file__).parent / "results/attention_kernel.json"
WINDOW: Final = 14
DEMO_WINDOW: Final = 8
"""Of the demo checkpoint; narrower than the smallest product of tensor cores."""
HEADS: Final = 12
"""Of SlimSAM, and of SAM-B; they change addresses alone."""
REGISTERS: Final = 65536
"""Of a multiprocessor; a warp takes them in lots of 256."""
WARPS: Final = {75: 32, 80: 64, 86: 48, 89: 48, 90: 64, 100: 64, 120: 48}
"""That a multiprocessor holds at most, by compute capability (CUDA C++ Programming Guide)."""
SHARED_KIB: Final = {75: 64, 80: 164, 86: 100, 89: 100, 90: 228, 100: 228, 120: 100}
"""Of a multiprocessor; each block takes 1 more than it asks for."""

_MATRIX: Final = re.compile(r"\b(?:mma\.sync|wgmma\.mma_async|tcgen05\.mma)\.")


@dataclass(frozen=True)
class Case:
    """What is compiled: for which card, heads of how many channels, grid and dtype."""

    card: int
    width: int
    grid: int = EMBEDDING_SIZE
    dtype: str = "fp16"

    @property
    def blocks(self) -> Blocks:
        """The blocks that the kernel has there."""
        return find_blocks(self.card, self.width)


@dataclass(frozen=True)
class Code:
    """What a case was compiled to.

    Attributes:
        registers: of a thread.
        spilled: bytes of a thread's registers that are kept in memory.
        shared: bytes of shared memory of a block.
        matrix: instructions of the tensor cores in the PTX.
        warps: that a multiprocessor holds.
    """

    registers: int
    spilled: int
    shared: int
    matrix: int
    warps: int


CASES: Final = (
    *(Case(card, width) for card, width in product(BLOCKS, WIDTHS)),
    *(Case(card, 16, grid=WINDOW) for card in BLOCKS),
    *(Case(card, 32, grid=DEMO_WINDOW) for card in (80, 90)),
    *(Case(card, 16, dtype="bf16") for card in BLOCKS),
)


def compile_case(case: Case, blocks: Blocks | None = None) -> Code:
    """Compile the kernel for a card that need not be there.

    Args:
        case: for what.
        blocks: others than the kernel's own.
    """
    from slimsam_build.attention_kernel import compile_for

    blocks = blocks or case.blocks
    compiled = compile_for(case.card, case.dtype, HEADS, case.grid, case.width, blocks)
    usage = _usage(compiled.asm["cubin"])
    registers, shared = usage["REG"], compiled.metadata.shared
    return Code(
        registers=registers,
        # What is spilled lies in the stack, or in local memory.
        spilled=usage["STACK"] + usage["LOCAL"],
        shared=shared,
        matrix=len(_MATRIX.findall(compiled.asm["ptx"])),
        warps=blocks.warps * _resident(case.card, blocks.warps, registers, shared),
    )


def _usage(cubin: bytes) -> dict[str, int]:
    """Ask the tool of Triton's wheel."""
    import triton

    tool = Path(triton.__file__).parent / "backends/nvidia/bin/cuobjdump"
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(cubin)
        file.flush()
        said = subprocess.run(
            [tool, "-res-usage", file.name], check=True, capture_output=True, text=True
        ).stdout
    return {name: int(value) for name, value in re.findall(r"\b([A-Z]+):(\d+)", said)}


def _resident(card: int, warps: int, registers: int, shared: int) -> int:
    """How many blocks a multiprocessor holds."""
    of_warp = -(-registers * 32 // 256) * 256
    return min(
        REGISTERS // (of_warp * warps),
        SHARED_KIB[card] * 1024 // (shared + 1024),
        WARPS[card] // warps,
    )


@dataclass(frozen=True)
class Card:
    """A card, by its data sheet.

    Attributes:
        capability: its compute capability, times ten.
        multiprocessors: how many.
        ghz: of its boost clock.
        gb_per_s: of its memory.
        tflops: of products of float16 summed up in float32, without sparsity.
    """

    capability: int
    multiprocessors: int
    ghz: float
    gb_per_s: float
    tflops: float


CARDS: Final = {
    "A100 80 GB": Card(80, 108, 1.41, 2039, 312),
    "A10": Card(86, 72, 1.695, 600, 125),
    "L4": Card(89, 58, 2.04, 300, 121),
    "H100 SXM": Card(90, 132, 1.98, 3350, 989),
    "B200": Card(100, 148, 1.965, 8000, 2250),
    "RTX 5090": Card(120, 170, 2.407, 1792, 210),
}
MEMORY: Final = 0.8
"""Of its bandwidth that a kernel reaches."""
PRODUCTS: Final = 0.5
"""Of the peak of products that one with small matrices reaches."""
EXPONENTIALS: Final = 16
"""Per clock and multiprocessor (CUDA C++ Programming Guide, throughput of instructions)."""


@dataclass(frozen=True)
class Layer:
    """What one layer's attention comes to, for an image, in half precision.

    Attributes:
        bias: bytes, written and read, of the sum of both relative positions for all pairs.
        read: bytes that the kernel reads and writes: queries, keys, values, both tables, results.
        tables: bytes that making the tables reads and writes, in both forms.
        flop: of the kernel's two products, with the columns that fill a block up.
        exponentials: likewise.
    """

    bias: int
    read: int
    tables: int
    flop: int
    exponentials: int


def layer(width: int, heads: int, grid: int) -> Layer:
    """Count for a global layer, or for one of windows.

    Args:
        width: channels of a head.
        heads: how many.
        grid: 64, or the side of a window.
    """
    groups = (-(-EMBEDDING_SIZE // grid)) ** 2
    tokens = grid * grid
    channels = 2 * groups * tokens * heads * width  # bytes of all queries
    table = 2 * groups * tokens * heads * grid
    columns = max(16, 1 << (grid - 1).bit_length())
    queries = -(-tokens // 64) * 64
    pairs = groups * heads * queries * grid * columns
    return Layer(
        bias=2 * 2 * groups * heads * tokens * tokens,
        read=4 * channels + 2 * table,
        # Queries are copied by grid row and by grid column, and multiplied.
        tables=6 * channels + 2 * table,
        flop=4 * pairs * width,
        exponentials=pairs,
    )


def estimates(card: Card, counted: Layer) -> dict[str, float]:
    """Milliseconds of each bound of a layer on a card."""
    memory = MEMORY * card.gb_per_s * 1e6  # bytes per ms
    clocks = card.multiprocessors * card.ghz * 1e6
    return {
        "bias": counted.bias / memory,
        "read": counted.read / memory,
        "products": counted.flop / (PRODUCTS * card.tflops * 1e9),
        "exponentials": counted.exponentials / (EXPONENTIALS * clocks),
    }


def every_block(case: Case) -> Iterator[tuple[Blocks, Code]]:
    """Compile a case in all blocks that there was a choice of."""
    for queries, warps, stages in product((64, 128), (4, 8), (2, 3)):
        blocks = Blocks(queries, warps, stages)
        yield blocks, compile_case(case, blocks)


def best(found: list[tuple[Blocks, Code]]) -> Blocks:
    """Choose among blocks as `slimsam_build.attention_rule` says."""

    def rank(entry: tuple[Blocks, Code]) -> tuple[int, ...]:
        blocks, code = entry
        queries = code.warps // blocks.warps * blocks.queries
        return (queries, code.warps, -blocks.queries, -blocks.stages)

    whole = [entry for entry in found if not entry[1].spilled and entry[1].registers <= 240]
    return max(whole, key=rank)[0]


def main() -> int:
    """Compile for every card, print what came of it, and write the results."""
    parser = argparse.ArgumentParser("python -m benchmarks.attention_kernel")
    parser.add_argument("--all", action="store_true", help="compare all blocks, and write nothing")
    options = parser.parse_args()
    import triton

    rows: list[dict[str, Any]] = []
    for case in CASES:
        name = f"sm_{case.card} {case.width:3} channels, grid {case.grid}, {case.dtype}"
        if options.all and case.grid == EMBEDDING_SIZE and case.dtype == "fp16":
            found = list(every_block(case))
            for blocks, code in found:
                print(name, tuple(blocks), code, flush=True)
            print(name, "best:", tuple(best(found)), "chosen:", tuple(case.blocks), flush=True)
        elif not options.all:
            code = compile_case(case)
            print(name, tuple(case.blocks), code, flush=True)
            rows.append({**asdict(case), **case.blocks._asdict(), "code": asdict(code)})
    if rows:
        written = {"triton": triton.__version__, "rows": rows}
        RESULTS.write_text(json.dumps(written, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
