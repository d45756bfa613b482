"""Times this project beside `SamModel` and its plain ONNX export: `make bench`.

    python -m benchmarks.comparison
    python -m benchmarks.comparison --geometries slimsam-77 --stages encode decode_1 --rounds 3

Everything runs in turn on the same weights, image and prompts, so that ratios hold where seconds do
not; run it on a machine that does nothing else. The results go to benchmarks/results, a file and a
chart for each kind of machine; a part that is measured again takes its place in them. A GPU is
measured by `python -m benchmarks.gpu`.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import torch
from transformers import SamModel

from benchmarks.comparison.chart import draw_chart
from benchmarks.comparison.everything import measure_everything
from benchmarks.comparison.gemm_peak import gemm_peak
from benchmarks.comparison.labels import BASELINE, BF16, OURS, SERVED, STAGES
from benchmarks.comparison.plain_export import (
    PlainModel,
    export_plain,
    load_onnxruntime,
    load_openvino,
)
from benchmarks.comparison.ratios import HEADLINE, derive, summarize
from benchmarks.comparison.scene import Scene, make_scene
from benchmarks.comparison.sides import Side, in_process, plain_export, sam_model, served
from benchmarks.comparison.stages import DECODES, measure
from benchmarks.comparison.table import table
from benchmarks.machine import this_machine, versions
from benchmarks.repository import built_repository
from slimsam_build.checkpoints import load_checkpoint
from slimsam_build.random_checkpoint import GEOMETRIES, random_checkpoint
from slimsam_server import EmbeddedServer

RESULTS = Path(__file__).parents[1] / "results"
DEMO = "demo"
NO_BF16 = "the processor has neither avx512_bf16 nor amx_bf16"


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(
        "python -m benchmarks.comparison",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--geometries", nargs="+", default=["slimsam-77", "slimsam-50"],
        choices=(*GEOMETRIES, DEMO), metavar="NAME",
        help=f"of {', '.join(GEOMETRIES)} with random weights, and {DEMO}, which is small and "
        "trained; default: %(default)s",
    )  # fmt: skip
    parser.add_argument(
        "--stages", nargs="+", default=list(STAGES), choices=STAGES,
        metavar="NAME", help="default: %(default)s",
    )  # fmt: skip
    parser.add_argument(
        "--rounds", type=int, default=7, help="at most; slow stages take fewer; default: 7"
    )
    parser.add_argument("--output", type=Path, help="a .json file; default: the machine's")
    options = parser.parse_args()
    if options.rounds < 1:
        parser.error(f"--rounds: expected at least 1, got {options.rounds}")
    torch.set_grad_enabled(False)
    # The server would choose large pages for itself; it gets this process's, as all other sides.
    os.environ.setdefault("GLIBC_TUNABLES", "")
    machine = this_machine()
    output = options.output or RESULTS / f"{machine.file_name}.json"
    results = json.loads(output.read_text()) if output.exists() else {"geometries": {}}
    results |= {"machine": dataclasses.asdict(machine), "versions": versions()}
    peaks: dict[str, float | None] = {"fp32": 0.0, "bf16": 0.0 if machine.bf16 else None}
    for geometry in options.geometries:
        stages = results["geometries"].setdefault(geometry, {})
        measured = {}
        with setting(geometry, options.stages, machine.bf16) as (model, scene, sides):
            for name in (name for name in STAGES if name in options.stages):
                _tell(f"{geometry}: {name}")
                for precision, dtype in (("fp32", torch.float32), ("bf16", torch.bfloat16)):
                    if (peak := peaks[precision]) is not None:
                        peaks[precision] = max(peak, gemm_peak(dtype))
                if name == "everything_1024":
                    measured[name] = measure_everything(sides, scene, model, options.rounds)
                else:
                    measured[name] = measure(name, sides, scene, model, options.rounds)
                if not machine.bf16:
                    measured[name]["sides"].setdefault(BF16, {"absent": NO_BF16})
                stages |= {stage: derive(content, peaks) for stage, content in measured.items()}
                write(results, output)
        print(table(geometry, stages), end="\n\n")
    print(f"{results['summary_of']}: {json.dumps(results['summary'], indent=1)}")
    print(f"{output}, {output.with_suffix('.svg')}")


@contextmanager
def setting(
    geometry: str, stages: Sequence[str], bf16: bool
) -> Iterator[tuple[SamModel, Scene, dict[str, Side]]]:
    """Build and serve a geometry, and bring all sides into being.

    Args:
        geometry: a key of `GEOMETRIES`, or "demo".
        stages: those that will be measured.
        bf16: whether this project's graphs run in bfloat16 as well.

    Yields:
        The checkpoint's model, the scene, and the sides by name.
    """
    _tell(f"{geometry}: building and exporting")
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        model = load_checkpoint(DEMO).model if geometry == DEMO else random_checkpoint(geometry)
        model.save_pretrained(directory)
        checkpoint = load_checkpoint(str(directory))
        # Attention of the vision encoder is chosen when the model is made, and not changed after.
        eager = SamModel.from_pretrained(directory, attn_implementation="eager").eval()
        scene = make_scene(checkpoint.model, directory)
        embeddings = torch.from_numpy(scene.embedding.image_embeddings).float()[None]
        prompts = {DECODES.get(stage, 1) for stage in (*stages, "click")}
        failures = export_plain(eager, embeddings, sorted(prompts), directory)
        repository = stack.enter_context(built_repository(checkpoint))
        server = stack.enter_context(EmbeddedServer(repository))
        sides = {
            BASELINE: sam_model(scene, checkpoint.model, with_pipeline=True),
            "sam_model_eager": sam_model(scene, eager, with_pipeline=False),
        }
        for name, load in (("onnxruntime", load_onnxruntime), ("openvino", load_openvino)):
            sides[f"onnx_{name}"] = plain_export(scene, PlainModel(directory, failures, load))
        sides[OURS] = in_process(scene, repository, "fp32")
        if bf16:
            sides[BF16] = in_process(scene, repository, "bf16")
        sides[SERVED] = stack.enter_context(served(scene, server.grpc_url))
        yield checkpoint.model, scene, sides


def write(results: dict[str, Any], output: Path) -> None:
    """Write the file, headline figures first, and the chart beside it."""
    geometries = results["geometries"]
    headline = HEADLINE if HEADLINE in geometries else next(iter(geometries))
    summary, notes = summarize(geometries[headline])
    results |= {"summary_of": headline, "summary": summary, "notes": notes}
    first = ("machine", "versions", "summary_of", "summary", "notes")
    ordered = {name: results[name] for name in (*first, *results) if name in results}
    output.parent.mkdir(parents=True, exist_ok=True)
    output.write_text(json.dumps(ordered, indent=1) + "\n")
    draw_chart(results, output.with_suffix(".svg"))


def _tell(what: str) -> None:
    print(what, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
