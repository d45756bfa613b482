"""Images that the server keeps, by the SDK: the same results as with an embedding, in kilobytes."""

from __future__ import annotations

import asyncio
import io
import pickle
import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import astuple
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from turns import wait_for_turns

from slimsam_client import (
    AsyncSlimSam,
    BatchError,
    ContractError,
    Embedding,
    GenerateSettings,
    ImageError,
    MaskError,
    MaskRecord,
    NotKeptError,
    Predictor,
    PromptError,
    RequestTimeoutError,
    ServerError,
    SettingsError,
    SlimSam,
    UploadedImage,
    cli,
)
from slimsam_client.clicks import predict as clicks_predict, upload as uploads
from slimsam_client.clicks.predict import ASKS, SENDS
from slimsam_client.contract import (
    CLICK,
    ENCODER,
    IMAGE,
    IMAGE_KEY_HEADER,
    MAX_PROMPTS,
    TOO_LARGE,
)
from slimsam_client.relay import Relay, RelayedMasks
from slimsam_client.results import image_key
from slimsam_client.testing import FakeServer, servicer
from slimsam_client.testing.memory_store import MemoryStore
from slimsam_client.transport import channel, routes
from slimsam_client.transport.routes import ranked

Connect = Callable[..., Any]

INSIDE = [[30, 20]]
LEFT, RIGHT = [18, 8, 47, 32], [0, 0, 9, 9]


def picture() -> NDArray[np.uint8]:
    pixels = np.full((40, 60, 3), 40, np.uint8)
    pixels[10:30, 20:45] = (200, 40, 90)
    pixels[33:38, 50:58] = (10, 250, 250)
    return pixels


PIXELS = picture()
PROMPTS: dict[str, dict[str, Any]] = {
    "a click": {"points": INSIDE},
    "clicks": {"points": [[30, 20], [5, 5]], "labels": [1, 0]},
    "a box": {"box": LEFT},
    "a box that sticks out by less than a pixel": {"box": [-0.5, 0, 60.9, 40]},
    "a click in a box": {"points": INSIDE, "box": LEFT},
    "boxes": {"box": [LEFT, RIGHT]},
    "more than one request takes": {"points": np.linspace(1, 39, 36).reshape(18, 1, 2)},
    "as many boxes": {"box": np.tile([LEFT, RIGHT], (9, 1)).astype(np.float32)},
    "lists of different lengths": {
        "points": [[[30, 20], [5, 5]], [[54, 35]]],
        "labels": [[1, 0], [1]],
    },
    "points for some boxes": {"points": [[], INSIDE], "box": [RIGHT, LEFT]},
    "points for none of the boxes": {"points": [[], []], "box": [RIGHT, LEFT]},
    "nothing": {"points": []},
}


@pytest.fixture
def fake() -> Iterator[FakeServer]:
    with FakeServer() as server:
        yield server


def models(fake: FakeServer) -> list[str]:
    return [request.model for request in fake.requests]


def encoded(form: str, pixels: NDArray[np.uint8] = PIXELS) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, form)
    return file.getvalue()


@pytest.mark.parametrize("prompt", PROMPTS.values(), ids=PROMPTS)
def test_results_are_those_of_an_embedding(
    prompt: dict[str, Any], fake: FakeServer, connect: Connect
) -> None:
    sam = connect(fake.url)
    image, embedding = sam.upload(PIXELS), sam.embed(PIXELS)
    assert image.original_size == (40, 60)
    for multimask_output in (True, False):
        options = {**prompt, "multimask_output": multimask_output}
        for kind in ("all", "best", "rle", None):
            found, expected = (
                sam.predict(one, **options, masks=kind) for one in (image, embedding)
            )
            for name in ("scores", *(("masks",) if kind in ("all", "best") else ())):
                one, other = getattr(found, name), getattr(expected, name)
                assert np.array_equal(one, other) and one.dtype == other.dtype, (name, kind)
            assert found.has_masks == expected.has_masks
            if kind == "rle":
                assert found.rles == expected.rles
            if kind is None:
                assert np.array_equal(found.low_res_logits, expected.low_res_logits)
                assert found.low_res_logits.dtype == np.float32
            assert found.mask_ids.shape == expected.scores.shape


