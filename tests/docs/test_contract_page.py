"""The contract's page, by a client that has nothing but that page; and by one in Node.js."""

from __future__ import annotations

import json
import shutil
import subprocess
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
from numpy.typing import NDArray
from PIL import Image
from skimage import data

from slimsam_client import GenerateSettings, SlimSam, load_image
from slimsam_client.contract import DECODER
from slimsam_client.image import preprocess
from slimsam_server import EmbeddedServer

ROOT = Path(__file__).parents[2]
PAGE = "docs/contract.md"
SCENE = ROOT / "examples/scene.png"
METHOD = "/inference.GRPCInferenceService/ModelInfer"


@pytest.fixture(scope="module")
def protoset(
    blocks_of: Callable[[str], list[Any]], tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """What the page's first block writes."""
    directory = tmp_path_factory.mktemp("protoset")
    [block] = [block for block in blocks_of(PAGE) if block.language == "python"]
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(directory)
        exec(compile(block.code, PAGE, "exec"), {})
    return directory / "inference.protoset"


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
    answer = infer(json_format.Parse(text, messages("ModelInferRequest")()), timeout=60)
    assert [output.name for output in answer.outputs] == ["iou_predictions"]
    scores = np.frombuffer(answer.raw_output_contents[0], "<f4")
    with SlimSam(server.grpc_url) as sam:
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
    answer = infer(request, timeout=120)
    index = [output.name for output in answer.outputs].index("areas")
    with SlimSam(server.grpc_url, timeout=120) as sam:
        records = sam.generate("photo.jpg", GenerateSettings(**settings))
    assert len(records) >= 3
    areas = np.frombuffer(answer.raw_output_contents[index], "<i8")
    assert areas.tolist() == [record.area for record in records]


def decoder_request(messages: Callable[[str], Any], prompts: int) -> Any:
    request = messages("ModelInferRequest")(model_name=DECODER.name)
    free = iter((prompts, 2, prompts, 2))
    for tensor in DECODER.inputs:
        shape = [1, *(next(free) if dim == -1 else dim for dim in tensor.dims)]
        width = {"FP16": 2, "FP32": 4, "INT32": 4}[tensor.dtype]
        request.inputs.add(name=tensor.name, datatype=tensor.dtype, shape=shape)
        request.raw_input_contents.append(bytes(int(np.prod(shape)) * width))
    return request


def status_of(infer: Any, request: Any, timeout: float = 60) -> str:
    with pytest.raises(grpc.RpcError) as caught:
        infer(request, timeout=timeout)
    return str(caught.value.code().name)


def test_the_size_at_which_other_clients_refuse_an_answer(
    messages: Callable[[str], Any], infer: Any
) -> None:
    assert "is reached at P = 8 " in (ROOT / PAGE).read_text("utf-8")
    infer(decoder_request(messages, 7), timeout=60)
    request = decoder_request(messages, 8)
    assert status_of(infer, request) == "RESOURCE_EXHAUSTED"
    request.outputs.add(name="iou_predictions")
    assert len(infer(request, timeout=60).raw_output_contents) == 1


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
    assert status_of(infer, decoder_request(messages, 64), timeout=0.01) == "DEADLINE_EXCEEDED"


@pytest.fixture(scope="module")
def node(protoset: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """examples/node, installed."""
    for program in ("node", "npm"):
        if shutil.which(program) is None:
            pytest.skip(f"{program} is not installed")
    directory = tmp_path_factory.mktemp("node")
    shutil.copytree(
        ROOT / "examples/node",
        directory,
        ignore=shutil.ignore_patterns("node_modules"),
        dirs_exist_ok=True,
    )
    shutil.copy(protoset, directory)
    subprocess.run(["npm", "ci", "--ignore-scripts"], cwd=directory, check=True)
    return directory


def shrunk() -> NDArray[np.uint8]:
    return np.asarray(Image.fromarray(data.rocket()).resize((1500, 1111)))


IMAGES: dict[str, Callable[[], NDArray[np.uint8]]] = {
    "as it is": lambda: load_image(SCENE),
    "enlarged, odd": lambda: data.chelsea()[:299, :447],
    "shrunk": shrunk,
}


@pytest.mark.parametrize("kind", list(IMAGES))
def test_node(kind: str, node: Path, server: EmbeddedServer) -> None:
    image = np.ascontiguousarray(IMAGES[kind]())
    height, width = image.shape[:2]
    point = (width * 0.4, height * 0.55)
    Image.fromarray(image).save(node / "image.png")

    def run(*arguments: str) -> bytes:
        done = subprocess.run(["node", *arguments], cwd=node, capture_output=True, timeout=60)
        assert done.returncode == 0, done.stderr.decode()
        return done.stdout

    (node / "image.rgb").write_bytes(image.tobytes())
    frame = run(
        "--input-type=module",
        "--eval",
        f"""
        import {{ readFileSync }} from "node:fs";
        import {{ toFrame }} from "./frame.mjs";
        process.stdout.write(toFrame(readFileSync("image.rgb"), {height}, {width}).frame);
        """,
    )
    assert frame == preprocess(image)[0].tobytes()

    said = json.loads(run("click.mjs", "image.png", *map(str, point), server.grpc_url))
    with SlimSam(server.grpc_url) as sam:
        expected = sam.segment(image, points=[point])
    assert said["best"] == int(expected.best)
    assert said["score"] == pytest.approx(float(expected.scores.max()), abs=1e-5)
    # Sums in another order may turn a logit of nearly 0.
    area = int(expected.best_masks.sum())
    assert area > 1000 and abs(said["area"] - area) <= 1e-3 * area


def test_node_says_what_is_wrong(node: Path) -> None:
    done = subprocess.run(
        ["node", "click.mjs", str(SCENE), "1", "1", "127.0.0.1:1"],
        cwd=node, capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert done.returncode == 1
    assert done.stderr.startswith("127.0.0.1:1: 14 UNAVAILABLE")
