"""What the attention kernel computes, in an interpreter: beside float64 and `SamModel`'s own."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor

import interpreted
import numpy as np
import pytest
import torch
from interpreted import Array
from numpy.typing import NDArray
from transformers import SamConfig, SamModel
from transformers.models.sam.modeling_sam import SamVisionAttention

from slimsam_build import parity
from slimsam_build.graphs import FusedDecoder
from slimsam_client.contract import DECODER, Arrays

pytest.importorskip("triton", reason="the package triton has no wheel for this machine")

ROUNDING = {"float32": 2e-6, "float16": 2e-3, "bfloat16": 1.6e-2}
"""Of the largest value: four times what a weight and a result lose, each of 11 or 8 digits."""


@pytest.fixture(scope="module")
def pool() -> Iterator[ProcessPoolExecutor]:
    with interpreted.interpreter() as found:
        yield found


def numbers(seed: int, *shape: int, scale: float = 1.0) -> Array:
    return (np.random.default_rng(seed).normal(0, scale, shape)).astype(np.float32)


def in_float64(qkv: Array, rel_h: Array, rel_w: Array, dtype: str) -> NDArray[np.float64]:
    """Attend in float64, from inputs that are rounded as the kernel's are."""
    rounded = (torch.from_numpy(x).to(getattr(torch, dtype)).double() for x in (qkv, rel_h, rel_w))
    qkv64, h, w = rounded
    groups, count, _, heads, _ = qkv.shape
    q, k, v = qkv64.permute(2, 0, 3, 1, 4)
    h = h.permute(2, 3, 0, 4, 1)  # (groups, heads, query row, query column, key row)
    w = w.permute(1, 2, 3, 0, 4)  # (..., key column)
    bias = (h.unsqueeze(5) + w.unsqueeze(4)).reshape(groups, heads, count, count)
    weights = torch.softmax(q @ k.transpose(2, 3) + bias, dim=3)
    return (weights @ v).transpose(1, 2).numpy()


def inputs(groups: int, heads: int, grid: int, d: int) -> tuple[Array, Array, Array]:
    n = grid
    qkv = numbers(1, groups, n * n, 3, heads, d)
    qkv[:, :, 0] *= d**-0.5
    rel_h, rel_w = numbers(2, n, n, groups, heads, n), numbers(3, n, groups, heads, n, n)
    return qkv, rel_h, rel_w


def error(found: Array, expected: NDArray[np.float64]) -> float:
    assert found.shape == expected.shape and np.isfinite(found).all()
    return float(np.abs(found - expected).max() / np.abs(expected).max())


@pytest.mark.parametrize("dtype", ROUNDING)
@pytest.mark.parametrize(
    ("groups", "heads", "grid", "d"),
    [
        (2, 3, 5, 16),  # one block that is not full
        (1, 1, 9, 80),  # channels in two parts; columns beyond a power of 2
        (1, 2, 8, 32),
        (3, 1, 4, 64),
        (1, 1, 14, 16),  # a window of SlimSAM-77
    ],
)
def test_it_is_the_attention(
    pool: ProcessPoolExecutor, groups: int, heads: int, grid: int, d: int, dtype: str
) -> None:
    given = inputs(groups, heads, grid, d)
    found = pool.submit(interpreted.grid_attention, *given, dtype).result()
    assert error(found, in_float64(*given, dtype)) < ROUNDING[dtype]


@pytest.mark.parametrize("dtype", ROUNDING)
def test_the_global_layers_grid(pool: ProcessPoolExecutor, dtype: str) -> None:
    given = inputs(1, 1, 64, 16)
    some = slice(1000, 1300)
    found = pool.submit(interpreted.grid_attention, *given, dtype, 1024).result()
    assert error(found[:, some], in_float64(*given, dtype)[:, some]) < ROUNDING[dtype]


@pytest.mark.parametrize("which", [0, 1, 2], ids=["qkv", "rel_h", "rel_w"])
def test_tensors_that_are_not_contiguous(pool: ProcessPoolExecutor, which: int) -> None:
    """Such as columns of a larger one: the kernel reads rows."""
    given = list(inputs(2, 3, 5, 16))
    expected = in_float64(*given, "float32")
    given[which] = np.asfortranarray(given[which])
    found = pool.submit(interpreted.grid_attention, *given, "float32").result()
    assert error(found, expected) < ROUNDING["float32"]


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_extreme_scores(pool: ProcessPoolExecutor, dtype: str) -> None:
    """Far below, far above what float16 holds, and one weight that is all."""
    qkv, rel_h, rel_w = inputs(1, 2, 7, 16)
    rel_h -= 3e4
    rel_w[:, :, 1] += 6e4  # sums of both and the scores are beyond float16
    qkv[0, 5, 0] *= 1e3
    qkv[0, 9, 1] *= 1e2
    found = pool.submit(interpreted.grid_attention, qkv, rel_h, rel_w, dtype).result()
    # In powers of 2: scores of 9e4 are scaled in float32, which rounds them by a hundredth.
    assert error(found, in_float64(qkv, rel_h, rel_w, dtype)) < 2e-2


@pytest.mark.parametrize("hot", [0, 3, 6])
def test_one_hot_row(pool: ProcessPoolExecutor, hot: int) -> None:
    """All weight lies on one grid row of keys, the first, a middle one or the last."""
    qkv, rel_h, rel_w = inputs(2, 1, 7, 16)
    rel_h[:, hot] += 40
    found = pool.submit(interpreted.grid_attention, qkv, rel_h, rel_w, "float32").result()
    assert error(found, in_float64(qkv, rel_h, rel_w, "float32")) < 1e-5
    values = qkv[:, 7 * hot : 7 * hot + 7, 2]
    assert (found <= values.max(1, keepdims=True) + 1e-5).all()
    assert (found >= values.min(1, keepdims=True) - 1e-5).all()


@pytest.mark.parametrize("batch", [1, 2, 3])
@pytest.mark.parametrize(("channels", "heads", "window"), [(28, 2, 6), (160, 2, 5), (64, 1, 9)])
def test_it_is_the_attention_of_sam_model(
    pool: ProcessPoolExecutor, batch: int, channels: int, heads: int, window: int
) -> None:
    config = SamConfig(
        vision_config={"hidden_size": channels, "num_attention_heads": heads}
    ).vision_config
    source = SamVisionAttention(config, window)
    torch.manual_seed(0)
    for weight in source.parameters():
        weight.copy_(torch.randn(weight.shape) * 0.3)
    tokens = numbers(4, batch, window, window, channels)
    expected, _ = source(torch.from_numpy(tokens))
    rows = tokens.reshape(batch, window * window, channels)
    found = pool.submit(interpreted.attention, source, window, rows, "float32").result()
    assert error(found, expected.reshape(rows.shape).double().numpy()) < 1e-5


def test_the_encoder_passes_the_gate(pool: ProcessPoolExecutor, small: SamModel) -> None:
    def encode(arrays: Arrays) -> Arrays:
        given = arrays["image"], arrays["input_size"]
        embeddings = pool.submit(interpreted.encoder, small, *given).result()
        return {"image_embeddings": embeddings}

    decoder = FusedDecoder(small).eval()

    def decode(arrays: Arrays) -> Arrays:
        outputs = decoder(*(torch.from_numpy(arrays[each.name]) for each in DECODER.inputs))
        return {
            each.name: output.numpy() for each, output in zip(DECODER.outputs, outputs, strict=True)
        }

    measured = parity.measure(encode, decode, small, batches=True)
    parity.check(measured.figures, "fp32")
