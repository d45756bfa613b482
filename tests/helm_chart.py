"""The Helm chart as a real helm renders it."""

from __future__ import annotations

import functools
import json
import os
import subprocess
from pathlib import Path
from typing import Any, Final

import yaml

ROOT: Final = Path(__file__).parents[1]
CHART: Final = ROOT / "deploy" / "helm" / "slimsam"
PROFILES: Final = tuple(sorted(path.stem for path in (CHART / "profiles").glob("*.yaml")))
HELM: Final = Path(os.environ["SLIMSAM_HELM"]) if os.environ.get("SLIMSAM_HELM") else None
Object = dict[str, Any]


def helm(*arguments: str | Path, values: Object | None = None) -> subprocess.CompletedProcess[str]:
    """Run helm; `values` are those of a further file."""
    assert HELM is not None
    given = [] if values is None else ["--values", "-"]
    return subprocess.run(
        [HELM / "helm", *arguments, *given],
        input=None if values is None else json.dumps(values),
        capture_output=True, text=True, timeout=120,
    )  # fmt: skip


def profile(name: str) -> tuple[str | Path, ...]:
    return ("--values", CHART / "profiles" / f"{name}.yaml")


@functools.cache
def _rendered(name: str | None, values: str) -> str:
    done = helm(
        *("template", "sam", CHART, "--namespace", "vision"),
        *(() if name is None else profile(name)),
        values=json.loads(values),
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def render(name: str | None = None, values: Object | None = None) -> list[Object]:
    """Give the objects of a release `sam` in the namespace `vision`.

    Args:
        name: a profile; None for the chart's own values.
        values: further ones.
    """
    found = yaml.safe_load_all(_rendered(name, json.dumps(values or {}, sort_keys=True)))
    return [each for each in found if each]


def one(objects: list[Object], kind: str, name: str = "sam-slimsam") -> Object:
    """Give the object of a kind and a name."""
    (found,) = [
        each for each in objects if (each["kind"], each["metadata"]["name"]) == (kind, name)
    ]
    return found


def pod_of(workload: Object) -> Object:
    """Give the pod's spec of a Deployment or its kin."""
    spec: Object = workload["spec"]["template"]["spec"]
    return spec


def container(pod: Object, name: str) -> Object:
    """Give a container, of the init steps, too."""
    (found,) = [
        each
        for each in (*pod.get("initContainers", ()), *pod["containers"])
        if each["name"] == name
    ]
    return dict(found)
