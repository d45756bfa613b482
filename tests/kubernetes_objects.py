"""What is wrong with Kubernetes's objects, by the schemas of each kind; no cluster is asked."""

from __future__ import annotations

import functools
import gzip
import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import jsonschema
import kubernetes_validate
import yaml
from helm_chart import HELM, Object

VERSIONS: Final = ("1.30", "1.37")
"""The oldest and the newest that the schemas are looked at of."""
GENERATED: Final = {
    ("keda.sh/v1alpha1", "ScaledObject"): "keda",
    ("monitoring.coreos.com/v1", "PodMonitor"): "prometheus-operator",
    ("monitoring.coreos.com/v1", "PrometheusRule"): "prometheus-operator",
}
"""Kinds with validators of npm, by their package. They find wrong types, and no unknown fields."""
CRDS: Final = {
    ("serving.kserve.io/v1alpha1", "ServingRuntime"): "kserve-servingruntime.yaml.gz",
    ("serving.kserve.io/v1beta1", "InferenceService"): "kserve-inferenceservice.yaml.gz",
}
"""Kinds with a definition of KServe, which is not of this project; SLIMSAM_CRDS has them."""
LONG_RUNNING: Final = ("Deployment", "StatefulSet", "DaemonSet", "ServingRuntime")
PROBES: Final = ("startupProbe", "readinessProbe", "livenessProbe")


def problems(thing: Object) -> list[str]:
    """Say what is wrong with an object; nothing if all is well."""
    return list(_problems(json.dumps(thing, sort_keys=True)))


@functools.cache
def _problems(text: str) -> tuple[str, ...]:
    """Many sets of values make the same object."""
    thing: Object = json.loads(text)
    kind = thing.get("apiVersion", ""), thing.get("kind", "")
    if kind in GENERATED:
        found = _generated(thing, *kind)
    elif kind in CRDS:
        found = _defined(thing, *kind)
    else:
        found = list(_of_kubernetes(thing))
    return tuple(f"{'/'.join(kind)}: {line}" for line in [*found, *_unwatched(thing)])


def _of_kubernetes(thing: Object) -> Iterator[str]:
    for version in VERSIONS:
        try:
            kubernetes_validate.validate(thing, version, strict=True)
        except kubernetes_validate.ValidationError as error:
            yield f"{version}: {'.'.join(map(str, error.path))}: {error.message}"
        except kubernetes_validate.SchemaNotFoundError:
            # Its command warns of it, and exits with 0.
            yield f"{version}: unknown kind"


def _generated(thing: Object, group: str, kind: str) -> list[str]:
    assert HELM is not None
    module = f"@kubernetes-models/{GENERATED[group, kind]}/{group}/{kind}"
    script = (
        f"import {{ {kind} }} from '{module}';"
        "import { readFileSync } from 'node:fs';"
        f"try {{ new {kind}(JSON.parse(readFileSync(0, 'utf8'))).validate() }}"
        "catch (error) { console.log(error.message) }"
    )
    done = subprocess.run(
        ["node", "--input-type=module", "--eval", script],
        cwd=HELM, input=json.dumps(thing), capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def has_definitions() -> bool:
    """Whether KServe's definitions are there."""
    return bool(os.environ.get("SLIMSAM_CRDS"))


@functools.cache
def _schema(group: str, kind: str) -> Any:
    text = gzip.decompress((Path(os.environ["SLIMSAM_CRDS"]) / CRDS[group, kind]).read_bytes())
    definition = yaml.load(text, getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    (schema,) = [
        version["schema"]["openAPIV3Schema"]
        for version in definition["spec"]["versions"]
        if version["name"] == group.rpartition("/")[2]
    ]
    _refuse_unknown_fields(schema)
    del schema["properties"]["metadata"]["additionalProperties"]
    return schema


def _refuse_unknown_fields(schema: Any) -> None:
    """Make JSON Schema of a definition: what a cluster would drop without a word is wrong here."""
    if isinstance(schema, list):
        for each in schema:
            _refuse_unknown_fields(each)
    if not isinstance(schema, dict):
        return
    if schema.get("type") == "object" and not schema.get("x-kubernetes-preserve-unknown-fields"):
        schema.setdefault("properties", {})
        schema.setdefault("additionalProperties", False)
    if schema.get("x-kubernetes-int-or-string") is True:
        schema.pop("pattern", None)
    for each in schema.values():
        _refuse_unknown_fields(each)


def _defined(thing: Object, group: str, kind: str) -> list[str]:
    found = jsonschema.Draft202012Validator(_schema(group, kind)).iter_errors(thing)
    return [f"{error.json_path}: {error.message}" for error in found]


def _unwatched(thing: Object) -> Iterator[str]:
    """Containers that nobody asks whether they live; no schema wants that."""
    if thing.get("kind") not in LONG_RUNNING:
        return
    spec = thing["spec"].get("template", thing)["spec"]
    for container in spec.get("containers", ()):
        for probe in PROBES:
            if probe not in container:
                yield f"container {container['name']}: has no {probe}"
