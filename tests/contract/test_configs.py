"""The configurations against the contract, without a server."""

from __future__ import annotations

import dataclasses
import importlib.util
import operator
from collections.abc import Callable
from pathlib import Path

import pytest
from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2

from slimsam_build.repository import BUILT
from slimsam_build.targets.tensorrt.builder import Shapes
from slimsam_build.targets.tensorrt.plan import profile_shapes
from slimsam_client.contract import (
    AUTOMATIC,
    BULK_DECODER,
    CLICK,
    DECODED_MASKS,
    DECODER,
    ENCODER,
    ENSEMBLE,
    IMAGE,
    INFO,
    MASKS,
    MAX_PROMPTS,
    MODELS,
    POINT_BUCKETS,
    ModelSpec,
)
from slimsam_client.everything import GenerateSettings
from slimsam_client.serving.automatic import IN_GRAPH, IN_NUMPY, MaskSettings
from slimsam_client.serving.cache.settings import CacheSettings
from slimsam_client.serving.clicks import ClickLimits
from slimsam_client.serving.limits import Limits
from slimsam_client.serving.parameters import read_parameters
from slimsam_client.serving.uploads import UploadLimits

REPOSITORY = Path(__file__).parents[2] / "model_repository"
TARGETS = ("torchscript", "openvino", "openvino_bf16", "onnxruntime", "tensorrt", "torch_aoti")
"""What `--model-config-name` chooses; torchscript is config.pbtxt itself."""


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
    return found + unbounded(config)


def unbounded(config: model_config_pb2.ModelConfig) -> list[str]:
    if config.HasField("ensemble_scheduling"):
        return []  # its models have the queues
    found = []
    if config.dynamic_batching.default_queue_policy.max_queue_size < 1:
        found.append("a queue without an end")
    # Many prompts take far longer than the pause between two requests.
    least = 1 if config.name == BULK_DECODER.name else 2
    if any(group.count < least for group in config.instance_group):
        found.append("a lone instance: it would idle between requests")
    return found


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("spec", [*MODELS, MASKS, DECODED_MASKS], ids=lambda spec: spec.name)
def test_configuration_follows_the_contract(spec: ModelSpec, target: str) -> None:
    assert problems(read(spec.name, target), spec) == []


def swap_outputs(config: model_config_pb2.ModelConfig) -> None:
    first, second = config.output
    first.name, second.name = second.name, first.name


@pytest.mark.parametrize(
    "change",
    [
        lambda config: setattr(config, "name", "decoder"),
        lambda config: operator.setitem(config.input[1].dims, 2, 3),
        lambda config: setattr(config.input[2], "data_type", config.input[1].data_type),
        lambda config: setattr(config.input[0], "name", "embedding"),
        lambda config: operator.setitem(config.output[0].dims, 1, 3),
        lambda config: setattr(config.input[3], "optional", True),
        lambda config: setattr(config, "max_batch_size", 0),
        lambda config: config.dynamic_batching.ClearField("default_queue_policy"),
        lambda config: setattr(config.instance_group[0], "count", 1),
        lambda config: config.output.pop(),
        swap_outputs,
    ],
    ids=[
        "name", "dims of an input", "dtype", "name of an input", "dims of an output", "optional",
        "no batches", "no end of the queue", "a lone instance", "missing output",
        "swapped outputs",
    ],
)  # fmt: skip
def test_the_check_finds_what_is_wrong(
    change: Callable[[model_config_pb2.ModelConfig], object],
) -> None:
    config = read(DECODER.name, "torchscript")
    assert problems(config, DECODER) == []
    change(config)
    assert len(problems(config, DECODER)) == 1


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
def test_everything_modes_ensemble_keeps_the_logits(target: str) -> None:
    config = read(DECODED_MASKS.name, target)
    steps = {step.model_name: step for step in config.ensemble_scheduling.step}
    assert list(steps) == [BULK_DECODER.name, MASKS.name]
    for spec in (BULK_DECODER, MASKS):
        step = steps[spec.name]
        assert dict(step.input_map) == {t.name: t.name for t in spec.inputs}
        assert dict(step.output_map) == {t.name: t.name for t in spec.outputs}
        assert config.max_batch_size == read(spec.name, target).max_batch_size
    assert "low_res_masks" not in {tensor.name for tensor in config.output}


