"""What the SDK promises to those who install it."""

from __future__ import annotations

import importlib
import inspect
import pickle
import subprocess
import sys
import warnings
from collections.abc import Iterable
from importlib import metadata

import numpy as np
import pytest
from packaging.requirements import Requirement

import slimsam_client
from slimsam_client import Embedding, Prediction, SlimSam, SlimSamError
from slimsam_client.former_names import FORMER_MEMBERS, FORMER_MODULES


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


def required(name: str, extras: Iterable[str] = ()) -> set[str]:
    """A distribution and all that is installed with it, as their metadata say."""
    found = {name}
    for line in metadata.requires(name) or ():
        requirement = Requirement(line)
        marker = requirement.marker
        if marker is None or any(marker.evaluate({"extra": extra}) for extra in ("", *extras)):
            found |= required(requirement.name, requirement.extras)
    return found


def test_only_what_the_metadata_require_is_needed() -> None:
    modules = {"slimsam_client"}  # an editable install lists no modules
    for name in required("slimsam-client"):
        for file in metadata.files(name) or ():
            modules.add(file.parts[0].partition(".")[0])
    assert {"numpy", "PIL", "pycocotools", "tritonclient", "grpc"} <= modules
    assert not {"scipy", "contourpy", "tqdm", "pytest"} & modules
    program = """
import sys
class Refuse:
    def find_spec(self, name, path=None, target=None):
        top = name.partition(".")[0]
        if top not in sys.argv and top not in sys.stdlib_module_names:
            raise ModuleNotFoundError(f"No module named {name!r}: it is not required", name=name)
sys.meta_path.insert(0, Refuse())
import slimsam_client, slimsam_client.cli, slimsam_client.contract, slimsam_client.testing
import slimsam_client.integrations.coco, slimsam_client.integrations.supervision
import slimsam_client.encodings
slimsam_client.SlimSam("localhost:1").close()
print("fine")
"""
    line = [sys.executable, "-c", program, *modules]
    done = subprocess.run(line, capture_output=True, text=True)
    assert done.stdout.strip() == "fine", done.stderr


def test_the_contract_is_pure_data() -> None:
    program = "import sys, slimsam_client.contract; print({*sys.argv} & {*sys.modules})"
    line = [sys.executable, "-c", program, "grpc", "PIL", "tritonclient", "pycocotools"]
    assert subprocess.run(line, capture_output=True, text=True).stdout == "set()\n"


def test_an_unknown_name_is_an_attribute_error() -> None:
    assert set(slimsam_client.__all__) <= set(dir(slimsam_client))
    with pytest.raises(AttributeError, match="no attribute 'SlimSAM'"):
        slimsam_client.SlimSAM  # type: ignore[attr-defined]  # noqa: B018


@pytest.mark.parametrize(("former", "now"), FORMER_MODULES.items())
def test_modules_are_found_by_their_former_names(former: str, now: str) -> None:
    sys.modules.pop(f"slimsam_client.{former}", None)
    with pytest.warns(DeprecationWarning, match=f"slimsam_client.{former} is now .*{now}"):
        module = importlib.import_module(f"slimsam_client.{former}")
    names = [name for name in vars(module) if not name.startswith("_")]
    moved = importlib.import_module(f"slimsam_client.{now}")
    assert names and all(getattr(module, name) is getattr(moved, name) for name in names)


@pytest.mark.parametrize(
    ("module", "former", "now"),
    [(module, *names) for module, members in FORMER_MEMBERS.items() for names in members.items()],
)
def test_members_of_modules_are_found_by_their_former_names(
    module: str, former: str, now: str
) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        found = importlib.import_module(f"slimsam_client.{module}")
    moved = importlib.import_module(f"slimsam_client.{FORMER_MODULES[module]}")
    with pytest.warns(
        DeprecationWarning, match=f"{module}.{former} is now .*{moved.__name__}.{now}"
    ):
        assert getattr(found, former) is getattr(moved, now)


def test_a_former_module_has_no_unknown_members() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        found = importlib.import_module("slimsam_client.colours")
    with pytest.raises(AttributeError, match="'slimsam_client.colours' has no attribute 'colors'"):
        found.colors  # noqa: B018


def test_arguments_are_taken_by_their_former_names() -> None:
    with pytest.warns(DeprecationWarning, match="ssl is now called tls"):
        SlimSam("localhost:1", ssl=True).close()
    with pytest.warns(DeprecationWarning, match="ssl is now called tls"):
        slimsam_client.AsyncSlimSam("localhost:1", ssl=True)
    image, mask = np.zeros((9, 9, 3), np.uint8), np.ones((9, 9), np.bool_)
    with pytest.warns(DeprecationWarning, match="colour is now called color"):
        former = slimsam_client.draw_overlay(image, mask, colour=(1, 2, 3))
    assert former == slimsam_client.draw_overlay(image, mask, color=(1, 2, 3))


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
    assert one.best_logits.shape == (256, 256) and one.best_scores == np.float32(0.9)
    assert many.best_scores.tolist() == [np.float32(0.9), np.float32(0.7)]
    logits[0, 1], logits[1, 0] = 5, 7
    assert many.best_logits.shape == (2, 256, 256)
    assert many.best_logits[:, 0, 0].tolist() == [5, 7]


def test_an_embedding_can_be_pickled_and_not_changed() -> None:
    embedding = Embedding(np.ones((256, 64, 64), np.float16), (3, 4), (768, 1024))
    again = pickle.loads(pickle.dumps(embedding))
    assert np.array_equal(again.image_embeddings, embedding.image_embeddings)
    assert again.original_size == (3, 4)
    with pytest.raises(AttributeError):
        embedding.original_size = (5, 5)  # type: ignore[misc]