def test_a_mask_is_refined_by_its_id_or_its_logits(fake: FakeServer, connect: Connect) -> None:
    sam = connect(fake.url)
    image, embedding = sam.upload(PIXELS), sam.embed(PIXELS)
    first, expected = sam.predict(image, INSIDE), sam.predict(embedding, INSIDE)
    refined = sam.predict(embedding, box=LEFT, mask_input=expected.best_logits)
    for mask_input in (first.best_mask_ids, expected.best_logits, expected.best_logits[None]):
        found = sam.predict(image, box=LEFT, mask_input=mask_input)
        assert np.array_equal(found.masks, refined.masks)
    alone = sam.predict(image, mask_input=first.best_mask_ids)
    assert np.array_equal(
        alone.masks, sam.predict(embedding, mask_input=expected.best_logits).masks
    )
    many = sam.predict(image, box=[LEFT, RIGHT])
    assert many.best_mask_ids.shape == (2,)
    assert np.array_equal(many.best_mask_ids, many.mask_ids[:, 1])
    with pytest.raises(MaskError, match="low_res_logits: .* or ask with masks=None"):
        _ = first.best_logits
    with pytest.raises(MaskError, match="mask_ids: expected a prediction of an uploaded image"):
        _ = expected.best_mask_ids


@pytest.mark.parametrize(
    ("prompt", "said"),
    [
        ({}, "expected points, a box or a mask_input, got none"),
        ({"points": [[61.5, 3]]}, "point 0: expected"),
        ({"box": [5, 5, 1, 1]}, "box"),
        ({"points": INSIDE, "labels": [7]}, "label"),
        ({"points": np.ones((70, 2))}, "at most 64 points per prompt"),
        ({"mask_input": np.zeros((3, 3))}, "mask_input"),
        ({"mask_input": "mask 1"}, "mask_input: expected logits, or a mask_id"),
    ],
)
def test_wrong_prompts_are_refused_alike(
    prompt: dict[str, Any], said: str, fake: FakeServer, connect: Connect
) -> None:
    sam = connect(fake.url)
    image, embedding = sam.upload(PIXELS), sam.embed(PIXELS)
    before = len(fake.requests)
    with pytest.raises(PromptError, match=said):
        sam.predict(image, **prompt)
    assert len(fake.requests) == before  # before anything is sent
    if not isinstance(prompt.get("mask_input"), str):
        with pytest.raises(PromptError, match=said):
            sam.predict(embedding, **prompt)


@pytest.mark.parametrize("kind", ["all", "best", "rle", None])
def test_masks_of_previews_are_not_kept(kind: Any, fake: FakeServer, connect: Connect) -> None:
    sam = connect(fake.url)
    for image in (sam.upload(PIXELS), sam.embed(PIXELS)):
        expected = sam.predict(image, [INSIDE, INSIDE], masks=kind)
        found = sam.predict(image, [INSIDE, INSIDE], masks=kind, keep_masks=False)
        assert np.array_equal(found.scores, expected.scores)
        with pytest.raises(MaskError, match="mask_ids: expected .* or with keep_masks=False"):
            _ = found.mask_ids
        with pytest.raises(SettingsError, match="keep_masks: expected True or False, got 'no'"):
            sam.predict(image, INSIDE, keep_masks="no")
    single = sam.predict(sam.upload(PIXELS), INSIDE, masks=kind, keep_masks=False)
    assert np.array_equal(single.scores, expected.scores[0])


