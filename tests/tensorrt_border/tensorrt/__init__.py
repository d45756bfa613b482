"""What `tensorrt.plugin` and our builder ask of TensorRT's libraries, without the libraries.

`tensorrt.plugin` is NVIDIA's own, in Python, from the wheel `tensorrt-cu12-bindings`. This module
stands where the libraries do: classes that a plugin is made of, a registry, and a parser and a
builder that ask a plugin what TensorRT asks, in its order. They compute nothing. A "plan" is JSON:
of each plugin its kernel, and its launch for some numbers of groups. A file named `abort` in the
working directory makes the builder end the process, as TensorRT-RTX does.
"""

from __future__ import annotations

import importlib.util
import json
import operator
import os
from collections.abc import Callable
from enum import Enum, IntEnum
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import onnx

_found = importlib.util.find_spec("tensorrt_bindings")
if _found is not None and _found.origin is not None:
    __path__.append(str(Path(_found.origin).parent))

__version__ = "11.4.0.106"
GROUPS = (1, 25, 200)
"""A picture, its windows, and those of a full batch."""


class Logger:
    WARNING = 2

    def __init__(self, level: int = WARNING) -> None:
        self.level = level

    def log(self, level: int, message: str) -> None:
        pass


class IPluginV3:
    pass


class IPluginV3QuickCore:
    pass


class IPluginV3QuickBuild:
    pass


class IPluginV3QuickRuntime:
    pass


class IPluginV3QuickAOTBuild:
    pass


class IPluginCreatorV3Quick:
    pass


class ITensor:
    pass


class ISymExpr:
    pass


DataType = Enum("DataType", "FLOAT HALF BF16 INT8 INT32 INT64 FP8 INT4")
TensorFormat = Enum("TensorFormat", "LINEAR")
PluginFieldType = Enum(
    "PluginFieldType", "INT8 INT16 INT32 INT64 FLOAT16 FLOAT32 FLOAT64 CHAR UNKNOWN"
)
PluginArgType = Enum("PluginArgType", "INT")
PluginArgDataType = Enum("PluginArgDataType", "INT8 INT16 INT32")
TensorRTPhase = Enum("TensorRTPhase", "BUILD RUNTIME")
QuickPluginCreationRequest = Enum(
    "QuickPluginCreationRequest", "UNKNOWN PREFER_JIT PREFER_AOT STRICT_JIT STRICT_AOT"
)
DimensionOperation = Enum(
    "DimensionOperation", "SUM PROD MAX MIN SUB EQUAL LESS FLOOR_DIV CEIL_DIV"
)
BuilderFlag = Enum("BuilderFlag", "TF32")
MemoryPoolType = Enum("MemoryPoolType", "WORKSPACE")
ProfilingVerbosity = Enum("ProfilingVerbosity", "DETAILED")
int32 = DataType.INT32


class NetworkDefinitionCreationFlag(IntEnum):
    PREFER_AOT_PYTHON_PLUGINS = 3


class Dims(tuple[int, ...]):
    MAX_DIMS = 8


class PluginField:
    def __init__(self, name: str, data: Any, kind: Any) -> None:
        self.name, self.data, self.type = name, data, kind


class PluginFieldCollection(list[PluginField]):
    pass


class PluginTensorDesc:
    def __init__(self) -> None:
        self.dims, self.type, self.format, self.scale = Dims(), None, TensorFormat.LINEAR, 1.0


class DynamicPluginTensorDesc:
    def __init__(self, dims: list[int], kind: Any) -> None:
        self.desc = PluginTensorDesc()
        self.desc.dims, self.desc.type = Dims(dims), kind


class IDimensionExpr:
    """A size, as a function of how many groups there are."""

    def __init__(self, value: Callable[[int], int], constant: bool) -> None:
        self.value, self.constant = value, constant

    def is_constant(self) -> bool:
        return self.constant

    def get_constant_value(self) -> int:
        if not self.constant:
            raise RuntimeError("not a constant")
        return self.value(0)


