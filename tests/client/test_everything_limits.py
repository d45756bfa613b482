"""What bounds a request of everything mode: its limits, and the end between two masks."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from slimsam_client import GenerateSettings, ImageError, RequestCancelledError, SettingsError
from slimsam_client.calls import Done, advance
from slimsam_client.contract import ENCODER, MAX_PROMPTS, Arrays
from slimsam_client.everything.crops import crop_boxes
from slimsam_client.everything.generator import generate_records
from slimsam_client.everything.nms import box_nms
from slimsam_client.everything.remote import everything_arrays, to_png
from slimsam_client.image.load import preprocess
from slimsam_client.serving.automatic import answer_request
from slimsam_client.serving.limits import INTERVAL, Limits, Watch

ALL = GenerateSettings(
    points_per_side=2,
    pred_iou_thresh=0,
    stability_score_thresh=0,
    box_nms_thresh=1,
    crop_nms_thresh=1,
)
PICTURE = np.zeros((60, 80, 3), np.uint8)


def unlike_masks(prompts: int) -> Arrays:
    """A decoder's answer of masks of which no two have one box."""
    logits = np.full((prompts, 4, 256, 256), -9, np.float16)
    for index in range(prompts * 4):
        logits.reshape(-1, 256, 256)[index, : 40 + 5 * index, : 200 - 5 * index] = 9
    return {"low_res_masks": logits, "iou_predictions": np.full((prompts, 4), 0.9, np.float32)}


class Stop(Exception):
    pass


def run(settings: GenerateSettings, check: Callable[[], object]) -> int:
    """Drive everything mode, and give the number of its records."""
    steps = generate_records(PICTURE, settings, None, check)
    step = advance(steps, None)
    while not isinstance(step, Done):
        if step.spec is ENCODER:
            step = advance(steps, {"image_embeddings": np.zeros((256, 64, 64), np.float16)})
        else:
            step = advance(steps, unlike_masks(len(step.arrays["point_labels"])))
    return len(step.result)


@pytest.mark.parametrize("cleaned", [0, 3], ids=["plain", "regions"])
def test_there_is_a_check_before_each_call_and_each_part_of_a_masks_way(cleaned: int) -> None:
    if cleaned:
        pytest.importorskip("scipy", reason="min_mask_region_area needs the extra `regions`")
    settings = GenerateSettings(
        points_per_side=2,
        pred_iou_thresh=0,
        stability_score_thresh=0,
        box_nms_thresh=1,
        min_mask_region_area=cleaned,
    )
    checks = 0

    def count() -> None:
        nonlocal checks
        checks += 1

    records = run(settings, count)
    assert records == 4 * 3
    # Two calls; and each mask is filtered, compared with the others, and written (and compared).
    parts = 4 if cleaned else 3
    assert checks == 2 + parts * records

    def ended_at(number: int) -> Callable[[], None]:
        left = [number]

        def check() -> None:
            left[0] -= 1
            if left[0] < 0:
                raise Stop

        return check

    for number in range(checks):
        with pytest.raises(Stop):
            run(settings, ended_at(number))
    assert run(settings, ended_at(checks)) == records


def test_suppression_alone_can_be_ended() -> None:
    boxes = np.array([[0, 0, 9 + index, 9] for index in range(50)], np.float32)
    with pytest.raises(Stop):
        box_nms(boxes, np.ones(50, np.float32), 1, lambda: (_ for _ in ()).throw(Stop))


