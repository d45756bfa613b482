"""Names of 0.1.0 that have changed since: they can be imported, with a warning, until 1.0."""

from __future__ import annotations

import importlib
import sys
import warnings
from collections.abc import Callable, Sequence
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any, Final

FORMER_MODULES: Final = {
    "coco": "integrations.coco",
    "colours": "drawing.colors",
    "contact_sheet": "drawing.contact_sheet",
    "detections": "integrations.supervision",
    "overlay": "drawing.overlay",
    "tls": "transport.tls",
}
"""Modules: their names now, by their names in 0.1.0."""

FORMER_MEMBERS: Final[dict[str, dict[str, str]]] = {
    "colours": {
        "Colour": "Color",
        "checked_colour": "checked_color",
        "distinct_colours": "distinct_colors",
    },
    "contact_sheet": {"CELL_COLOUR": "CELL_COLOR"},
    "overlay": {
        "BACKGROUND_COLOUR": "BACKGROUND_COLOR",
        "BOX_COLOUR": "BOX_COLOR",
        "DOT_COLOURS": "DOT_COLORS",
        "FOREGROUND_COLOUR": "FOREGROUND_COLOR",
        "MASK_COLOUR": "MASK_COLOR",
    },
}
"""Members of these modules: their names now, by the module's and their own names in 0.1.0."""

_PACKAGE = __name__.rpartition(".")[0]


class _Finder:
    """Finds a module under its former name, and gives one with the members of the module itself."""

    def find_spec(
        self, name: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        package, _, former = name.rpartition(".")
        if package != _PACKAGE or former not in FORMER_MODULES:
            return None
        return ModuleSpec(name, self)  # type: ignore[arg-type]

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        name = spec.name.rpartition(".")[2]
        now = f"{_PACKAGE}.{FORMER_MODULES[name]}"
        warnings.warn(f"{spec.name} is now {now}", DeprecationWarning, stacklevel=2)
        module = importlib.import_module(now)
        former = ModuleType(spec.name, module.__doc__)
        former.__dict__.update({k: v for k, v in vars(module).items() if not k.startswith("__")})
        former.__dict__["__getattr__"] = _former_members(spec.name, module)
        return former

    def exec_module(self, module: ModuleType) -> None:
        """Do nothing: the module has been run under its own name."""


def _former_members(former: str, module: ModuleType) -> Callable[[str], Any]:
    """Give the `__getattr__` of a former module, which finds members by their former names."""
    members = FORMER_MEMBERS.get(former.rpartition(".")[2], {})

    def find(name: str) -> Any:
        if name not in members:
            raise AttributeError(f"module {former!r} has no attribute {name!r}")
        now = f"{module.__name__}.{members[name]}"
        warnings.warn(f"{former}.{name} is now {now}", DeprecationWarning, stacklevel=2)
        return getattr(module, members[name])

    return find


def install() -> None:
    """Let former names be imported."""
    if not any(isinstance(finder, _Finder) for finder in sys.meta_path):
        sys.meta_path.append(_Finder())