class _Expressions:
    """IExprBuilder."""

    OPERATIONS = {
        DimensionOperation.SUM: operator.add,
        DimensionOperation.PROD: operator.mul,
        DimensionOperation.FLOOR_DIV: operator.floordiv,
        DimensionOperation.CEIL_DIV: lambda a, b: -(-a // b),
    }

    def constant(self, value: int) -> IDimensionExpr:
        return IDimensionExpr(lambda groups: value, True)

    def operation(self, kind: Any, first: IDimensionExpr, second: IDimensionExpr) -> IDimensionExpr:
        apply = self.OPERATIONS[kind]
        return IDimensionExpr(
            lambda groups: apply(first.value(groups), second.value(groups)),
            first.constant and second.constant,
        )


class DimsExprs(list[Any]):
    def __init__(self, sizes: Any) -> None:
        super().__init__([None] * sizes if isinstance(sizes, int) else sizes)


class _SymExprs(list[Any]):
    """ISymExprs: the scalars that a launch passes."""

    nbSymExprs = 0


class _Registry:
    def __init__(self) -> None:
        self.creators: dict[tuple[str, str, str], Any] = {}

    def register_creator(self, creator: Any, namespace: str) -> bool:
        self.creators[creator.name, creator.plugin_version, namespace] = creator
        return True

    def get_creator(self, name: str, version: str, namespace: str) -> Any:
        return self.creators.get((name, version, namespace))


_registry = _Registry()


def get_plugin_registry() -> _Registry:
    return _registry


class Builder:
    def __init__(self, logger: Logger) -> None:
        pass

    def create_network(self, flags: int) -> Any:
        return SimpleNamespace(plugins=[])

    def create_builder_config(self) -> Any:
        def nothing(*arguments: Any) -> None:
            return None

        return SimpleNamespace(
            add_optimization_profile=nothing,
            clear_flag=nothing,
            create_timing_cache=bytes,
            get_timing_cache=nothing,
            set_memory_pool_limit=nothing,
            set_timing_cache=nothing,
        )

    def create_optimization_profile(self) -> Any:
        return SimpleNamespace(set_shape=lambda name, least, best, most: None)

    def build_serialized_network(self, network: Any, config: Any) -> bytes:
        if Path("abort").exists():
            os.abort()
        return json.dumps([_ask(*plugin) for plugin in network.plugins]).encode()


class OnnxParser:
    """Looks each node that is none of ONNX's up as a plugin, as onnx-tensorrt does."""

    def __init__(self, network: Any, logger: Logger) -> None:
        self.network = network
        self.errors: list[str] = []

    @property
    def num_errors(self) -> int:
        return len(self.errors)

    def get_error(self, index: int) -> Any:
        return SimpleNamespace(desc=lambda: self.errors[index])

    def parse_from_file(self, path: str) -> bool:
        graph = onnx.shape_inference.infer_shapes(onnx.load(path)).graph
        values = {value.name: value.type.tensor_type for value in graph.value_info}
        for node in graph.node:
            if node.domain:
                given = {
                    each.name: onnx.helper.get_attribute_value(each) for each in node.attribute
                }
                name, version, space = (
                    node.op_type,
                    given.get("plugin_version", b"").decode(),
                    given.get("plugin_namespace", b"").decode(),
                )
                creator = _registry.get_creator(name, version, space)
                if creator is None:
                    self.errors.append(f"Plugin not found: {name}")
                    return False
                wanted = QuickPluginCreationRequest.UNKNOWN
                if "aot" in given:
                    wanted = QuickPluginCreationRequest.STRICT_AOT
                fields = PluginFieldCollection()
                plugin = creator.create_plugin(name, space, fields, TensorRTPhase.BUILD, wanted)
                inputs = [_described(values[name]) for name in node.input]
                self.network.plugins.append((plugin, inputs))
        return True


def _described(tensor: Any) -> tuple[list[int], DataType]:
    types = {onnx.TensorProto.FLOAT16: DataType.HALF, onnx.TensorProto.BFLOAT16: DataType.BF16}
    return [dim.dim_value or -1 for dim in tensor.shape.dim], types[tensor.elem_type]


def _ask(plugin: Any, inputs: list[tuple[list[int], DataType]]) -> dict[str, Any]:
    """Ask a plugin for its shapes, its kernel and its launch, as TensorRT does while it builds."""
    expressions = _Expressions()
    types = [kind for _, kind in inputs]
    (output_type,) = plugin.get_output_data_types(types, [len(dims) for dims, _ in inputs])
    shapes = [
        DimsExprs(
            [
                IDimensionExpr(lambda groups: groups, False)
                if size == -1
                else expressions.constant(size)
                for size in dims
            ]
        )
        for dims, _ in inputs
    ]
    (output,) = plugin.get_output_shapes(shapes, [], expressions)
    described = [DynamicPluginTensorDesc(dims, kind) for dims, kind in inputs]
    output_dims = [each.value(0) if each.constant else -1 for each in output]
    described.append(DynamicPluginTensorDesc(output_dims, output_type))
    formats = plugin.get_supported_format_combinations(described, len(inputs))
    plugin.configure_plugin(described[:-1], described[-1:])
    tactics = plugin.get_valid_tactics()
    plugin.set_tactic(0)
    launch = SimpleNamespace()
    scalars = _SymExprs()
    plugin.get_launch_params(shapes, described, len(inputs), launch, scalars, expressions)
    in_out = [each.desc for each in described]
    name, code = plugin.get_kernel(in_out[:-1], in_out[-1:])
    return {
        "inputs": [dims for dims, _ in inputs],
        "output": output_dims,
        "types": [each.type.name for each in formats],
        "tactics": tactics,
        "scalars": scalars.nbSymExprs,
        "name": name,
        "ptx": code.decode(),
        "launches": {
            groups: {key: each.expr.value(groups) for key, each in vars(launch).items()}
            for groups in GROUPS
        },
    }
