"""What the SDK promises to those who install it."""

from __future__ import annotations

import inspect
import pickle
import subprocess
import sys

import numpy as np
import pytest

import slimsam_client
from slimsam_client import Embedding, Prediction, SlimSam, SlimSamError


def test_names() -> None:
    assert sorted(slimsam_client.__all__) == slimsam_client.__all__
    for name in slimsam_client.__all__:
        assert hasattr(slimsam_client, name)


def test_everything_public_is_documented() -> None:
    for name in slimsam_client.__all__:
        thing = getattr(slimsam_client, name)
        if inspect.isclass(thing) or inspect.isfunction(thing):
            assert thing.__doc__, name
    for name, method in inspect.getmembers(SlimSam, inspect.isfunction):
        if not name.startswith("_"):
            assert method.__doc__, name


def test_errors_are_one_family() -> None:
    for name in slimsam_client.__all__:
        thing = getattr(slimsam_client, name)
        if inspect.isclass(thing) and issubclass(thing, Exception):
            assert issubclass(thing, SlimSamError)
    assert issubclass(slimsam_client.ImageError, ValueError)
    assert issubclass(slimsam_client.PromptError, ValueError)


def test_only_numpy_pillow_and_tritonclient_are_needed() -> None:
    program = """
import sys
class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("torch", "transformers", "slimsam_build", "slimsam_server",
                                      "scipy", "skimage", "openvino", "onnxruntime", "cv2",
                                      "contourpy", "supervision"):
            raise ImportError(name)
sys.meta_path.insert(0, Refuse())
import slimsam_client, slimsam_client.cli, slimsam_client.contract, slimsam_client.testing
import slimsam_client.coco, slimsam_client.detections, slimsam_client.encodings
slimsam_client.SlimSam("localhost:1").close()
print("fine")
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stdout.strip() == "fine", done.stderr


def test_a_prediction_names_its_best() -> None:
    scores = np.array([[0.1, 0.9, 0.5], [0.7, 0.2, 0.3]], np.float32)
    masks = np.zeros((2, 3, 4, 5), bool)
    masks[0, 1] = masks[1, 0, :2] = True
    logits = np.zeros((2, 3, 256, 256), np.float32)
    many = Prediction(masks, scores, logits)
    assert many.best.tolist() == [1, 0]
    assert many.best_masks.shape == (2, 4, 5)
    assert many.best_masks.sum(axis=(1, 2)).tolist() == [20, 10]
    one = Prediction(masks[0], scores[0], logits[0])
    assert int(one.best) == 1 and one.best_masks.shape == (4, 5) and one.best_masks.all()
    assert one.low_res_logits[one.best].shape == (256, 256)


def test_an_embedding_can_be_pickled_and_not_changed() -> None:
    embedding = Embedding(np.ones((256, 64, 64), np.float16), (3, 4), (768, 1024))
    again = pickle.loads(pickle.dumps(embedding))
    assert np.array_equal(again.image_embeddings, embedding.image_embeddings)
    assert again.original_size == (3, 4)
    with pytest.raises(AttributeError):
        embedding.original_size = (5, 5)  # type: ignore[misc]
