"""FakeServer beside the real server: every request goes to both, and they say the same."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
from google.protobuf import text_format
from numpy.typing import NDArray
from raw_requests import (
    FORBIDDEN,
    IMPOSSIBLE_SIZES,
    MALFORMED,
    Arrays,
    decoder_inputs,
    encoder_inputs,
    ensemble_inputs,
    infer,
    nan_prompts,
)
from tritonclient.grpc import model_config_pb2, service_pb2 as messages
from tritonclient.grpc.service_pb2_grpc import GRPCInferenceServiceStub
from tritonclient.utils import np_to_triton_dtype, serialize_byte_tensor

from slimsam_client import SlimSam
from slimsam_client.contract import (
    AUTOMATIC,
    BULK_DECODER,
    CLICK,
    DECODER,
    ENCODER,
    ENSEMBLE,
    IMAGE,
    MODELS,
    ModelSpec,
    model_version,
)
from slimsam_client.everything.remote import to_png
from slimsam_client.testing import FakeServer
from slimsam_client.testing.messages import MAX_BATCH_SIZES

ROOT = Path(__file__).parents[2]
UNLIMITED = [("grpc.max_receive_message_length", -1)]


@pytest.fixture
def real(demo_server: Any) -> str:
    url: str = demo_server.grpc_url
    return url


@pytest.fixture
def fake(real: str) -> Iterator[FakeServer]:
    """A fake of the real one's checkpoint, which versions of models are of."""
    with FakeServer() as server, SlimSam(real) as sam:
        server.digest = sam.model_info().digest
        yield server


def message(model: str, arrays: Arrays, outputs: tuple[str, ...] = ()) -> Any:
    request = messages.ModelInferRequest(model_name=model, id="some-id")
    for name, array in arrays.items():
        request.inputs.add(
            name=name, datatype=np_to_triton_dtype(array.dtype), shape=list(array.shape)
        )
        is_bytes = array.dtype == np.object_
        request.raw_input_contents.append(
            serialize_byte_tensor(array).item() if is_bytes else array.tobytes()
        )
    for name in outputs:
        request.outputs.add(name=name)
    return request


def answer(url: str, method: str, request: Any) -> Any:
    """A server's answer, or its error."""
    with grpc.insecure_channel(url, options=UNLIMITED) as channel:
        try:
            return getattr(GRPCInferenceServiceStub(channel), method)(request, timeout=60)
        except grpc.RpcError as error:
            return error


def strings(*values: bytes) -> NDArray[np.object_]:
    array = np.empty(len(values), np.object_)
    array[:] = values
    return array


@pytest.mark.parametrize("spec", [*MODELS, AUTOMATIC, IMAGE, CLICK], ids=lambda spec: spec.name)
def test_metadata_is_the_real_servers(spec: ModelSpec, real: str, fake: FakeServer) -> None:
    request = messages.ModelMetadataRequest(name=spec.name)
    expected = answer(real, "ModelMetadata", request)
    found = answer(fake.url, "ModelMetadata", request)
    assert found.platform == "slimsam_client.testing"
    found.platform = expected.platform
    assert found == expected


@pytest.mark.parametrize(
    ("name", "version"),
    [
        *(("nobody", ""), ("slimsam", "2"), ("slimsam", "1")),
        *(("slimsam_decoder", "1"), ("slimsam_decoder", model_version("f" * 64))),
    ],
)
def test_models_and_versions_that_are_there(
    name: str, version: str, real: str, fake: FakeServer
) -> None:
    asked = messages.ModelReadyRequest(name=name, version=version)
    assert answer(fake.url, "ModelReady", asked) == answer(real, "ModelReady", asked)
    described = messages.ModelMetadataRequest(name=name, version=version)
    inferred = messages.ModelInferRequest(model_name=name, model_version=version)
    for method, request in (("ModelMetadata", described), ("ModelInfer", inferred)):
        expected, found = answer(real, method, request), answer(fake.url, method, request)
        assert isinstance(found, grpc.RpcError) == isinstance(expected, grpc.RpcError)
        if isinstance(expected, grpc.RpcError):
            assert found.code() == expected.code()


