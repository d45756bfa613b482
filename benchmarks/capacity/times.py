"""What a lone request takes of a server: what plans and simulations begin with."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Final

LOAD: Final = {"upload": ("upload", "encoder"), "click": ("click", "decoder")}
"""The workloads of `make load` that say what each request takes, the best one first."""


class TimesError(ValueError):
    """There are no times, or they are not as expected."""


@dataclass(frozen=True)
class Part:
    """A part of a request.

    Attributes:
        seconds: that it takes, alone.
        share: of all cores, or of the card, that it keeps busy meanwhile; from 0 to 1.
    """

    seconds: float
    share: float

    @property
    def busy(self) -> float:
        """Seconds of the whole machine, or the whole card."""
        return self.seconds * self.share


@dataclass(frozen=True)
class Request:
    """A request, part after part.

    Attributes:
        around: outside of the server's models: its client, where that is on this machine, and gRPC.
        own: in the model in Python that answers it, which keeps an instance busy to the end.
        model: in the encoder or the decoder, which the model in Python waits for.
        further: what each further request of a batch takes in `model`, of what the first one does.
        spread: factors by which lone requests differ, of mean 1.
        weight: what it gets of the cores, or of the card, while others want them, too: beside
            uploads of weight 1.
    """

    around: Part
    own: Part
    model: Part
    further: float = 1.0
    spread: tuple[float, ...] = (1.0,)
    weight: float = 1.0

    @property
    def seconds(self) -> float:
        """What it takes alone."""
        return self.around.seconds + self.own.seconds + self.model.seconds


@dataclass(frozen=True)
class Times:
    """Of one server.

    Attributes:
        name: of the machine and what is served, in words.
        accelerator: whether encoder and decoder run on a card. Else they share the cores with the
            rest.
        upload: of a picture that is not kept.
        kept: of one that is, which is not encoded.
        click: on a kept picture.
        crowding: how much longer all of them take, of the cores that they get, while others want
            the cores, too.
    """

    name: str
    accelerator: bool
    upload: Request
    kept: Part
    click: Request
    crowding: float = 1.0

    def busy(self, uploads: float, kept: float, clicks: float) -> dict[str, float]:
        """Add up what so many requests take, in seconds of the whole machine and the whole card.

        Requests of batches are taken as `further` ones at best: this is the most that they take.
        """
        host = kept * self.kept.busy
        models = 0.0
        for number, request in ((uploads, self.upload), (clicks, self.click)):
            host += number * (request.around.busy + request.own.busy)
            models += number * request.model.busy
        return {"cores": host, "card": models} if self.accelerator else {"cores": host + models}


def between(one: Times, other: Times) -> Times:
    """Take the means of two measurements of lone requests; the rest is the first one's."""
    return replace(
        one,
        upload=_between(one.upload, other.upload),
        kept=_middle(one.kept, other.kept),
        click=_between(one.click, other.click),
    )


def _between(one: Request, other: Request) -> Request:
    # Factors of the mean of both, so that a change from one to the other is part of the spread.
    mean = (one.seconds + other.seconds) / 2
    return replace(
        one,
        around=_middle(one.around, other.around),
        own=_middle(one.own, other.own),
        model=_middle(one.model, other.model),
        spread=tuple(
            round(factor * request.seconds / mean, 3)
            for request in (one, other)
            for factor in request.spread
        ),
    )


def _middle(one: Part, other: Part) -> Part:
    seconds = (one.seconds + other.seconds) / 2
    share = (one.busy + other.busy) / 2 / seconds if seconds else one.share
    return Part(seconds, share)


def write_times(times: Times, path: Path) -> None:
    """Write times as `read_times` reads them."""
    path.write_text(json.dumps(asdict(times), indent=1) + "\n")


