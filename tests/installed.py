"""The client's tests run where it alone is installed; what compares it with more asks here."""

from __future__ import annotations

from importlib.util import find_spec

import pytest


def require(*packages: str) -> None:
    """Skip the test where one is not installed; where it is, a fault in importing it shows."""
    for package in packages:
        if find_spec(package) is None:
            pytest.skip(f"{package} is not installed here: this test needs more than the client")