INPUTS: dict[str, Callable[[], Arrays]] = {
    ENCODER.name: encoder_inputs,
    DECODER.name: decoder_inputs,
    BULK_DECODER.name: decoder_inputs,
    ENSEMBLE.name: ensemble_inputs,
}
PIXELS = np.zeros((30, 40, 3), np.uint8)
PICTURE = strings(to_png(PIXELS))
STRICT = strings(b'{"points_per_side": 2, "pred_iou_thresh": 1.0}')  # no mask is so good
REDUCED = strings(to_png(np.zeros((768, 1024, 3), np.uint8)))


def click(image_id: str, prompt: Any, **arrays: NDArray[Any]) -> Callable[[], Any]:
    texts = {"image_id": image_id, "prompt": json.dumps(prompt)}
    inputs = {name: strings(text.encode())[None] for name, text in texts.items()}
    return lambda: message(CLICK.name, {**inputs, **arrays})


GOOD: dict[str, Callable[[], Any]] = {
    **{name: lambda name=name: message(name, INPUTS[name]()) for name in INPUTS},
    "no prompts": lambda: message(DECODER.name, decoder_inputs(0, 3)),
    "no prompts for the ensemble": lambda: message(ENSEMBLE.name, ensemble_inputs(0, 0)),
    "16 prompts": lambda: message(DECODER.name, decoder_inputs(16, 2)),
    "17 prompts": lambda: message(DECODER.name, decoder_inputs(17, 2)),
    "64 points": lambda: message(ENSEMBLE.name, ensemble_inputs(1, 64)),
    "one output": lambda: message(DECODER.name, decoder_inputs(), ("iou_predictions",)),
    "one output twice": lambda: message(
        DECODER.name, decoder_inputs(), ("low_res_masks", "low_res_masks")
    ),
    "values beside the shapes": lambda: with_values(message(ENCODER.name, encoder_inputs())),
    "a picture": lambda: message(AUTOMATIC.name, {"image_bytes": PICTURE, "settings": STRICT}),
    "an upload": lambda: message(IMAGE.name, {"image_bytes": PICTURE}),
    "an upload with its size": lambda: message(
        IMAGE.name, {"image_bytes": REDUCED, "original_size": np.array([300, 400], np.int32)}
    ),
    "a picture to forget": click("0" * 64, {"forget": True}),
    "strings beside the shapes": lambda: with_values(
        message(AUTOMATIC.name, {"image_bytes": PICTURE, "settings": STRICT})
    ),
}


def with_values(request: Any) -> Any:
    """The same request, its values not raw."""
    kinds = {"UINT8": ("uint_contents", np.uint8), "INT32": ("int_contents", np.int32)}
    for tensor, raw in zip(request.inputs, request.raw_input_contents, strict=True):
        if tensor.datatype == "BYTES":
            tensor.contents.bytes_contents.append(raw[4:])
        else:
            field, dtype = kinds[tensor.datatype]
            getattr(tensor.contents, field).extend(np.frombuffer(raw, dtype).tolist())
    del request.raw_input_contents[:]
    return request


def described(response: Any) -> dict[str, tuple[str, list[int], int]]:
    assert not isinstance(response, grpc.RpcError), response
    return {
        tensor.name: (tensor.datatype, list(tensor.shape), len(raw))
        for tensor, raw in zip(response.outputs, response.raw_output_contents, strict=True)
    }


@pytest.mark.parametrize("name", GOOD)
def test_answers_have_the_real_servers_shapes(name: str, real: str, fake: FakeServer) -> None:
    request = GOOD[name]()
    expected, found = (answer(url, "ModelInfer", request) for url in (real, fake.url))
    assert described(found) == described(expected)
    for field in ("model_name", "model_version", "id"):
        assert getattr(found, field) == getattr(expected, field)


def unknown_output(request: Any) -> None:
    request.outputs.add(name="nothing")


def further_input(request: Any) -> None:
    request.inputs.add(name="more", datatype="FP32", shape=[1, 1])
    request.raw_input_contents.append(b"1234")


def input_twice(request: Any) -> None:
    request.inputs.append(request.inputs[0])
    request.raw_input_contents.append(request.raw_input_contents[0])


def no_inputs(request: Any) -> None:
    del request.inputs[:], request.raw_input_contents[:]


