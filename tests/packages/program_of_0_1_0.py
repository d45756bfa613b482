"""What a service that installed slimsam-client 0.1.0 does: each kind of call, on a given server.

Run by test_old_client.py with that client, which it must not import from elsewhere.
Arguments: the server's address, a picture, and the file to write the answers to.
"""

from __future__ import annotations

import asyncio
import sys

import numpy as np

from slimsam_client import (
    AsyncSlimSam,
    ContractError,
    GenerateSettings,
    Predictor,
    SlimSam,
    __version__,
    load_image,
)

CLICK, BOX = (914, 256), (411, 463, 673, 619)
SETTINGS = GenerateSettings(points_per_side=3, pred_iou_thresh=0.7, stability_score_thresh=0.8)


def main(url: str, picture: str, output: str) -> None:
    assert __version__ == "0.1.0"
    answers: dict[str, np.ndarray] = {}

    def keep(name: str, prediction: object) -> None:
        for part in ("masks", "scores", "low_res_logits"):
            answers[f"{name}/{part}"] = getattr(prediction, part)

    with SlimSam(url, timeout=60) as sam:
        sam.wait_until_ready(60)
        assert sam.ready()
        embedding = sam.embed(picture)
        answers["embedding/image_embeddings"] = embedding.image_embeddings
        click = sam.predict(embedding, points=[CLICK])
        keep("points", click)
        keep("box", sam.predict(embedding, box=BOX, multimask_output=False))
        logits = click.low_res_logits[click.best]
        keep("mask", sam.predict(embedding, points=[CLICK], mask_input=logits))
        keep("many", sam.predict(embedding, points=[[CLICK], [(540, 540)]], labels=[[1], [1]]))
        keep("segment", sam.segment(picture, points=[CLICK, (50, 50)], labels=[1, 0]))
        first, second = sam.segment([picture, picture], box=[BOX, BOX])
        assert np.array_equal(first.masks, second.masks)
        predictor = Predictor(sam)
        predictor.set_image(load_image(picture))
        masks, scores, low = predictor.predict(np.array([CLICK]), np.array([1]))
        assert np.array_equal(masks, click.masks) and low.shape == (3, 256, 256)
        records = sam.generate(picture, SETTINGS, on_server=False)
        shape = (len(records), *embedding.original_size)
        answers["generate/masks"] = np.reshape([record.segmentation for record in records], shape)
        try:
            sam.generate(picture, SETTINGS)
        except ContractError as error:
            answers["generate/refused"] = np.array(str(error))
    keep("asynchronous", asyncio.run(asynchronous(url, picture)))
    np.savez(output, **answers)


async def asynchronous(url: str, picture: str) -> object:
    async with AsyncSlimSam(url, timeout=60) as sam:
        return await sam.segment(picture, points=[CLICK, (50, 50)], labels=[1, 0])


if __name__ == "__main__":
    main(*sys.argv[1:])
