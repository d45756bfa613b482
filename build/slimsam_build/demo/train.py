"""Trains the demo checkpoint from scratch: `python -m slimsam_build.demo.train --help`.

SAM's recipe (arXiv 2304.02643, appendix A) on scenes that it draws: clicks, boxes and refinement by
a click on the error with the earlier logits. Small crops of the 1024 frame first, because they are
cheap, the whole frame last. It saves its state every few minutes and goes on from there.
"""

from __future__ import annotations

import argparse
import copy
import math
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader
from transformers import SamModel

from slimsam_build.demo.losses import intersection_over_union, prompt_loss
from slimsam_build.demo.model import decode, encode, new_model
from slimsam_build.demo.samples import Sample, Samples, correction, random_offset
from slimsam_build.demo.textures import Photos

WARM_UP_STEPS = 100
REFINE_SHARE = 0.35
SECONDS_BETWEEN_SAVES = 150
EMA = 0.98


@dataclass(frozen=True)
class Stage:
    """Some steps at one crop size; the learning rate falls from `rate` along a cosine."""

    size: int
    batch: int
    steps: int
    rate: float


STAGES = (Stage(256, 16, 2200, 1e-3), Stage(512, 8, 450, 5e-4), Stage(1024, 2, 800, 4e-4))


def main() -> None:
    """Train, or go on training, and export at the end."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--state", type=Path, required=True, help="file to keep the state in")
    parser.add_argument("--output", type=Path, help="directory for the checkpoint, at the end")
    parser.add_argument(
        "--stages",
        default=",".join(f"{s.size}:{s.batch}:{s.steps}:{s.rate}" for s in STAGES),
        help="size:batch:steps:rate, comma separated; default: %(default)s",
    )
    arguments = parser.parse_args()
    stages = [_stage(text) for text in arguments.stages.split(",")]
    training = Training(arguments.state, stages, bundled_photos())
    training.run()
    if arguments.output:
        export(training.averaged, arguments.output)


def _stage(text: str) -> Stage:
    size, batch, steps, rate = text.split(":")
    return Stage(int(size), int(batch), int(steps), float(rate))


class Training:
    """The model, its optimizer, and how far they are.

    Args:
        state: file that the training is saved to and resumed from.
        stages: what to do.
        photos: images that may serve as textures.
    """

    def __init__(self, state: Path, stages: list[Stage], photos: Photos = ()) -> None:
        self.path = state
        self.stages = stages
        self.photos = photos
        self.step = 0
        self.model = new_model()
        self.averaged = new_model()
        decayed = [p for p in self.model.parameters() if p.ndim >= 2]
        others = [p for p in self.model.parameters() if p.ndim < 2]
        groups: list[dict[str, Any]] = [{"params": decayed}, {"params": others, "weight_decay": 0}]
        self.optimizer = torch.optim.AdamW(groups, betas=(0.9, 0.98), weight_decay=0.05)
        # Positions are a fixed random code, as in SAM.
        self.model.shared_image_embedding.positional_embedding.requires_grad_(False)
        if state.exists():
            self._load()

    def run(self) -> None:
        """Take all steps that are left, logging as it goes."""
        saved = logged = time.monotonic()
        window: list[tuple[float, float, float]] = []
        for stage, batch in self._batches():
            window.append(self._train(batch, stage.size))
            self.step += 1
            now = time.monotonic()
            if self.step % 10 == 0:
                loss, click, box = np.nanmean(np.array(window), axis=0)
                print(
                    f"step {self.step} size {stage.size} loss {loss:.3f} "
                    f"IoU click {click:.3f} box {box:.3f} {(now - logged) / 10:.2f} s/step",
                    flush=True,
                )
                window.clear()
                logged = now
            if now - saved > SECONDS_BETWEEN_SAVES:
                self.save()
                saved = now
        self.save()

    def _batches(self) -> Iterator[tuple[Stage, list[Sample]]]:
        done = 0
        for number, stage in enumerate(self.stages):
            todo = min(stage.steps, done + stage.steps - self.step)
            done += stage.steps
            if todo <= 0:
                continue
            # Seeds never repeat: stages apart by 10 million, steps in order.
            first = number * 10_000_000 + (stage.steps - todo) * stage.batch
            samples = Samples(stage.size, first, self.photos)
            loader = DataLoader(
                samples,
                stage.batch,
                num_workers=1,
                collate_fn=list,
                multiprocessing_context="spawn",  # a fork of a process with threads may hang
            )
            for _, batch in zip(range(todo), loader, strict=False):
                yield stage, batch

    def _train(self, batch: list[Sample], size: int) -> tuple[float, float, float]:
        """One step; returns the loss and the mean best-of-three IoU of clicks and of boxes."""
        rng = np.random.default_rng([self.step, 2])
        torch.manual_seed(self.step)
        for group in self.optimizer.param_groups:
            group["lr"] = self._rate()
        offset = random_offset(rng, size)
        count = len(batch[0].targets)
        target = torch.cat([sample.targets for sample in batch])
        coords = torch.cat([sample.coords for sample in batch])
        labels = torch.cat([sample.labels for sample in batch])
        with torch.autocast("cpu", torch.bfloat16):
            embeddings = encode(self.model, torch.stack([sample.pixels for sample in batch]))
            embeddings = embeddings.repeat_interleave(count, 0)
            logits, scores = decode(self.model, embeddings, coords, labels, None, offset)
        logits, scores = logits.float(), scores.float()
        loss = prompt_loss(logits, scores, target)
        quality = intersection_over_union(logits.detach(), target)[:, 1:].max(dim=1).values
        if rng.random() < REFINE_SHARE:
            loss = 0.5 * loss + 0.5 * self._refine(
                rng, embeddings, coords, labels, logits.detach(), target, offset
            )
        self.optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self.optimizer.step()
        self._average()
        clicked = labels[:, 0] == 1
        return loss.item(), float(quality[clicked].mean()), float(quality[~clicked].mean())

    def _refine(
        self,
        rng: np.random.Generator,
        embeddings: Tensor,
        coords: Tensor,
        labels: Tensor,
        logits: Tensor,
        target: Tensor,
        offset: tuple[int, int],
    ) -> Tensor:
        """A second round: one more click where the first answer is wrong, and its logits."""
        earlier = logits[:, int(rng.integers(4))]
        clicks = [correction(rng, *pair) for pair in zip(earlier, target, strict=True)]
        more = torch.tensor([[point] for point, _ in clicks])
        more_labels = torch.tensor([[label] for _, label in clicks])
        coords, labels = torch.cat([more, coords], dim=1), torch.cat([more_labels, labels], dim=1)
        with torch.autocast("cpu", torch.bfloat16):
            masks, scores = decode(
                self.model, embeddings, coords, labels, earlier[:, None].clamp(-32, 32), offset
            )
        return prompt_loss(masks.float(), scores.float(), target)

    def _rate(self) -> float:
        begin = 0
        for stage in self.stages:
            if self.step < begin + stage.steps:
                break
            begin += stage.steps
        fall = 0.5 * (1 + math.cos(math.pi * (self.step - begin) / stage.steps))
        return stage.rate * min(1.0, (self.step + 1) / WARM_UP_STEPS) * (0.05 + 0.95 * fall)

    @torch.no_grad()
    def _average(self) -> None:
        keep = min(EMA, self.step / (self.step + 10))
        for mean, now in zip(self.averaged.parameters(), self.model.parameters(), strict=True):
            mean.lerp_(now, 1 - keep)

    def save(self) -> None:
        """Write the state; a crash leaves the earlier one whole."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        part = self.path.with_suffix(".part")
        torch.save(
            {
                "step": self.step,
                "model": self.model.state_dict(),
                "averaged": self.averaged.state_dict(),
                "optimizer": self.optimizer.state_dict(),
            },
            part,
        )
        part.replace(self.path)

    def _load(self) -> None:
        state = torch.load(self.path, weights_only=True)
        self.step = state["step"]
        self.model.load_state_dict(state["model"])
        self.averaged.load_state_dict(state["averaged"])
        self.optimizer.load_state_dict(state["optimizer"])


def export(model: SamModel, directory: Path) -> None:
    """Write a checkpoint that `SamModel.from_pretrained` loads, stored in float16."""
    copy.deepcopy(model).half().save_pretrained(directory)


def bundled_photos() -> list[np.ndarray[Any, np.dtype[np.uint8]]]:
    """Photos of scikit-image, where it is installed, as further textures."""
    try:
        from skimage import data
    except ImportError:
        return []
    return [data.astronaut(), data.coffee(), data.chelsea(), data.rocket()]


if __name__ == "__main__":
    main()