def no_contents(request: Any) -> None:
    del request.raw_input_contents[:]


def one_content_less(request: Any) -> None:
    del request.raw_input_contents[-1]


def one_byte_less(request: Any) -> None:
    request.raw_input_contents[1] = request.raw_input_contents[1][:-1]


def one_byte_more(request: Any) -> None:
    request.raw_input_contents[1] += b"1"


def raw_and_values(request: Any) -> None:
    request.inputs[1].contents.int_contents.append(1)


def values_of_another_kind(request: Any) -> None:
    request.inputs[1].contents.int64_contents.append(1)
    del request.raw_input_contents[:]


def no_such_dtype(request: Any) -> None:
    request.inputs[1].datatype = "FLOAT"


def negative_batch(request: Any) -> None:
    request.inputs[1].shape[0] = -1


def another_batch(request: Any) -> None:
    request.inputs[1].shape[0] = 2
    request.raw_input_contents[1] *= 2


def no_batch(request: Any) -> None:
    for index, tensor in enumerate(request.inputs):
        tensor.shape[0] = 0
        request.raw_input_contents[index] = b""


def no_shape(request: Any) -> None:
    del request.inputs[1].shape[:]


def unknown_region(request: Any) -> None:
    request.inputs[-1].parameters["shared_memory_region"].string_param = "nowhere"
    request.inputs[-1].parameters["shared_memory_byte_size"].int64_param = 4
    del request.raw_input_contents[-1]


DAMAGES = [
    unknown_output, further_input, input_twice, no_inputs, no_contents, one_content_less,
    one_byte_less, one_byte_more, raw_and_values, values_of_another_kind, no_such_dtype,
    negative_batch, another_batch, no_batch, no_shape, unknown_region,
]  # fmt: skip


def damaged(model: str, damage: Callable[[Any], None]) -> Any:
    request = message(model, INPUTS[model]())
    damage(request)
    return request


def cut_off() -> Any:
    request = message(AUTOMATIC.name, {"image_bytes": strings(b"no picture")})
    request.raw_input_contents[0] = request.raw_input_contents[0][:-1]
    return request


def lying(name: str, dtype: str, shape: list[int]) -> Any:
    """What ended the server while the model took pixels: their number wraps around to none."""
    request = messages.ModelInferRequest(model_name=AUTOMATIC.name)
    request.inputs.add(name=name, datatype=dtype, shape=shape)
    request.raw_input_contents.append(b"")
    return request


def everything(**arrays: NDArray[Any]) -> Callable[[], Any]:
    return lambda: message(AUTOMATIC.name, {"settings": STRICT, **arrays})


