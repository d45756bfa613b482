"""A fresh start in forked processes, which must not share connections, regions or locks."""

from __future__ import annotations

import os
from typing import Protocol
from weakref import WeakSet


class Forgetful(Protocol):
    """An object that begins anew in a forked process."""

    def forget_parent(self) -> None:
        """Drop what belongs to the parent, without telling anybody; its locks may be held."""


_living: WeakSet[Forgetful] = WeakSet()


def begins_anew_after_fork(thing: Forgetful) -> None:
    """Have `forget_parent` called in every process that is forked while the thing lives."""
    _living.add(thing)


def _forget() -> None:
    for thing in list(_living):
        thing.forget_parent()


if hasattr(os, "register_at_fork"):  # Windows has no forks
    os.register_at_fork(after_in_child=_forget)
