"""The tables of targets: the server's knows the files that the build writes."""

from __future__ import annotations

import pytest

from slimsam_build.cli import PRECISIONS
from slimsam_build.errors import TargetError
from slimsam_build.graphs.precision import DTYPES
from slimsam_build.parity import BOUNDS
from slimsam_build.repository import ARTIFACTS
from slimsam_build.targets import TARGETS, find_target
from slimsam_server import targets as served


def test_the_server_serves_the_files_that_the_build_writes() -> None:
    assert {name: target.files for name, target in served.TARGETS.items()} == ARTIFACTS


def test_what_triton_loads_is_what_a_build_ends_with() -> None:
    assert list(TARGETS) == list(ARTIFACTS)
    for name, target in TARGETS.items():
        last = (target.finish.artifact,) if target.finish else target.files
        assert (target.name, last) == (name, ARTIFACTS[name])


def test_every_precision_has_its_bounds_and_its_dtype() -> None:
    assert tuple(BOUNDS) == tuple(DTYPES) == PRECISIONS
    for target in TARGETS.values():
        assert {*target.refused, *target.refused_without_cuda} <= set(PRECISIONS)


@pytest.mark.parametrize(("cuda", "refused"), [(True, False), (False, True)])
def test_the_machine_is_asked_when_a_target_is_looked_up(
    cuda: bool, refused: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: cuda)
    if refused:
        with pytest.raises(TargetError, match="torchscript in fp16: .* no CUDA device"):
            find_target("torchscript", "fp16")
    else:
        assert find_target("torchscript", "fp16") is TARGETS["torchscript"]