@pytest.mark.parametrize("caller", ["Predictor", "slimsam segment"])
def test_what_nobody_can_refine_by_its_id_is_not_kept(
    caller: str, fake: FakeServer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A mask that is kept makes another one go, which somebody may be refining."""
    put: list[bytes] = []
    monkeypatch.setattr(MemoryStore, "put_mask", lambda store, *mask: put.append(mask[1]))
    if caller == "Predictor":
        with SlimSam(fake.url) as sam:
            predictor = Predictor(sam)
            predictor.set_image(PIXELS)
            logits = predictor.predict(INSIDE, [1])[2]
            predictor.predict(INSIDE, [1], mask_input=logits[0])
    else:
        (tmp_path / "photo.png").write_bytes(encoded("PNG"))
        arguments = ["segment", str(tmp_path / "photo.png"), "--point", "30,20", "--url", fake.url]
        assert cli.main(arguments) == 0
    assert CLICK.name in models(fake) and not put


def test_what_is_not_kept_is_sent_again(fake: FakeServer, connect: Connect) -> None:
    sam = connect(fake.url)
    image = sam.upload(PIXELS)
    first = sam.predict(image, INSIDE)
    fake.forget_uploads()
    before = len(fake.requests)
    again = sam.predict(pickle.loads(pickle.dumps(image)), INSIDE)
    assert models(fake)[before:] == [*[CLICK.name] * 3, IMAGE.name, CLICK.name]
    assert np.array_equal(again.masks, first.masks)
    with pytest.raises(NotKeptError, match="not kept here: mask .* send the prompt that gave it"):
        sam.predict(image, INSIDE, mask_input=first.best_mask_ids)
    assert models(fake)[-1] == CLICK.name  # the image was there


def test_another_checkpoint_gives_another_id(fake: FakeServer, connect: Connect) -> None:
    sam = connect(fake.url)
    image = sam.upload(PIXELS)
    former = image.image_id
    fake.digest = "0" * 64
    before = len(fake.requests)
    sam.predict(image, INSIDE)
    assert models(fake)[before:] == [*[CLICK.name] * 3, IMAGE.name, CLICK.name]
    assert image.image_id != former
    before = len(fake.requests)
    sam.predict(image, INSIDE)
    assert models(fake)[before:] == [CLICK.name]


@pytest.mark.parametrize("changes", [1, 9], ids=["once", "each time"])
def test_a_checkpoint_that_changes_between_two_requests_of_a_prompt(
    changes: int, fake: FakeServer, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Masks of one prompt are of one checkpoint."""
    sam = connect(fake.url)
    image = sam.upload(PIXELS)
    plain, digests = clicks_predict._ask, [f"{number:064x}" for number in range(changes)]
    used = []

    def ask(*arguments: Any) -> Any:
        found = yield from plain(*arguments)
        used.append(image.image_id)
        if digests:
            fake.digest = digests.pop()
        return found

    monkeypatch.setattr(clicks_predict, "_ask", ask)
    many = [INSIDE] * (2 * MAX_PROMPTS + 1)
    if changes == 1:
        assert sam.predict(image, many).scores.shape == (2 * MAX_PROMPTS + 1, 3)
        # The second is of another than the first, and all three are asked again.
        assert len(used) == 5 and len(set(used[2:])) == 1
    else:
        with pytest.raises(NotKeptError, match="expected one checkpoint to answer the 3 requests"):
            sam.predict(image, many)
        assert len(used) == 6


@pytest.mark.parametrize("count", [2, 3, 4, 5, 20])
def test_servers_that_take_turns(count: int, connect: Connect) -> None:
    """What one of them keeps, picture or mask, is found there by asking again."""
    with ExitStack() as stack:
        servers = [stack.enter_context(FakeServer()) for _ in range(count)]
        sam = connect("ipv4:" + ",".join(server.url for server in servers), 60)
        image = sam.upload(PIXELS)
        for _ in range(6):
            first = sam.predict(image, INSIDE)
            sam.predict(image, INSIDE, mask_input=first.best_mask_ids)


def test_a_list_of_many_addresses(connect: Connect) -> None:
    """Each picture has its server, which is known before it is asked; dead ones are passed over."""
    with ExitStack() as stack:
        alive = [stack.enter_context(FakeServer()) for _ in range(3)]
        dead = [stack.enter_context(closed_port()) for _ in range(17)]
        urls = [*dead, *(server.url for server in alive)]
        sam = connect("ipv4:" + ",".join(urls), 60)
        # Another client has another order of the list, and the same of each picture's servers.
        other = connect("ipv4:" + ",".join(reversed(urls)), 60)
        images = [sam.upload(np.roll(PIXELS, number, axis=1)) for number in range(12)]
        for image in images * 2:
            first = sam.predict(image, INSIDE)
            other.predict(image, INSIDE, mask_input=first.best_mask_ids)
        sent = [name for server in alive for name in models(server)]
        assert (sent.count(IMAGE.name), sent.count(CLICK.name)) == (12, 48)
        keys = [
            {str(one.headers.get(IMAGE_KEY_HEADER)) for one in server.requests} for server in alive
        ]
        assert sorted(key for part in keys for key in part) == sorted(one.key for one in images)

        # One is killed: another takes over its pictures, and no other moves.
        dying = max(range(3), key=lambda index: len(keys[index]))
        alive[dying].stop()
        for server in alive:
            server.requests.clear()
        for image in images:
            for client in (sam, other):
                assert client.predict(image, INSIDE).masks.any()
        sent = [name for server in alive for name in models(server)]
        assert sent.count(IMAGE.name) == len(keys[dying])
        left = [
            {str(one.headers.get(IMAGE_KEY_HEADER)) for one in server.requests} for server in alive
        ]
        assert left[dying] == set()
        assert all(was <= now for was, now in zip(keys, left, strict=True) if was != keys[dying])

        # What names no picture takes turns, as before.
        others = [server for index, server in enumerate(alive) if index != dying]
        wait_for_turns(sam, *others)
        sam.embed([PIXELS] * 12)
        assert all(server.requests for server in others)
        assert sum(len(server.requests) for server in others) == 12


def test_what_other_servers_of_a_list_keep_is_found(connect: Connect) -> None:
    """A picture that was sent to one of them alone, or to the next while its own was away."""
    with ExitStack() as stack:
        servers = [stack.enter_context(FakeServer()) for _ in range(4)]
        sam = connect("ipv4:" + ",".join(server.url for server in servers), 60)
        for server in servers:
            direct = connect(server.url)
            image = direct.upload(PIXELS)
            first = direct.predict(image, INSIDE)
            sam.predict(image, INSIDE, mask_input=first.best_mask_ids)
            server.forget_uploads()


def test_a_server_of_a_list_that_is_not_ready_is_passed_over(connect: Connect) -> None:
    with ExitStack() as stack:
        servers = [stack.enter_context(FakeServer()) for _ in range(3)]
        sam = connect("ipv4:" + ",".join(server.url for server in servers), 60)
        image = sam.upload(PIXELS)
        (own,) = [server for server in servers if IMAGE.name in models(server)]
        own.unready.update((CLICK.name, IMAGE.name))
        assert sam.predict(image, INSIDE).masks.any()


def test_a_lost_mask_costs_no_upload(connect: Connect) -> None:
    """The server that misses it has the image, and sending that to another would not help."""
    with ExitStack() as stack:
        servers = [stack.enter_context(FakeServer()) for _ in range(3)]
        sam = connect("ipv4:" + ",".join(server.url for server in servers), 60)
        image = sam.upload(PIXELS)
        with pytest.raises(NotKeptError, match=f"not kept here: mask {'ab' * 32} "):
            sam.predict(image, INSIDE, mask_input="ab" * 32)
        sent = [name for server in servers for name in models(server)]
        assert sent.count(IMAGE.name) == 1 and all(map(models, servers))


def test_a_busy_server_of_a_list_keeps_clicks_alone(connect: Connect) -> None:
    """Its pictures are there; new ones go to the next."""
    full = (grpc.StatusCode.RESOURCE_EXHAUSTED, "too many requests")
    with FakeServer() as one, FakeServer() as two:
        sam = connect(f"ipv4:{one.url},{two.url}", 60)
        image = sam.upload(PIXELS)
        own, other = (one, two) if IMAGE.name in models(one) else (two, one)
        own.fail(CLICK.name, *full)
        sam.predict(image, INSIDE)
        assert models(own) == [IMAGE.name, CLICK.name, CLICK.name] and not models(other)
        own.fail(IMAGE.name, *full, times=99)
        sam.upload(PIXELS)
        assert models(other) == [IMAGE.name]


def test_errors_name_the_server_of_a_list(connect: Connect) -> None:
    with FakeServer() as one, FakeServer() as two:
        sam = connect(f"ipv4:{one.url},{two.url}", 60)
        sam.upload(PIXELS)
        own = one if models(one) else two
        own.fail(IMAGE.name, grpc.StatusCode.INTERNAL, "out of memory")
        with pytest.raises(ServerError, match=rf"^ipv4:{own.url} .*out of memory"):
            sam.upload(PIXELS)


def test_a_server_of_a_list_that_says_nothing_is_passed_over(
    connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Then gRPC gives up to connect after 20 s, longer than any timeout here.
    monkeypatch.setattr(channel, "CONNECT_SECONDS", 600.0)
    # However little of its second a busy machine has left for the request that is to find out, and
    # however long it takes with those that follow.
    monkeypatch.setattr(routes, "SILENT_SECONDS", 0.0)
    monkeypatch.setattr(routes, "SILENT_AGAIN", 3600.0)
    with FakeServer() as server, socket.create_server(("127.0.0.1", 0)) as silent:
        urls = [f"ipv4:127.0.0.1:{silent.getsockname()[1]}", f"ipv4:{server.url}"]
        sam = connect("ipv4:" + ",".join(url.removeprefix("ipv4:") for url in urls), 60)
        files = [encoded("PNG", np.roll(PIXELS, number, axis=1)) for number in range(60)]
        of_silent = [one for one in files if ranked(image_key(one), urls)[0] == urls[0]]
        sam.upload(next(one for one in files if one not in of_silent))
        with pytest.raises(RequestTimeoutError):
            sam.with_options(timeout=1).upload(of_silent[0])
        soon = sam.with_options(timeout=15)
        for file in of_silent[:3]:
            assert soon.predict(soon.upload(file), INSIDE).masks.any()


@contextmanager
def closed_port() -> Iterator[str]:
    """An address at which nobody listens, and which nobody else takes meanwhile."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield f"127.0.0.1:{taken.getsockname()[1]}"


def test_a_server_that_keeps_nothing(fake: FakeServer, connect: Connect) -> None:
    """As one whose cache is too small for its users."""
    sam = connect(fake.url)
    image = sam.upload(PIXELS)
    fake.fail(CLICK.name, grpc.StatusCode.NOT_FOUND, "not kept here: picture 12", times=ASKS)
    with pytest.raises(NotKeptError, match="picture 12"):
        sam.predict(image, INSIDE)
    assert models(fake).count(CLICK.name) == ASKS
    assert models(fake).count(IMAGE.name) == 1 + len(SENDS)
    assert len(sam.predict(image, INSIDE).scores) == 3


@pytest.mark.parametrize("missing", [IMAGE.name, CLICK.name])
def test_a_server_without_these_models(missing: str, fake: FakeServer, connect: Connect) -> None:
    sam = connect(fake.url)
    fake.unready.add(missing)
    image = sam.upload(PIXELS)
    assert isinstance(image, Embedding)
    assert isinstance(sam.upload([PIXELS])[0], Embedding)
    assert len(sam.predict(image, INSIDE).masks) == 3


def test_what_travels(fake: FakeServer, connect: Connect) -> None:
    sam = connect(fake.url)
    for content in (encoded("JPEG"), encoded("PNG"), encoded("WEBP")):
        for source in (content, io.BytesIO(content)):
            assert sam.upload(source).content == content
    for source in (PIXELS, Image.fromarray(PIXELS), encoded("BMP"), encoded("TIFF")):
        image = sam.upload(source)
        assert Image.open(io.BytesIO(image.content)).format == "PNG"
        assert np.array_equal(np.asarray(Image.open(io.BytesIO(image.content))), PIXELS)
    turned = Image.fromarray(PIXELS)
    exif = turned.getexif()
    exif[0x0112] = 6  # turned by a quarter
    file = io.BytesIO()
    turned.save(file, "JPEG", exif=exif, quality=95)
    assert sam.upload(file.getvalue()).original_size == (60, 40)
    for wrong in (b"no image", encoded("PNG")[:60], "missing.png", 7):
        with pytest.raises(ImageError):
            sam.upload(wrong)


def as_rle(record: MaskRecord) -> dict[str, Any]:
    return record.as_dict("coco_rle")


def larger() -> NDArray[np.uint8]:
    return np.ascontiguousarray(PIXELS.repeat(30, axis=0).repeat(30, axis=1))


@pytest.mark.parametrize("why", ["pixels", "bytes", "the server's limit"])
def test_what_is_above_a_limit_is_reduced(
    why: str, fake: FakeServer, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    sam = connect(fake.url)
    if why == "pixels":
        monkeypatch.setattr(uploads, "MAX_PIXELS", 10**6)
    elif why == "bytes":
        monkeypatch.setattr(uploads, "MAX_BYTES", 1000)
    else:
        said = f"expected at most 1,000 pixels; make it smaller, or {TOO_LARGE}"
        fake.fail(IMAGE.name, grpc.StatusCode.INVALID_ARGUMENT, said)
    image = sam.upload(larger())
    assert image.is_reduced and image.original_size == (1200, 1800)
    assert Image.open(io.BytesIO(image.content)).size == (1024, 683)
    found = sam.predict(image, [[900, 600]])
    expected = sam.predict(sam.embed(larger()), [[900, 600]])
    assert np.array_equal(found.masks, expected.masks)
    fake.forget_uploads()
    assert np.array_equal(sam.predict(image, [[900, 600]]).masks, expected.masks)
    settings = GenerateSettings(points_per_side=3)
    expected = sam.generate(larger(), settings)
    assert expected
    for on_server in (True, False):
        found = sam.generate(image, settings, on_server=on_server)
        assert list(map(as_rle, found)) == list(map(as_rle, expected))


def test_lists(fake: FakeServer, connect: Connect) -> None:
    sam = connect(fake.url)
    images = sam.upload([PIXELS, encoded("PNG"), PIXELS[:, ::-1]])
    assert [type(image) for image in images] == [UploadedImage] * 3
    assert images[2].image_id != images[0].image_id
    with pytest.raises(BatchError) as caught:
        sam.upload([PIXELS, b"no image"])
    assert list(caught.value.errors) == [1]
    assert caught.value.results[0].image_id == images[0].image_id
    with pytest.raises(ImageError, match="got a list of numbers"):
        sam.upload([[1, 2], [3, 4]])


def test_everything_of_an_uploaded_image(fake: FakeServer, connect: Connect) -> None:
    sam = connect(fake.url)
    image = sam.upload(PIXELS)
    settings = GenerateSettings(points_per_side=4)
    for on_server in (True, False):
        found = sam.generate(image, settings, on_server=on_server)
        expected = sam.generate(PIXELS, settings, on_server=on_server)
        assert found and list(map(astuple, found)) == list(map(astuple, expected))


def test_the_predictor_clicks_on_an_uploaded_image(fake: FakeServer) -> None:
    with SlimSam(fake.url) as sam:
        predictor = Predictor(sam)
        predictor.set_image(PIXELS)
        found = predictor.predict(np.array(INSIDE), np.array([1]))
        refined = predictor.predict(np.array(INSIDE), np.array([1]), mask_input=found[2][1:2])
        assert set(models(fake)) == {IMAGE.name, CLICK.name}
        expected = sam.predict(sam.embed(PIXELS), INSIDE)
        assert np.array_equal(found[0], expected.masks)
        assert np.array_equal(found[2], expected.low_res_logits)
        assert refined[0].shape == (3, 40, 60)
        for _ in range(2):  # the image is encoded for it once
            embedding = predictor.get_image_embedding()
        assert models(fake).count(ENCODER.name) == 2
        assert np.array_equal(embedding[0], sam.embed(PIXELS).image_embeddings)
        predictor.set_image(PIXELS[..., ::-1], "BGR")
        assert np.array_equal(predictor.predict(np.array(INSIDE), np.array([1]))[0], found[0])
        assert models(fake).count(ENCODER.name) == 3
        with pytest.raises(ImageError, match="expected one image, got a list"):
            predictor.set_image([PIXELS])  # type: ignore[arg-type]
        assert not predictor.is_image_set


def changed(name: str, change: Callable[[NDArray[Any]], NDArray[Any]]) -> Callable[..., Any]:
    real = servicer.infer

    def infer(spec: Any, *arguments: Any) -> Any:
        answer = real(spec, *arguments)
        return {**answer, name: change(answer[name])} if name in answer else answer

    return infer


def every(value: Any) -> Callable[[NDArray[Any]], NDArray[Any]]:
    def change(array: NDArray[Any]) -> NDArray[Any]:
        other = np.empty(array.shape, np.object_)
        other[...] = value
        return other

    return change


@pytest.mark.parametrize(
    ("name", "change", "kind"),
    [
        ("image_id", every(b"photo.jpg"), "all"),
        ("image_id", every(b"\xff" * 64), "all"),
        ("original_size", lambda size: size + 1, "all"),
        ("masks", every(b"\xff\x00"), "all"),
        ("masks", every(b""), "rle"),
        ("masks", every(b"P" * 5), "best"),
        ("masks", every(b"\x00" * 7), None),
        ("masks", every(b"\xff" * 2**17), None),
        ("masks", lambda masks: masks[:, :, :1], "all"),
        ("masks", lambda masks: np.concatenate([masks, masks], axis=1), "rle"),
        ("scores", lambda scores: scores[:, :, :1], "all"),
        ("mask_ids", every(b"x" * 64), "all"),
        ("mask_ids", every(b""), None),
    ],
)
def test_answers_are_checked(
    name: str,
    change: Callable[[NDArray[Any]], NDArray[Any]],
    kind: Any,
    fake: FakeServer,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with SlimSam(fake.url) as sam:
        image = sam.upload(PIXELS)
        monkeypatch.setattr(servicer, "infer", changed(name, change))
        with pytest.raises(ContractError, match=f"expected the output {name} "):
            if name in ("image_id", "original_size"):
                sam.upload(PIXELS)
            else:
                sam.predict(image, INSIDE, masks=kind)


def test_a_relay_expects_the_ids_that_its_prompt_asks_for(
    fake: FakeServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(servicer, "infer", changed("mask_ids", every(b"")))

    async def click(prompt: bytes) -> RelayedMasks:
        async with AsyncSlimSam(fake.url) as sam:
            relay = Relay(sam)
            kept = await relay.upload(encoded("PNG"))
            return await relay.click(kept.image_id, prompt)

    found = asyncio.run(click(b'{"points": [[30, 20]], "keep_masks": false}'))
    assert found.mask_ids.tolist() == [[None]]
    for more in (b"", b', "keep_masks": true'):
        with pytest.raises(ContractError, match="expected the output mask_ids "):
            asyncio.run(click(b'{"points": [[30, 20]]' + more + b"}"))
