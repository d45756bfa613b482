"""The stages of a benchmark: what each side is asked for, how it is compared, and how it is timed.

A stage's result is plain data, as it stands in the JSON: every time of every side, and why a side
is absent or differs. What follows from it is in `ratios`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timezone
from functools import partial
from typing import Any, Final

from transformers import SamModel

from benchmarks.comparison.agreement import difference
from benchmarks.comparison.flops import Flops, decoder_flops, encoder_flops
from benchmarks.comparison.interleave import Call, affordable_rounds, first_calls, in_turn
from benchmarks.comparison.labels import BASELINE, OURS
from benchmarks.comparison.scene import Scene
from benchmarks.comparison.sides import Side

DECODES: Final = {"decode_1": 1, "decode_8": 8, "decode_64": 64}
BUDGET_SECONDS: Final = 75
"""Of a stage's rounds, unless even the fewest take longer."""


def measure(
    stage: str, sides: Mapping[str, Side], scene: Scene, model: SamModel, rounds: int
) -> dict[str, Any]:
    """Compare and time all sides in one stage (everything mode: see `everything`).

    Args:
        stage: one of `labels.STAGES`.
        sides: by name.
        scene: what they are given.
        model: whose operations are counted.
        rounds: at most.
    """
    calls = _calls(stage, sides, scene)
    first = first_calls(calls)
    reference = BASELINE if BASELINE in first.outputs else OURS
    expected = first.outputs[reference]
    differing = {
        side: difference(expected, output, sides[side].precision)
        for side, output in first.outputs.items()
    }
    del expected
    first.outputs.clear()
    rounds = affordable_rounds(first, rounds, BUDGET_SECONDS)
    able = {side: calls[side] for side in first.seconds}
    seconds = in_turn(able, rounds, first.quick)
    return {
        **about(rounds, stage_flops(stage, model)),
        "compared_with": reference,
        "sides": outcomes(differing, seconds, first.absent),
    }


def outcomes(
    differing: Mapping[str, str | None],
    seconds: Mapping[str, Sequence[float]],
    absent: Mapping[str, str],
) -> dict[str, dict[str, Any]]:
    """Say of each side what it took and whether it differs, or why it is absent."""
    return {
        **{side: {"differs": differing[side], "times": seconds[side]} for side in seconds},
        **{side: {"absent": reason} for side, reason in absent.items()},
    }


def about(rounds: int, flops: Flops) -> dict[str, Any]:
    """What every stage's result says of itself."""
    return {
        "measured": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "rounds": rounds,
        "flops": flops.fewest,
        "flops_ours": flops.ours,
        "flops_as_written": flops.as_written,
    }


def stage_flops(stage: str, model: SamModel) -> Flops:
    """Count the graphs' operations; what surrounds them is left out."""
    if stage == "encode":
        return encoder_flops(model)
    if stage == "everything_1024":
        return encoder_flops(model) + decoder_flops(model, 64) * 16
    prompts = decoder_flops(model, DECODES.get(stage, 1))
    return prompts + encoder_flops(model) if stage in ("ensemble", "segment") else prompts


def _calls(stage: str, sides: Mapping[str, Side], scene: Scene) -> dict[str, Call]:
    if stage in DECODES:
        clicks = scene.clicks(DECODES[stage])
        return {name: partial(side.decode, clicks) for name, side in sides.items()}
    found = {name: getattr(side, stage) for name, side in sides.items()}
    return {name: call for name, call in found.items() if call is not None}