@pytest.mark.parametrize("target", TARGETS)
def test_a_gpu_makes_everything_modes_masks(target: str) -> None:
    masks_by = read_parameters(MaskSettings, parameters_of(AUTOMATIC.name, target)).masks_by
    assert masks_by == (IN_GRAPH if target in ("tensorrt", "torch_aoti") else IN_NUMPY)


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("spec", [AUTOMATIC, IMAGE, CLICK], ids=lambda spec: spec.name)
def test_models_in_python_follow_the_contract(spec: ModelSpec, target: str) -> None:
    config = read(spec.name, target)
    spelled = {"STRING": "BYTES"}  # the configuration's word and the protocol's
    for tensors, expected in ((config.input, spec.inputs), (config.output, spec.outputs)):
        found = [
            (name, spelled.get(dtype, dtype), dims) for name, dtype, dims in described(tensors)
        ]
        assert found == [(tensor.name, tensor.dtype, tensor.dims) for tensor in expected]
    assert [tensor.optional for tensor in config.input] == [
        tensor.optional for tensor in spec.inputs
    ]
    # A free dimension of an input would reach Triton's stub before the model can refuse it.
    assert all(dim > 0 for tensor in config.input for dim in tensor.dims)
    assert config.name == spec.name and config.backend == "python"
    assert (config.max_batch_size > 1) == spec.batched
    assert unbounded(config) == []


def parameters_of(model: str, target: str) -> dict[str, str]:
    config = read(model, target)
    return {name: value.string_value for name, value in config.parameters.items()}


def names_of(*kinds: type) -> set[str]:
    return {field.name for kind in kinds for field in dataclasses.fields(kind)}


@pytest.mark.parametrize("target", TARGETS)
def test_everything_mode_has_its_limits(target: str) -> None:
    parameters = parameters_of(AUTOMATIC.name, target)
    assert set(parameters) == names_of(Limits, CacheSettings, MaskSettings)
    limits = Limits.from_parameters(parameters)
    assert limits.max_points_per_batch <= MAX_PROMPTS
    normal = GenerateSettings(points_per_side=32, crop_n_layers=2)
    assert limits.within(normal).points_per_side == 32


@pytest.mark.parametrize("target", TARGETS)
def test_models_of_clicks_have_their_limits_and_one_cache(target: str) -> None:
    image, click, automatic = (
        parameters_of(spec.name, target) for spec in (IMAGE, CLICK, AUTOMATIC)
    )
    shared = names_of(CacheSettings)
    assert {name: image[name] for name in shared} == {name: automatic[name] for name in shared}
    assert set(image) == names_of(UploadLimits, CacheSettings)
    assert set(click) == names_of(ClickLimits, CacheSettings) - {"tenant_key_file"}
    assert image["target"] == click["target"]
    for parameters, kind in ((image, UploadLimits), (click, ClickLimits)):
        assert read_parameters(kind, parameters) == kind()
    for parameters in (image, click):
        cache = read_parameters(CacheSettings, parameters)
        assert dataclasses.replace(cache, target="torchscript") == CacheSettings()
    assert image["target"] == target.removesuffix("_bf16")


@pytest.mark.parametrize("target", ["torchscript", "onnxruntime", "tensorrt", "torch_aoti"])
@pytest.mark.parametrize("spec", [ENCODER, DECODER], ids=lambda spec: spec.name)
def test_backends_that_batch_do(spec: ModelSpec, target: str) -> None:
    config = read(spec.name, target)
    assert config.WhichOneof("scheduling_choice") == "dynamic_batching"
    assert config.max_batch_size > 1


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("spec", BUILT, ids=lambda spec: spec.name)
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