def test_a_watch_asks_once_in_a_while_and_says_why_it_ends(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = [1000.0]
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    asked: list[float] = []
    answers = {1000 + 50 * INTERVAL: True}

    def is_cancelled() -> bool:
        asked.append(now[0])
        return answers.get(now[0], False)

    watch = Watch(is_cancelled, 60)
    for _ in range(100):
        watch.check()
    assert asked == [1000]
    now[0] += 50 * INTERVAL
    with pytest.raises(RequestCancelledError, match="^cancelled$"):
        watch.check()
    assert len(asked) == 2
    now[0] = 1060.5
    with pytest.raises(RequestCancelledError, match="within 60 s .the server.s max_seconds., was"):
        watch.check()


def first_step(
    limits: Limits,
    settings: GenerateSettings,
    picture: bytes,
    original_size: tuple[int, int] | None = None,
) -> object:
    inputs = everything_arrays(picture, settings, original_size)
    return next(answer_request(inputs, limits, Watch(lambda: False, 60)))


def test_work_is_counted_over_all_crops() -> None:
    settings = GenerateSettings(
        points_per_side=8, points_per_batch=15, crop_n_layers=2, crop_n_points_downscale_factor=2
    )
    # Crops: 1 of 64 points, 4 of 16, 16 of 4; calls: 1 + 5, 4 (1 + 2), 16 (1 + 1).
    assert Limits(max_points=192, max_calls=50).within(settings) == settings
    with pytest.raises(SettingsError, match=r"at most 191 points .*max_points.* got 192; .*crop_n"):
        Limits(max_points=191).within(settings)
    with pytest.raises(SettingsError, match=r"at most 49 calls .*max_calls.* got 50; .*_per_batch"):
        Limits(max_calls=49).within(settings)
    assert Limits(max_points_per_batch=5).within(settings).points_per_batch == 5
    assert Limits().within(replace(settings, points_per_batch=64)).points_per_batch == MAX_PROMPTS


def test_limits_come_before_the_picture_is_decoded() -> None:
    png = to_png(PICTURE)
    assert first_step(Limits(max_pixels=60 * 80, max_image_bytes=len(png)), ALL, png)
    cut = png[:60]  # it cannot be decoded
    for limits, named in (
        (Limits(max_pixels=60 * 80 - 1), "at most 4,799 pixels, got 80 x 60; .*max_pixels"),
        (Limits(max_image_bytes=59), r"at most 59 bytes \(the server's max_image_bytes\), got 60"),
        (Limits(formats=("JPEG", "BMP")), "of one of the formats JPEG, BMP, got something else"),
        (Limits(max_points=3), "at most 3 points"),
        (Limits(max_settings_bytes=9), r"at most 9 bytes of JSON \(the server's max_settings_"),
    ):
        with pytest.raises(ValueError, match=named):
            first_step(limits, ALL, cut)


def test_the_original_size_of_a_picture_is_one_that_it_can_have() -> None:
    reduced = to_png(np.zeros((768, 1024, 3), np.uint8))
    pixels = 3000 * 4000
    assert first_step(Limits(max_original_pixels=pixels), ALL, reduced, (3000, 4000))
    for size, picture, named in (
        # What is above the limit is not decoded.
        ((3000, 4000), b"", "original_size: expected at most 11,999,999 pixels .*max_original_pix"),
        ((0, 4000), b"", "original_size: expected .* from 1 to 131,072, got 0, 4000"),
        ((3000, 3900), reduced, "that of a picture of 768 x 1024 .* is reduced to 788 x 1024"),
        ((60, 80), to_png(PICTURE), "that of a picture of 60 x 80 .* is reduced to 768 x 1024"),
    ):
        with pytest.raises(ImageError, match=named):
            first_step(Limits(max_original_pixels=pixels - (not picture)), ALL, picture, size)


def test_crops_of_a_reduced_picture_are_those_of_the_original() -> None:
    picture = np.random.default_rng(0).integers(0, 256, (60, 80, 3), np.uint8)
    settings = replace(ALL, crop_n_layers=1)
    expected = [tuple(box) for layer in crop_boxes(600, 800, 1, 512 / 1500) for box in layer]
    steps = generate_records(picture, settings, None, original_size=(600, 800))
    step, frames = advance(steps, None), []
    while not isinstance(step, Done):
        if step.spec is ENCODER:
            frames.append(step.arrays["image"])
            step = advance(steps, {"image_embeddings": np.zeros((256, 64, 64), np.float16)})
        else:
            step = advance(steps, unlike_masks(len(step.arrays["point_labels"])))
    for frame, (x0, y0, x1, y1) in zip(frames, expected, strict=True):
        # Within half a pixel of the reduced picture.
        top, bottom, left, right = (round(side / 10) for side in (y0, y1, x0, x1))
        part = np.ascontiguousarray(picture[top:bottom, left:right])
        assert np.array_equal(frame, preprocess(part)[0])
    assert step.result
    for record in step.result:
        x, y, width, height = map(int, record.crop_box)
        assert (x, y, x + width, y + height) in expected
        assert record.segmentation.shape == (600, 800)


@pytest.mark.parametrize("name", ["max_points", "max_seconds", "max_pixels"])
@pytest.mark.parametrize("text", ["0", "-5", "many", "", "1e6"])
def test_a_limit_that_is_no_number_keeps_the_model_from_loading(name: str, text: str) -> None:
    with pytest.raises(SettingsError, match=f"{name}: expected an integer from 1 on, got '{text}'"):
        Limits.from_parameters({name: text})


@pytest.mark.parametrize("text", ["", "EPS", "PNG EPS", "JPG", "PNG, JPEG"])
def test_formats_are_names_that_pillow_has_and_no_programs(text: str) -> None:
    with pytest.raises(SettingsError, match="formats: expected Pillow's names"):
        Limits.from_parameters({"formats": text})


def test_parameters_of_others_are_left_alone() -> None:
    limits = Limits.from_parameters({"formats": "PNG  WEBP", "max_pixels": "5", "PATH": "x"})
    assert limits == Limits(formats=("PNG", "WEBP"), max_pixels=5)