def read_times(path: Path) -> Times:
    """Read times: a file that `check` writes or a user has, or a directory of `make load`.

    Raises:
        TimesError: they are not there, or not as expected.
    """
    if path.is_dir():
        return _of_load(path)
    try:
        found = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise TimesError(
            f"{path}: expected JSON as docs/capacity.md has it, or a directory of `make load`, got "
            f"{type(error).__name__}: {error}"
        ) from error
    try:
        return Times(
            str(found["name"]),
            bool(found["accelerator"]),
            _request(found["upload"]),
            _part(found["kept"]),
            _request(found["click"]),
            _at_least("crowding", found.get("crowding", 1.0), 1.0),
        )
    except (LookupError, TypeError, ValueError) as error:
        raise TimesError(
            f"{path}: expected the fields of docs/capacity.md's example, got "
            f"{type(error).__name__}: {error}"
        ) from error


def _request(found: dict[str, Any]) -> Request:
    further, spread = float(found.get("further", 1.0)), found.get("spread", [1.0])
    factors = tuple(float(factor) for factor in spread)
    if not 0 <= further <= 1 or not factors or min(factors) < 0:
        raise ValueError(f"expected further from 0 to 1 and factors of 0 or more, got {found}")
    around, own, model = (_part(found[name]) for name in ("around", "own", "model"))
    weight = float(found.get("weight", 1.0))
    if not 0 < weight < float("inf"):
        raise ValueError(f"expected a weight above 0, got {weight}")
    return Request(around, own, model, further, factors, weight)


def _at_least(name: str, found: Any, least: float) -> float:
    value = float(found)
    if not least <= value < float("inf"):
        raise ValueError(f"expected a {name} of {least:g} or more, got {value}")
    return value


def _part(found: dict[str, Any]) -> Part:
    part = Part(float(found["seconds"]), float(found["share"]))
    if not (part.seconds >= 0 and 0 <= part.share <= 1):
        raise ValueError(f"expected seconds of 0 or more and a share from 0 to 1, got {found}")
    return part


def _of_load(directory: Path) -> Times:
    """Take the closed loops of `make load`: its lone requests, and its best throughput.

    What is outside of the models keeps one core busy, and the models as much as the best throughput
    leaves for them; where that is more than all cores, what is outside has the remainder. An upload
    of a kept picture is not measured by every run, and is nothing then.
    """
    requests = {kind: _load_request(directory, names) for kind, names in LOAD.items()}
    kept = directory / "upload_100.json"
    lone = _closed(json.loads(kept.read_text()))[0] if kept.exists() else None
    part = Part(0.0, 0.0) if lone is None else Part(lone["latency_ms"]["mean"] / 1000, 1.0)
    return Times(f"make load, {directory}", False, requests["upload"], part, requests["click"])


def _load_request(directory: Path, names: tuple[str, ...]) -> Request:
    found = [path for name in names if (path := directory / f"{name}.json").exists()]
    if not found:
        raise TimesError(
            f"{directory}: expected {' or '.join(names)}.json of `make load`, got neither"
        )
    content = json.loads(found[0].read_text())
    points = _closed(content)
    if not points or points[0]["level"] != 1:
        raise TimesError(f"{found[0]}: expected a closed loop of concurrency 1, got none")
    lone, one_core = points[0], 1 / content["client_cores"]
    stages = {
        name: ms / 1000
        for name, ms in lone["stages_ms"].items()
        if name.startswith(("encoder ", "decoder ")) and not name.endswith(" queue")
    }
    model = sum(stages.values())
    rest = max(0.0, lone["latency_ms"]["mean"] / 1000 - model)
    busy = 1 / max(point["throughput"] for point in points)
    share = min(1.0, max(0.0, busy - rest * one_core) / model)
    outside = max(one_core, min(1.0, (busy - model) / rest)) if rest else one_core
    return Request(Part(rest, outside), Part(0.0, one_core), Part(model, share))


def _closed(content: dict[str, Any]) -> list[dict[str, Any]]:
    points = [point for point in content["points"] if point["loop"] == "closed"]
    return sorted(points, key=lambda point: float(point["level"]))
