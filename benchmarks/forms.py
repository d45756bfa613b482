"""The parity gate's figures of every form of the graphs, in every precision that it is built in.

At full depth, on this machine's CPU: in ONNX Runtime, in PyTorch, and TensorRT's bf16 in OpenVINO.
A card's kernels round otherwise, which is why a plan is gated again where it is built.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

import torch

from benchmarks.checkpoints import checkpoint
from slimsam_build import parity
from slimsam_build.random_checkpoint import GEOMETRIES
from slimsam_build.targets import (
    FEWEST_OPERATIONS,
    FUSED,
    FUSED_BY_PYTORCH,
    FUSED_FOR_ANY_SHAPE,
    TARGETS,
)
from slimsam_build.targets.target import Graphs, Run
from slimsam_client.contract import DECODER, ENCODER

FORMS: Final[dict[str, tuple[str, Graphs, tuple[str, ...]]]] = {
    "for TensorRT": ("tensorrt", FUSED, ("fp16", "bf16", "fp32")),
    "for PyTorch on CUDA": ("torchscript", FUSED_BY_PYTORCH, ("bf16", "fp32")),
    "for ONNX Runtime on CUDA": ("onnxruntime", FUSED_FOR_ANY_SHAPE, ("fp16", "fp32")),
    "for a CPU": ("torchscript", FEWEST_OPERATIONS, ("bf16", "fp32")),
}
"""Of each form the target, the graphs, and the precisions that a CPU runs in bearable time."""


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        "python -m benchmarks.forms", description=__doc__.splitlines()[0]
    )
    names = ("demo", *GEOMETRIES)
    parser.add_argument("--geometries", nargs="+", default=names, choices=names, metavar="NAME")
    parser.add_argument("--forms", nargs="+", default=list(FORMS), choices=FORMS, metavar="FORM")
    parser.add_argument("--precisions", nargs="+", default=list(parity.BOUNDS), metavar="NAME")
    parser.add_argument("--json", type=Path, help="write the figures there, too")
    options = parser.parse_args()
    torch.set_grad_enabled(False)
    rows = []
    for geometry in options.geometries:
        for row in measure(geometry, options.forms, options.precisions):
            rows.append(row)
            found = row["parity"]
            print(
                f"{geometry:13} {row['form']:25} {row['precision']}: embedding error "
                f"{found['embedding_error']:.1e}, mask IoU mean {found['mask_iou_mean']:.5f} "
                f"min {found['mask_iou_min']:.5f}, score error {found['score_error']:.1e}"
                f"{'; REFUSED: ' + '; '.join(row['missed']) if row['missed'] else ''}",
                flush=True,
            )
    if options.json:
        options.json.write_text(json.dumps(rows, indent=1) + "\n")
    return 0


def measure(geometry: str, forms: list[str], precisions: list[str]) -> Iterator[dict[str, Any]]:
    """Export each form of a geometry in each precision, and give what the gate measures."""
    model = checkpoint(geometry).model
    for form in forms:
        name, graphs, offered = FORMS[form]
        target = TARGETS[name]
        for precision in (each for each in offered if each in precisions):
            with tempfile.TemporaryDirectory() as directory:
                runs: list[Run] = []
                for spec in (ENCODER, DECODER):
                    path = Path(directory) / spec.name / target.artifact
                    path.parent.mkdir()
                    target.export(graphs[spec](model).eval(), spec, path, precision)
                    runs.append(target.load(path, spec, precision))
                encoder, decoder = runs
                figures = parity.measure(encoder, decoder, model, target.batches).figures
            yield {
                "geometry": geometry,
                "form": form,
                "precision": precision,
                "parity": asdict(figures),
                "missed": figures.beyond(target.bounds[precision]),
            }


if __name__ == "__main__":
    raise SystemExit(main())