BAD: dict[str, Callable[[], Any]] = {
    **{name: lambda make=make: message(DECODER.name, make()) for name, make in MALFORMED.items()},
    **{
        f"{model}: {damage.__name__}": lambda model=model, damage=damage: damaged(model, damage)
        for model in INPUTS
        for damage in DAMAGES
    },
    "no image": everything(),
    "pixels": everything(image=PIXELS),
    "pixels beside a picture": everything(image=PIXELS, image_bytes=PICTURE),
    "no picture": everything(image_bytes=strings(b"no picture")),
    "a batch axis": everything(image_bytes=PICTURE[None]),
    "pixels for a picture": everything(image_bytes=PIXELS),
    "two pictures": everything(image_bytes=strings(b"x", b"y")),
    "a shape that lies": lambda: lying("image", "UINT8", [2**40, 2**40, 3]),
    "a shape that lies for a picture": lambda: lying("image_bytes", "BYTES", [2**62]),
    "a settings bomb": everything(
        image_bytes=PICTURE,
        settings=strings(b'{"points_per_side": 256, "crop_n_layers": 4, "points_per_batch": 1}'),
    ),
    "PostScript": everything(image_bytes=strings(b"%!PS-Adobe-3.0 EPSF-3.0\n")),
    "no JSON": everything(image_bytes=PICTURE, settings=strings(b"{")),
    "an unknown setting": everything(image_bytes=PICTURE, settings=strings(b'{"points": 3}')),
    "a setting too high": everything(
        image_bytes=PICTURE, settings=strings(b'{"points_per_side": 999}')
    ),
    "an unknown input": everything(image_bytes=PICTURE, more=np.zeros(1, np.float32)),
    "half a string": cut_off,
    "no upload": lambda: message(IMAGE.name, {"original_size": np.array([3, 4], np.int32)}),
    "an upload that is none": lambda: message(IMAGE.name, {"image_bytes": strings(b"no picture")}),
    "an upload of another size": lambda: message(
        IMAGE.name, {"image_bytes": PICTURE, "original_size": np.array([3, 4], np.int32)}
    ),
    "a click on nothing": click("0" * 64, {"points": [[1, 1]]}),
    "a click on no id": click("photo.jpg", {"points": [[1, 1]]}),
    "a click without a prompt": lambda: message(
        CLICK.name,
        {
            "image_id": strings(b"0" * 64)[None],
            "mask_input": np.zeros((1, 1, 256, 256), np.float32),
        },
    ),
    "a click that is no object": click("0" * 64, [1]),
    "a click with an unknown field": click("0" * 64, {"point": [1, 1]}),
    "a click of two rows": lambda: message(
        CLICK.name,
        {name: strings(b"0" * 64, b"0" * 64)[:, None] for name in ("image_id", "prompt")},
    ),
    "a click with another mask": click(
        "0" * 64, {"points": [[1, 1]]}, mask_input=np.zeros((1, 1, 64, 64), np.float32)
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_malformed_requests_get_the_real_servers_status(
    name: str, real: str, fake: FakeServer
) -> None:
    request = BAD[name]()
    expected, found = (answer(url, "ModelInfer", request) for url in (real, fake.url))
    assert isinstance(expected, grpc.RpcError) and isinstance(found, grpc.RpcError)
    assert found.code() == expected.code(), (found.details(), expected.details())
    if ": expected" in expected.details():  # in our own words, not Triton's
        assert found.details() == expected.details()
    (seen,) = fake.requests
    assert seen.status == found.code()


@pytest.mark.parametrize("name", FORBIDDEN)
def test_forbidden_values_get_nan_as_from_the_graphs(name: str, fake: FakeServer) -> None:
    make, refused = FORBIDDEN[name]
    assert nan_prompts(infer(fake.url, DECODER.name, make())) == refused


@pytest.mark.parametrize("size", IMPOSSIBLE_SIZES)
def test_an_impossible_size_gets_nan_as_from_the_graphs(
    size: tuple[int, int], fake: FakeServer
) -> None:
    arrays = {**ensemble_inputs(2), "input_size": np.array([size], np.int32)}
    assert nan_prompts(infer(fake.url, ENSEMBLE.name, arrays)) == [True, True]


def test_the_largest_batch_is_the_repositorys() -> None:
    for spec in MODELS:
        path = ROOT / "model_repository" / spec.name / "config.pbtxt"
        config = text_format.Parse(path.read_text(), model_config_pb2.ModelConfig())
        assert config.max_batch_size == MAX_BATCH_SIZES[spec]


def test_rows_of_a_batch_are_answered_each_for_itself(fake: FakeServer) -> None:
    rng = np.random.default_rng(1)
    count = MAX_BATCH_SIZES[ENSEMBLE]
    batch = {
        "image": rng.integers(0, 40, (count, 1024, 1024, 3), np.uint8),
        "input_size": rng.integers(200, 1025, (count, 2)).astype(np.int32),
        "point_coords": rng.uniform(0, 200, (count, 2, 1, 2)).astype(np.float32),
        "point_labels": np.ones((count, 2, 1), np.int32),
        "mask_input": rng.normal(0, 1, (count, 1, 256, 256)).astype(np.float32),
        "has_mask_input": np.arange(count, dtype=np.float32)[:, None] % 2,
    }
    together = infer(fake.url, ENSEMBLE.name, batch).as_numpy("low_res_masks")
    alone = [
        infer(
            fake.url, ENSEMBLE.name, {name: array[row : row + 1] for name, array in batch.items()}
        ).as_numpy("low_res_masks")
        for row in range(count)
    ]
    assert np.array_equal(together, np.concatenate(alone))
    assert len({row.tobytes() for row in alone}) == count
