"""The configurations against the contract, without a server."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest
from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2

from slimsam_build.plans import PROFILES, profile_shapes
from slimsam_client.contract import (
    AUTOMATIC,
    DECODER,
    ENCODER,
    ENSEMBLE,
    MAX_PROMPTS,
    MODELS,
    POINT_BUCKETS,
    ModelSpec,
)

REPOSITORY = Path(__file__).parents[2] / "model_repository"
TARGETS = ("torchscript", "openvino", "onnxruntime", "tensorrt")


def read(model: str, target: str) -> model_config_pb2.ModelConfig:
    """The configuration that Triton takes for a target: configs/TARGET.pbtxt, else config.pbtxt."""
    path = REPOSITORY / model / "configs" / f"{target}.pbtxt"
    if not path.exists():
        path = REPOSITORY / model / "config.pbtxt"
    return text_format.Parse(path.read_text(), model_config_pb2.ModelConfig())


def described(tensors: object) -> list[tuple[str, str, tuple[int, ...]]]:
    return [
        (t.name, model_config_pb2.DataType.Name(t.data_type).removeprefix("TYPE_"), tuple(t.dims))
        for t in tensors
    ]


def problems(config: model_config_pb2.ModelConfig, spec: ModelSpec) -> list[str]:
    """What in a configuration breaks the contract, or this repository's rules."""
    found = []
    if config.name != spec.name:
        found.append(f"name {config.name}")
    for kind, tensors, expected in (
        ("input", config.input, spec.inputs),
        ("output", config.output, spec.outputs),
    ):
        if described(tensors) != [(t.name, t.dtype, t.dims) for t in expected]:
            found.append(f"{kind}s {described(tensors)}")
    if any(tensor.optional for tensor in config.input):
        found.append("optional input: only two backends know it")
    if config.max_batch_size < 1:
        found.append("no batching")
    policy = config.dynamic_batching
    if policy.HasField("default_queue_policy") or policy.priority_levels:
        found.append("queue policy: a lone instance would idle between requests")
    return found


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("spec", MODELS, ids=lambda spec: spec.name)
def test_configuration_follows_the_contract(spec: ModelSpec, target: str) -> None:
    assert problems(read(spec.name, target), spec) == []


def test_the_check_finds_what_is_wrong() -> None:
    def changed(change: str) -> list[str]:
        config = read(DECODER.name, "torchscript")
        exec(change, {"c": config})
        return problems(config, DECODER)

    assert changed("pass") == []
    for change in (
        "c.name = 'decoder'",
        "c.input[1].dims[2] = 3",
        "c.input[2].data_type = c.input[1].data_type",
        "c.input[0].name = 'embedding'",
        "c.output[0].dims[1] = 3",
        "c.input[3].optional = True",
        "c.max_batch_size = 0",
        "c.dynamic_batching.default_queue_policy.max_queue_size = 4",
        "del c.output[1]",
        "first = c.output[0].name; c.output[0].name = c.output[1].name; c.output[1].name = first",
    ):
        assert len(changed(change)) == 1, change


@pytest.mark.parametrize("target", TARGETS)
def test_ensemble_wires_encoder_to_decoder(target: str) -> None:
    config = read(ENSEMBLE.name, target)
    steps = {step.model_name: step for step in config.ensemble_scheduling.step}
    assert list(steps) == [ENCODER.name, DECODER.name]
    for spec in (ENCODER, DECODER):
        step = steps[spec.name]
        assert dict(step.input_map) == {t.name: t.name for t in spec.inputs}
        assert dict(step.output_map) == {t.name: t.name for t in spec.outputs}
        assert config.max_batch_size <= read(spec.name, target).max_batch_size


@pytest.mark.parametrize("target", TARGETS)
def test_everything_mode_follows_the_contract(target: str) -> None:
    config = read(AUTOMATIC.name, target)
    spelled = {"STRING": "BYTES"}  # the configuration's word and the protocol's
    for tensors, expected in (
        (config.input, AUTOMATIC.inputs),
        (config.output, AUTOMATIC.outputs),
    ):
        found = [
            (name, spelled.get(dtype, dtype), dims) for name, dtype, dims in described(tensors)
        ]
        assert found == [(tensor.name, tensor.dtype, tensor.dims) for tensor in expected]
    assert all(tensor.optional for tensor in config.input)
    assert config.backend == "python" and config.max_batch_size == 0
    assert 1 <= int(config.parameters["max_points_per_batch"].string_value) <= MAX_PROMPTS


@pytest.mark.parametrize("target", ["torchscript", "onnxruntime", "tensorrt"])
@pytest.mark.parametrize("spec", [ENCODER, DECODER], ids=lambda spec: spec.name)
def test_backends_that_batch_do(spec: ModelSpec, target: str) -> None:
    config = read(spec.name, target)
    assert config.WhichOneof("scheduling_choice") == "dynamic_batching"
    assert config.max_batch_size > 1


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("spec", [ENCODER, DECODER], ids=lambda spec: spec.name)
def test_warm_up_has_real_values_for_every_input(spec: ModelSpec, target: str) -> None:
    config = read(spec.name, target)
    assert config.model_warmup
    for warm_up in config.model_warmup:
        assert warm_up.batch_size <= config.max_batch_size
        assert set(warm_up.inputs) == {tensor.name for tensor in spec.inputs}
        for name, tensor in warm_up.inputs.items():
            assert not tensor.random_data, "random bytes may be NaN"
            if tensor.input_data_file:
                file = REPOSITORY / spec.name / "warmup" / tensor.input_data_file
                count = 1
                for dim in tensor.dims:
                    count *= dim
                assert file.stat().st_size == 4 * count, name


def test_warm_up_files_are_those_of_their_script() -> None:
    path = Path(__file__).with_name("write_warmup.py")
    spec = importlib.util.spec_from_file_location("write_warmup", path)
    assert spec is not None and spec.loader is not None
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    for name, content in script.warmup_files().items():
        assert (REPOSITORY / name).read_bytes() == content


def test_tensorrt_names_profiles_that_plans_have() -> None:
    for spec in (ENCODER, DECODER):
        config = read(spec.name, "tensorrt")
        (group,) = config.instance_group
        assert list(group.profile) == [str(i) for i in range(len(PROFILES[spec.name]))]
        assert config.optimization.cuda.output_copy_stream


def test_cuda_graphs_are_for_shapes_that_warm_up_and_clients_send() -> None:
    config = read(DECODER.name, "tensorrt")
    assert config.optimization.cuda.graphs
    shapes = profile_shapes(DECODER, config.max_batch_size)
    warmed = {tuple(w.inputs["point_coords"].dims) for w in config.model_warmup}
    for graph in config.optimization.cuda.graph_spec:
        assert set(graph.input) == {tensor.name for tensor in DECODER.inputs}
        prompts, points, _ = graph.input["point_coords"].dim
        assert points in POINT_BUCKETS and (prompts, points, 2) in warmed
        assert list(graph.input["point_labels"].dim) == [prompts, points]
        asked = [graph.batch_size, prompts, points, 2]
        assert any(
            all(a <= b <= c for a, b, c in zip(least, asked, most, strict=True))
            for least, _, most in (profile["point_coords"] for profile in shapes)
        )
