"""The models of clicks without Triton: the SDK's masks, what is encoded when, and mistakes."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from slimsam_client import (
    ImageError,
    NotKeptError,
    PromptError,
    RequestCancelledError,
    SettingsError,
    SlimSam,
)
from slimsam_client.calls import Done, Steps, advance
from slimsam_client.contract import BULK_DECODER, CLICK, ENCODER, IMAGE, NOT_KEPT, Arrays
from slimsam_client.encodings import from_rle, to_box
from slimsam_client.everything.remote import bytes_tensor
from slimsam_client.serving.cache.errors import CacheError
from slimsam_client.serving.cache.identity import PictureKeys
from slimsam_client.serving.cache.layout import CacheSizes
from slimsam_client.serving.cache.pictures import PictureCache
from slimsam_client.serving.cache.settings import CacheSettings
from slimsam_client.serving.clicks import ClickLimits, answer_prompt
from slimsam_client.serving.limits import Watch
from slimsam_client.serving.parameters import read_parameters
from slimsam_client.serving.uploads import UploadLimits, answer_upload
from slimsam_client.testing import FakeServer
from slimsam_client.testing.memory_store import MemoryStore
from slimsam_client.testing.models import infer

KEYS = PictureKeys("a checkpoint")
PIXELS = np.zeros((40, 60, 3), np.uint8)
PIXELS[10:30, 20:45] = 255, 0, 0
INSIDE = [[30, 20]]


def to_file(pixels: Any, form: str = "PNG") -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, form)
    return file.getvalue()


PNG = to_file(PIXELS)


class Server:
    """What drives the two models, as Triton does, and counts what they ask of the others."""

    def __init__(self, cache: PictureCache) -> None:
        self.cache = cache
        self.calls: list[str] = []
        self.keys: PictureKeys | None = KEYS
        self.upload_limits = UploadLimits()
        self.click_limits = ClickLimits()
        self.is_cancelled = False

    def upload(self, content: bytes, *size: int) -> tuple[str, tuple[int, int]]:
        inputs: Arrays = {"image_bytes": bytes_tensor([content])}
        if size:
            inputs["original_size"] = np.array(size, np.int32)
        assert self.keys is not None
        steps = answer_upload(inputs, self.cache, self.keys, self.upload_limits, self.watch())
        answer = self._run(steps)
        assert set(answer) == {tensor.name for tensor in IMAGE.outputs}
        return answer["image_id"][0].decode(), tuple(answer["original_size"].tolist())

    def click(self, image_id: str | bytes, **prompt: Any) -> Arrays:
        inputs = {
            "image_id": bytes_tensor([image_id]),
            "prompt": bytes_tensor([json.dumps(prompt)]),
        }
        arguments = (self.cache, self.keys, self.click_limits, self.watch())
        answer = self._run(answer_prompt(inputs, *arguments))
        assert set(answer) == {tensor.name for tensor in CLICK.outputs}
        return answer

    def watch(self) -> Watch:
        return Watch(lambda: self.is_cancelled, 60, "")

    def _run(self, steps: Steps[Arrays]) -> Arrays:
        step = advance(steps, None)
        while not isinstance(step, Done):
            self.calls.append(step.spec.name)
            rows = {name: array[None] for name, array in step.arrays.items()}
            answer = infer(step.spec, rows, lambda: True, MemoryStore(), "")
            step = advance(steps, {name: array[0] for name, array in answer.items()})
        return step.result


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    cache = PictureCache(tmp_path / "pictures", CacheSizes(2, 6))
    yield Server(cache)
    cache.close()


def test_masks_and_scores_equal_the_sdks(server: Server) -> None:
    prompts: list[dict[str, Any]] = [
        {"points": INSIDE},
        {"points": [[30, 20], [5, 5]], "labels": [1, 0]},
        {"box": [18, 8, 47, 32]},
        {"points": [[[30, 20]], [[5, 5]], [[59, 39]]]},
        {"box": [[18, 8, 47, 32], [0, 0, 9, 9]], "multimask_output": False},
        {"points": []},
    ]
    image_id, size = server.upload(PNG)
    assert size == (40, 60)
    with FakeServer() as fake, SlimSam(fake.url) as sam:
        embedding = sam.embed(PIXELS)
        for prompt in prompts:
            for kind in ("all", "best"):
                expected = sam.predict(embedding, **prompt, masks=kind)
                answer = server.click(image_id, **prompt, masks=kind)
                count = expected.scores.shape[-1]
                masks = expected.masks.reshape(-1, count, 40, 60)
                assert np.array_equal(answer["scores"], expected.scores.reshape(-1, count))
                assert answer["masks"].shape == answer["mask_ids"].shape == masks.shape[:2]
                for place in np.ndindex(masks.shape[:2]):
                    rle = {"size": [40, 60], "counts": answer["masks"][place]}
                    assert np.array_equal(from_rle(rle), masks[place])
                    assert answer["areas"][place] == masks[place].sum()
                    box = to_box(masks[place]) or (0, 0, 0, 0)
                    assert answer["boxes"][place].tolist() == list(box)
        first = sam.predict(embedding, points=INSIDE, masks="best")
        refined = sam.predict(embedding, box=[18, 8, 47, 32], mask_input=first.best_logits)
    mask_id = server.click(image_id, points=INSIDE)["mask_ids"][0, 0].decode()
    answer = server.click(image_id, box=[18, 8, 47, 32], mask_id=mask_id, masks="all")
    assert np.array_equal(answer["scores"][0], refined.scores)
    assert answer["areas"][0].tolist() == refined.masks.sum(axis=(1, 2)).tolist()


def test_a_picture_that_is_kept_is_not_encoded_again(server: Server) -> None:
    image_id, _ = server.upload(PNG)
    assert server.upload(PNG) == (image_id, (40, 60))
    assert server.calls == [ENCODER.name]
    other, _ = server.upload(to_file(PIXELS, "BMP"))
    assert other != image_id and server.calls == [ENCODER.name] * 2
    server.keys = PictureKeys("another checkpoint")
    assert server.upload(PNG)[0] not in (image_id, other)
    assert server.calls == [ENCODER.name] * 3


def test_another_checkpoint_does_not_decode_what_is_kept(server: Server) -> None:
    """The cache outlives a restart, and so does what another checkpoint has put there."""
    image_id, _ = server.upload(PNG)
    server.keys = PictureKeys("another checkpoint")
    for keys in (PictureKeys("another checkpoint"), None):
        server.keys = keys
        with pytest.raises(NotKeptError, match=f"^{NOT_KEPT}picture {image_id}; send it again"):
            server.click(image_id, points=INSIDE)
    server.keys = KEYS
    assert server.click(image_id, points=INSIDE)["areas"].size == 1


def test_a_picture_that_was_reduced_has_masks_of_its_own_size(server: Server) -> None:
    reduced = to_file(np.ascontiguousarray(np.resize(PIXELS, (683, 1024, 3))))
    image_id, size = server.upload(reduced, 2000, 3000)
    assert size == (2000, 3000) and server.upload(reduced)[0] != image_id
    answer = server.click(image_id, points=[[2999, 1999]], format="bits")
    assert len(answer["masks"][0, 0]) == 2000 * 3000 // 8
    said = "original_size: expected that of a picture of 683 x 1024 .*, got 2000 x 3100, which is"
    with pytest.raises(ImageError, match=f"{said} reduced to 661 x 1024"):
        server.upload(reduced, 2000, 3100)
    for wrong in ((0, 5), (-1, -1), (2**17 + 1, 1)):
        with pytest.raises(
            ImageError, match=r"original_size: expected \(height, width\) from 1 to"
        ):
            server.upload(reduced, *wrong)
    # Its masks would be of 11 gigabytes each, for a picture of a few kilobytes.
    with pytest.raises(ImageError, match="original_size: expected at most 178,956,970 pixels"):
        server.upload(reduced, 87_424, 131_072)


def test_forgetting(server: Server) -> None:
    image_id, _ = server.upload(PNG)
    mask_id = server.click(image_id, points=INSIDE)["mask_ids"][0, 0].decode()
    answer = server.click(image_id, forget=True)
    assert answer["masks"].shape == answer["scores"].shape == (0, 1)
    assert server.cache.occupancy()[0].entries == server.cache.occupancy()[1].entries == 0
    for prompt in ({"points": INSIDE}, {"mask_id": mask_id}):
        with pytest.raises(NotKeptError, match=f"^{NOT_KEPT}picture {image_id}; send it again"):
            server.click(image_id, **prompt)
    assert server.click(image_id, forget=True)["masks"].size == 0  # there is nothing any more


def test_masks_that_are_not_kept(server: Server) -> None:
    image_id, _ = server.upload(PNG)
    mask_id = server.click(image_id, points=INSIDE)["mask_ids"][0, 0].decode()
    server.click(image_id, points=[INSIDE] * 6)
    with pytest.raises(NotKeptError, match=f"^{NOT_KEPT}mask {mask_id} of this picture; send the"):
        server.click(image_id, mask_id=mask_id)


def test_masks_of_previews_take_no_room(server: Server) -> None:
    image_id, _ = server.upload(PNG)
    mask_id = server.click(image_id, points=INSIDE)["mask_ids"][0, 0].decode()
    for _ in range(6):
        answer = server.click(image_id, points=[INSIDE] * 6, keep_masks=False)
        assert answer["mask_ids"].tolist() == [[b""]] * 6 and answer["areas"].all()
    assert server.cache.occupancy()[1].entries == 1
    server.click(image_id, mask_id=mask_id)


MISTAKES: dict[str, tuple[dict[str, Any], str]] = {
    "no id": ({"image_id": "photo"}, "image_id: expected an id as the server gave it, 64 hex"),
    "none": ({}, "prompt: expected points, a box or a mask_id, got none of them"),
    "outside": ({"points": [[61.5, 3]]}, "point 0: expected .* within 0..60 and 0..40"),
    "too large an answer": ({"box": [[1, 2, 30, 40]] * 4, "format": "bits"}, "max_answer_bytes"),
    "long": ({"points": [[1, 2]] * 60}, "at most 400 bytes of JSON"),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_mistakes_ask_nothing_of_the_decoder(name: str, server: Server) -> None:
    server.click_limits = ClickLimits(max_prompt_bytes=400, max_answer_bytes=1000)
    image_id, _ = server.upload(PNG)
    prompt, said = MISTAKES[name]
    with pytest.raises(PromptError, match=said):
        server.click(**{"image_id": image_id, **prompt})
    assert server.calls == [ENCODER.name, *[BULK_DECODER.name] * (name == "too large an answer")]


def test_pictures_above_the_limits(server: Server) -> None:
    for limits, said in (
        (UploadLimits(max_pixels=2399), r"at most 2,399 pixels.*or reduce it to 1024 pixels and"),
        (UploadLimits(max_image_bytes=9), r"at most 9 bytes \(the server's max_image_bytes\)"),
        (UploadLimits(formats=("JPEG",)), "of one of the formats JPEG"),
    ):
        server.upload_limits = limits
        with pytest.raises(ImageError, match=said):
            server.upload(PNG)
    assert server.calls == [] and server.cache.occupancy()[0].entries == 0


def test_work_that_nobody_waits_for(server: Server) -> None:
    image_id, _ = server.upload(PNG)
    server.is_cancelled = True
    with pytest.raises(RequestCancelledError):
        server.upload(PNG)
    with pytest.raises(RequestCancelledError):
        server.click(image_id, points=INSIDE)
    assert server.calls == [ENCODER.name]


def test_settings_of_the_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    parameters = {
        "cache_path": str(tmp_path / "pictures"),
        "cache_bytes": "8000000",
        "cache_max_age_seconds": "60",
        "target": "openvino",
    }
    settings = read_parameters(CacheSettings, parameters)
    settings.open().close()
    assert (tmp_path / "pictures").stat().st_size <= 8_000_000
    small = read_parameters(CacheSettings, {**parameters, "cache_bytes": "2000000"})
    with pytest.raises(CacheError, match="cache: expected at least .* bytes, which is room for"):
        small.open()
    monkeypatch.setenv("SLIMSAM_CACHE_PATH", str(tmp_path / "elsewhere"))
    settings.open().close()
    assert (tmp_path / "elsewhere").exists()
    with pytest.raises(CacheError, match="openvino.json: expected what slimsam-build writes"):
        settings.keys(tmp_path)
    found = []
    for info in (
        {"digest": "a", "target": "openvino", "precision": "fp32"},
        {"digest": "a", "target": "openvino", "precision": "bf16"},
        {"digest": "b", "target": "openvino", "precision": "fp32"},
    ):
        (tmp_path / "openvino.json").write_text(json.dumps(info))
        found.append(settings.keys(tmp_path).key_of(PNG))
    secret = tmp_path / "secret"
    with_secret = read_parameters(CacheSettings, {**parameters, "tenant_key_file": str(secret)})
    for content, said in ((None, "No such file"), (b" \n", "got an empty file")):
        if content is not None:
            secret.write_bytes(content)
        with pytest.raises(CacheError, match=f"tenant_key_file: expected .*{said}"):
            with_secret.keys(tmp_path)
    secret.write_bytes(b"secret\n")
    found.append(with_secret.keys(tmp_path).key_of(PNG))
    assert len(set(found)) == 4
    with pytest.raises(SettingsError, match="cache_bytes: expected an integer from 1 on, got '1 G"):
        read_parameters(CacheSettings, {"cache_bytes": "1 GB"})