def is_for_no_request(spec: ModelSpec, shapes: Shapes) -> bool:
    """Whether a profile is of more rows than the configuration lets Triton send."""
    rows = {most[0] for _, _, most in shapes.values()}
    return max(rows) > read(spec.name, "tensorrt").max_batch_size


def test_tensorrt_names_profiles_that_plans_have() -> None:
    named = {}
    for spec in (ENCODER, DECODER, BULK_DECODER, MASKS):
        config = read(spec.name, "tensorrt")
        (group,) = config.instance_group
        named[spec] = list(group.profile)
        assert config.optimization.cuda.output_copy_stream
    for spec, names in (
        (ENCODER, named[ENCODER]),
        (DECODER, named[DECODER] + named[BULK_DECODER]),
        (MASKS, named[MASKS]),
    ):
        profiles = profile_shapes(spec, read(spec.name, "tensorrt").max_batch_size)
        served = [shapes for shapes in profiles if not is_for_no_request(spec, shapes)]
        assert sorted(names) == [str(i) for i in range(len(served))]


@pytest.mark.parametrize("spec", [DECODER, BULK_DECODER], ids=lambda spec: spec.name)
def test_cuda_graphs_are_for_shapes_that_warm_up_and_clients_send(spec: ModelSpec) -> None:
    config = read(spec.name, "tensorrt")
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


@pytest.mark.parametrize("target", TARGETS)
def test_info_follows_the_contract_and_names_its_target(target: str) -> None:
    config = read(INFO.name, target)
    assert described(config.input) == []
    assert described(config.output) == [
        (tensor.name, "STRING", tensor.dims) for tensor in INFO.outputs
    ]
    assert config.backend == "python" and config.max_batch_size == 0
    assert config.parameters["target"].string_value == target.removesuffix("_bf16")


def test_bf16_is_a_hint_beside_the_openvino_configuration() -> None:
    for spec in (*MODELS, AUTOMATIC, IMAGE, INFO):
        # A model without this file would take config.pbtxt, which is another target's.
        assert (REPOSITORY / spec.name / "configs" / "openvino_bf16.pbtxt").is_file()
        plain, hinted = read(spec.name, "openvino"), read(spec.name, "openvino_bf16")
        if spec in BUILT:
            assert "HINT_BF16" not in plain.parameters
            assert hinted.parameters.pop("HINT_BF16").string_value == "YES"
        assert hinted == plain
    # Thresholds between logits are in float32 always.
    assert read(MASKS.name, "openvino_bf16") == read(MASKS.name, "openvino")


@pytest.mark.parametrize("target", TARGETS)
def test_the_decoders_differ_in_what_is_about_load_alone(target: str) -> None:
    one, many = read(DECODER.name, target), read(BULK_DECODER.name, target)
    assert one.ByteSize() > 0 and many.max_batch_size == 1
    for config in (one, many):
        for name in (
            "name",
            "max_batch_size",
            "dynamic_batching",
            "instance_group",
            "model_warmup",
            "optimization",
        ):
            config.ClearField(name)
    many.parameters.pop("memory.enable_memory_arena_shrinkage", None)
    assert one == many


def test_a_cpus_arena_keeps_what_one_request_took() -> None:
    for spec in BUILT:
        parameters = read(spec.name, "onnxruntime").parameters
        assert parameters["enable_mem_pattern"].string_value == "0"
        given_back = "memory.enable_memory_arena_shrinkage" in parameters
        assert given_back == (spec is not DECODER)


@pytest.mark.parametrize("target", TARGETS)
def test_everything_modes_shape_is_warmed_up(target: str) -> None:
    for spec, shape in ((DECODER, (1, 2, 2)), (BULK_DECODER, (MAX_PROMPTS, 2, 2))):
        shapes = [
            tuple(warm_up.inputs["point_coords"].dims)
            for warm_up in read(spec.name, target).model_warmup
        ]
        assert shape in shapes
