"""The two clients are one: the same methods, parameters, defaults and annotations."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import pytest

from slimsam_client import AsyncSlimSam, SlimSam

# Where a client speaks of itself, and the methods of the two protocols of `with`.
RENAMED = {
    "AsyncSlimSam": "SlimSam",
    "__aenter__": "__enter__",
    "__aexit__": "__exit__",
}
NOT_AWAITED = {"__init__", "with_options"}
OF_TASKS = {"newest"}
"""What makes sense for asyncio alone."""


def methods(client: type) -> dict[str, Callable[..., Any]]:
    """What users call, by the synchronous name."""
    named = {
        RENAMED.get(name, name): method
        for name, method in vars(client).items()
        if inspect.isfunction(method)
    }
    return {
        name: method
        for name, method in named.items()
        if not name.startswith("_") or name in ("__init__", "__enter__", "__exit__")
    }


def test_the_same_methods() -> None:
    assert {"embed", "predict", "segment", "generate", "close"} < set(methods(SlimSam))
    assert list(methods(SlimSam)) == [
        name for name in methods(AsyncSlimSam) if name not in OF_TASKS
    ]


@pytest.mark.parametrize("name", list(methods(SlimSam)))
def test_the_same_signature(name: str) -> None:
    blocking, awaited = methods(SlimSam)[name], methods(AsyncSlimSam)[name]
    signatures = [inspect.signature(method) for method in (blocking, awaited)]
    expected, found = (list(signature.parameters.values()) for signature in signatures)
    assert found == expected  # names, kinds, defaults and annotations
    returned = str(signatures[1].return_annotation)
    assert RENAMED.get(returned, returned) == signatures[0].return_annotation
    assert not inspect.iscoroutinefunction(blocking)
    assert inspect.iscoroutinefunction(awaited) == (name not in NOT_AWAITED)
