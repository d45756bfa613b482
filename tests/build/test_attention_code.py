"""What the attention kernel is compiled to, for every card and without one; and where it runs."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import asdict
from typing import Any

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from transformers import SamModel

from benchmarks import attention_kernel as code
from slimsam_build import attention_rule
from slimsam_build.attention_rule import BLOCKS, WIDTHS, find_blocks, refusal
from slimsam_build.graphs.fused_encoder import FusedVisionAttention
from slimsam_build.graphs.kernel_encoder import KernelVisionAttention

NO_TRITON = "the package triton has no wheel for this machine"
MOST_REGISTERS = {16: 128, 32: 144, 64: 200, 80: 232}
"""By channels of a head. Of more than 255 some would be spilled."""
MOST_SHARED = 64 * 1024
LEAST_WARPS = 8
"""Two for each of a multiprocessor's four parts: one computes while the other waits."""
CUDA = torch.device("cuda")


@pytest.fixture(scope="module", autouse=True)
def compiled_anew(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Without what an earlier run compiled."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TRITON_CACHE_DIR", str(tmp_path_factory.mktemp("triton")))
        yield


def named(case: code.Case) -> str:
    return f"sm_{case.card}-{case.width}-{case.grid}-{case.dtype}"


@pytest.mark.parametrize("case", code.CASES, ids=named)
def test_every_card_gets_good_code(case: code.Case) -> None:
    triton = pytest.importorskip("triton", reason=NO_TRITON)
    found = code.compile_case(case)
    assert found.spilled == 0
    assert found.registers <= MOST_REGISTERS[case.width]
    assert found.shared <= MOST_SHARED
    assert found.matrix >= 2  # of both products
    assert found.warps >= LEAST_WARPS
    # The table of docs/performance.md.
    written = json.loads(code.RESULTS.read_text())
    (row,) = (row for row in written["rows"] if asdict(case).items() <= row.items())
    assert {key: row[key] for key in case.blocks._asdict()} == case.blocks._asdict()
    if triton.__version__ == written["triton"]:
        assert row["code"] == asdict(found)


def test_before_ampere_it_would_spill_and_multiply_without_tensor_cores() -> None:
    pytest.importorskip("triton", reason=NO_TRITON)
    found = code.compile_case(code.Case(75, 16), find_blocks(80, 16))
    assert found.spilled > 0 and found.matrix == 0


def test_every_card_has_blocks_of_every_width() -> None:
    for card in (80, 86, 87, 89, 90, 100, 103, 110, 120, 121):
        for width in WIDTHS:
            assert find_blocks(card, width).queries in (64, 128)
    assert find_blocks(103, 16) == BLOCKS[100][16]
    assert find_blocks(87, 16) == BLOCKS[86][16]


def card(patch: pytest.MonkeyPatch, major: int, minor: int, hip: str | None = None) -> None:
    patch.delenv("TRITON_INTERPRET", raising=False)
    patch.setattr("torch.cuda.get_device_capability", lambda device: (major, minor))
    patch.setattr("torch.version.hip", hip)
    patch.setattr("importlib.util.find_spec", lambda name: object())


@pytest.mark.parametrize("capability", [(8, 0), (8, 9), (9, 0), (10, 3), (12, 1)])
def test_it_runs_from_ampere_on(
    capability: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    card(monkeypatch, *capability)
    for width in WIDTHS:
        assert refusal(CUDA, torch.float16, width) is None
        assert refusal(CUDA, torch.bfloat16, width) is None


def test_what_it_does_not_run_on_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    card(monkeypatch, 8, 0)
    half = torch.float16
    assert refusal(CUDA, half, 24) == "heads of 24 channels; the kernel has those of 16, 32, 64, 80"
    float32 = refusal(CUDA, torch.float32, 16)
    assert float32 == "torch.float32 on a GPU; the kernel computes in float16 and bfloat16"
    on_cpu = refusal(torch.device("cpu"), half, 16)
    assert on_cpu == "device cpu; the kernel runs on NVIDIA's GPUs"
    card(monkeypatch, 7, 5)
    assert refusal(CUDA, half, 16) == "compute capability 7.5; the kernel needs 8.0"
    card(monkeypatch, 9, 0, hip="6.4")
    assert refusal(CUDA, half, 16) == "device cuda; the kernel runs on NVIDIA's GPUs"
    card(monkeypatch, 8, 0)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert refusal(CUDA, half, 16) == "the package triton is not installed"


def test_without_the_kernel_the_encoder_is_the_fused_one(
    shallow: Callable[[str], SamModel],
) -> None:
    model = shallow("slimsam-77")
    tokens = torch.randn(2, 196, 168, generator=torch.Generator().manual_seed(0))
    source = model.vision_encoder.layers[0].attn
    expected = FusedVisionAttention(source, 14)(tokens)
    assert torch.equal(KernelVisionAttention(source, 14)(tokens), expected)


class Counting(TorchDispatchMode):
    """Counts what is computed."""

    def __init__(self) -> None:
        super().__init__()
        self.called: Counter[str] = Counter()

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        self.called[func.overloadpacket.__name__] += 1
        return func(*args, **(kwargs or {}))


def test_on_a_gpu_it_is_one_kernel_and_nothing_is_copied_but_queries(
    shallow: Callable[[str], SamModel], monkeypatch: pytest.MonkeyPatch
) -> None:
    """With fake tensors of a card that is not there."""
    pytest.importorskip("triton", reason=NO_TRITON)
    monkeypatch.delenv("TRITON_INTERPRET", raising=False)
    monkeypatch.setattr("torch.cuda.get_device_capability", lambda device: (9, 0))
    source = shallow("slimsam-77").vision_encoder.layers[0].attn
    attention = KernelVisionAttention(source, 14).half()

    def called(device: str) -> Counter[str]:
        with FakeTensorMode(allow_non_fake_inputs=True):
            state = {
                name: torch.empty(value.shape, dtype=value.dtype, device=device)
                for name, value in attention.state_dict().items()
            }
            tokens = torch.empty(2, 196, 168, dtype=torch.float16, device=device)
            with Counting() as counting:
                result = torch.func.functional_call(attention, state, (tokens,))
        assert result.shape == tokens.shape and result.device.type == device
        return counting.called

    on_card = called("cuda")
    assert on_card["grid_attention"] == 1
    assert on_card["clone"] == 2  # queries by grid row and by grid column
    assert on_card["bmm"] == 2  # both tables
    assert "grid_attention" not in called("cpu")


def test_the_best_blocks_are_the_rules() -> None:
    blocks = attention_rule.Blocks
    found = [
        (blocks(64, 4, 2), code.Code(120, 0, 10240, 16, 16)),
        (blocks(64, 8, 2), code.Code(120, 0, 10240, 16, 16)),  # fewer queries
        (blocks(128, 8, 2), code.Code(120, 0, 20480, 16, 16)),  # no more of them, and larger
        (blocks(128, 4, 2), code.Code(255, 0, 20480, 16, 12)),  # no register left
        (blocks(128, 4, 3), code.Code(200, 48, 20480, 16, 12)),  # spills
    ]
    assert code.best(found) == blocks(64, 4, 2)
