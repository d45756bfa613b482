"""The calls on pages for other languages, by a client that has nothing but those pages."""

from __future__ import annotations

import base64
import json
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
from google.protobuf import json_format
from google.protobuf.descriptor_pb2 import FileDescriptorSet
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message_factory import GetMessageClass

from slimsam_client import GenerateSettings, SlimSam, load_image
from slimsam_client.contract import DECODER
from slimsam_client.encodings import to_rle
from slimsam_client.image.load import preprocess
from slimsam_server import EmbeddedServer

ROOT = Path(__file__).parents[2]
PAGE = "docs/contract.md"
SCENE = ROOT / "examples/scene.png"
METHOD = "/inference.GRPCInferenceService/ModelInfer"


@pytest.fixture(scope="module")
def messages(protoset: Path) -> Callable[[str], Any]:
    """Message classes, made from the descriptors alone."""
    pool = DescriptorPool()
    for file in FileDescriptorSet.FromString(protoset.read_bytes()).file:
        pool.Add(file)
    assert pool.FindMethodByName("inference.GRPCInferenceService.ModelInfer")
    return lambda name: GetMessageClass(pool.FindMessageTypeByName(f"inference.{name}"))


@pytest.fixture
def infer(messages: Callable[[str], Any], server: EmbeddedServer) -> Any:
    """Sends a request by a channel with gRPC's own defaults."""
    with grpc.insecure_channel(server.grpc_url) as channel:
        yield channel.unary_unary(
            METHOD,
            request_serializer=lambda request: request.SerializeToString(),
            response_deserializer=messages("ModelInferResponse").FromString,
        )


def from_page(blocks: list[Any], name: str, directory: Path) -> str:
    """The JSON that a block of the page writes."""
    [block] = [block for block in blocks if f"cat > {name}" in block.code]
    subprocess.run(["bash", "-euc", block.code], cwd=directory, check=True)
    return (directory / name).read_text("utf-8")


def test_a_click_as_json(
    blocks_of: Callable[[str], list[Any]],
    messages: Callable[[str], Any],
    infer: Any,
    server: EmbeddedServer,
    workplace: Path,
) -> None:
    frame, input_size = preprocess(load_image(SCENE))
    assert input_size.tolist() == [768, 1024]  # as the page has it
    (workplace / "frame.rgb").write_bytes(frame.tobytes())
    text = from_page(blocks_of(PAGE), "request.json", workplace)
    answer = infer(json_format.Parse(text, messages("ModelInferRequest")()), timeout=300)
    assert [output.name for output in answer.outputs] == ["iou_predictions"]
    scores = np.frombuffer(answer.raw_output_contents[0], "<f4")
    with SlimSam(server.grpc_url, timeout=300) as sam:
        expected = sam.segment(SCENE, points=[(914, 256)])
    np.testing.assert_allclose(scores[1:], expected.scores, atol=1e-5)


def test_everything_as_json(
    blocks_of: Callable[[str], list[Any]],
    messages: Callable[[str], Any],
    infer: Any,
    server: EmbeddedServer,
    workplace: Path,
) -> None:
    text = from_page(blocks_of(PAGE), "everything.json", workplace)
    # The demo checkpoint scores itself too low for SAM's thresholds.
    settings = {"points_per_side": 8, "pred_iou_thresh": 0.5, "stability_score_thresh": 0.7}
    request = json_format.Parse(text, messages("ModelInferRequest")())
    assert json.loads(request.inputs[1].contents.bytes_contents[0]) == {"points_per_side": 8}
    request.inputs[1].contents.bytes_contents[0] = json.dumps(settings).encode()
    answer = infer(request, timeout=300)
    index = [output.name for output in answer.outputs].index("areas")
    with SlimSam(server.grpc_url, timeout=300) as sam:
        records = sam.generate("photo.jpg", GenerateSettings(**settings))
    assert len(records) >= 3
    areas = np.frombuffer(answer.raw_output_contents[index], "<i8")
    assert areas.tolist() == [record.area for record in records]


def test_an_upload_and_a_click_as_json(
    blocks_of: Callable[[str], list[Any]],
    messages: Callable[[str], Any],
    infer: Any,
    server: EmbeddedServer,
    workplace: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def send(name: str) -> dict[str, bytes]:
        """The answer's bytes, read from its JSON, as grpcurl prints it."""
        text = from_page(blocks_of("docs/clicks.md"), name, workplace)
        answer = infer(json_format.Parse(text, messages("ModelInferRequest")()), timeout=300)
        said = json_format.MessageToDict(answer)
        names = [output["name"] for output in said["outputs"]]
        contents = map(base64.b64decode, said["rawOutputContents"])
        return dict(zip(names, contents, strict=True))

    uploaded = send("upload.json")
    assert list(uploaded) == ["image_id"]
    monkeypatch.setenv("image_id", uploaded["image_id"][4:].decode())
    clicked = send("click.json")
    with SlimSam(server.grpc_url, timeout=300) as sam:
        expected = sam.segment("photo.jpg", points=[(420, 310)])
    counts = to_rle(expected.best_masks)["counts"]
    assert clicked["masks"][4:] == counts
    assert clicked["scores"] == expected.scores.max().tobytes()


def decoder_request(messages: Callable[[str], Any], prompts: int, points: int = 2) -> Any:
    request = messages("ModelInferRequest")(model_name=DECODER.name)
    free = iter((prompts, points, prompts, points))
    for tensor in DECODER.inputs:
        shape = [1, *(next(free) if dim == -1 else dim for dim in tensor.dims)]
        width = {"FP16": 2, "FP32": 4, "INT32": 4}[tensor.dtype]
        request.inputs.add(name=tensor.name, datatype=tensor.dtype, shape=shape)
        request.raw_input_contents.append(bytes(int(np.prod(shape)) * width))
    return request


def status_of(infer: Any, request: Any, timeout: float = 300) -> str:
    with pytest.raises(grpc.RpcError) as caught:
        infer(request, timeout=timeout)
    return str(caught.value.code().name)


def test_the_size_at_which_other_clients_refuse_an_answer(
    messages: Callable[[str], Any], infer: Any
) -> None:
    assert "is reached at P = 8 " in (ROOT / PAGE).read_text("utf-8")
    infer(decoder_request(messages, 7), timeout=300)
    request = decoder_request(messages, 8)
    assert status_of(infer, request) == "RESOURCE_EXHAUSTED"
    request.outputs.add(name="iou_predictions")
    assert len(infer(request, timeout=300).raw_output_contents) == 1


def test_statuses(messages: Callable[[str], Any], infer: Any) -> None:
    unknown = decoder_request(messages, 1)
    unknown.model_name = "sam"
    assert status_of(infer, unknown) == "NOT_FOUND"
    mixed = decoder_request(messages, 1)
    mixed.inputs[4].contents.fp32_contents.append(0)
    assert status_of(infer, mixed) == "INVALID_ARGUMENT"
    short = decoder_request(messages, 1)
    short.raw_input_contents[0] = b""
    assert status_of(infer, short) == "INVALID_ARGUMENT"
    # While it computes: a deadline that passes as the request arrives can end tritonserver 2.51.
    late = decoder_request(messages, 64, points=16)  # seconds of work
    late.outputs.add(name="iou_predictions")
    began = time.monotonic()
    infer(late, timeout=300)
    took = time.monotonic() - began
    assert status_of(infer, late, timeout=max(0.1, took / 10)) == "DEADLINE_EXCEEDED"
