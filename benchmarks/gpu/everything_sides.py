"""Everything mode in this process, on the device; its masks in NumPy or in slimsam_masks' graph."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import SamModel

from benchmarks.gpu import sides
from slimsam_build.graphs import AnyShapeMasks
from slimsam_client import GenerateSettings, MaskRecord
from slimsam_client.calls import Call, Done, advance
from slimsam_client.contract import (
    DECODED_MASKS,
    DECODER,
    ENCODER,
    MASKS,
    Arrays,
    ModelSpec,
    TensorSpec,
)
from slimsam_client.everything.generator import generate_records
from slimsam_client.serving.ahead import answered_ahead


class OnDevice:
    """What slimsam_automatic does, with encoder, decoder and masks in this process.

    Args:
        model: the checkpoint's.
        device: where the graphs compute.
        precision: of encoder and decoder.
    """

    def __init__(self, model: SamModel, device: str, precision: str) -> None:
        self.device = device
        self.models: dict[ModelSpec, sides.OnDevice] = {
            **sides.graphs(model, device, precision),
            MASKS: AnyShapeMasks().eval().to(device),
        }

    def generate(
        self, photo: NDArray[np.uint8], settings: GenerateSettings, in_graph: bool
    ) -> list[MaskRecord]:
        """Find everything in a picture (H, W, 3).

        Args:
            photo: uint8, RGB.
            settings: of everything mode.
            in_graph: whether the graph makes the masks, so that no logits leave the device.
        """
        ask = partial(answered_ahead, answer=self.answer) if in_graph else None
        steps = generate_records(photo, settings, None, ask=ask)
        step = advance(steps, None)
        while not isinstance(step, Done):
            step = advance(steps, self.answer(step))
        return step.result

    def answer(self, call: Call) -> Arrays:
        """Answer a call; logits stay on the device between the two models of the ensemble."""
        with torch.inference_mode():  # of this thread
            if call.spec is not DECODED_MASKS:
                spec = ENCODER if call.spec is ENCODER else DECODER
                return self._home(spec, self._run(spec, self._given(call.arrays, spec)))
            masks, scores = self._run(DECODER, self._given(call.arrays, DECODER))
            given = self._given(call.arrays, MASKS, skip=1)
            measured = self._run(MASKS, [masks, *given])
            return {
                **self._home(MASKS, measured),
                DECODER.outputs[1].name: scores[0].cpu().numpy(),
            }

    def _run(self, spec: ModelSpec, given: list[torch.Tensor]) -> tuple[torch.Tensor, ...]:
        found = self.models[spec](*given)
        return found if isinstance(found, tuple) else (found,)

    def _given(self, arrays: Arrays, spec: ModelSpec, skip: int = 0) -> list[torch.Tensor]:
        inputs: tuple[TensorSpec, ...] = spec.inputs[skip:]
        # Copied, for views of numbers that nobody may write make PyTorch warn.
        return [torch.tensor(arrays[each.name], device=self.device)[None] for each in inputs]

    def _home(self, spec: ModelSpec, found: tuple[Any, ...]) -> Arrays:
        return {
            tensor.name: output[0].cpu().numpy()
            for tensor, output in zip(spec.outputs, found, strict=True)
        }
