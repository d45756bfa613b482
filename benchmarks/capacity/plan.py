"""Servers, memory, network and cost for so many users, and the simulation of that fleet."""

from __future__ import annotations

import argparse
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from benchmarks.capacity.sessions import Users, draw_sessions
from benchmarks.capacity.shape import ServerShape, read_shape
from benchmarks.capacity.simulation import RING_POINTS, Fleet, Ring, simulate
from benchmarks.capacity.times import Times, read_times
from benchmarks.repository import REPOSITORY
from slimsam_client.serving.cache.layout import MASKS_PER_PICTURE, PAGE, CacheSizes

DAY: Final = 86_400
MOST_SIMULATED: Final = 16
"""Replicas: of a larger fleet so many are simulated, each with as much to do."""
SIMULATED_REQUESTS: Final = 60_000
"""At most, or a simulation takes minutes."""
BURST_SECONDS: Final = 5.0
"""A burst's mean length."""


@dataclass(frozen=True)
class Demand:
    """What users ask for, at the peak.

    Attributes:
        clicks: per second.
        uploads: per second.
        hits: of the uploads, the share whose picture is kept already.
        open_seconds: how long a picture is clicked on.
    """

    clicks: float
    uploads: float
    hits: float
    open_seconds: float


@dataclass(frozen=True)
class Plan:
    """A fleet.

    Attributes:
        replicas: servers, the spare ones included.
        spare: how many of them may be lost.
        load: what all requests take of the cores, and the card, of how many servers.
        imbalance: of the consistent hash, how many equal shares its largest one is.
        pictures: that each server keeps.
        cache_bytes: of each server's cache.
    """

    replicas: int
    spare: int
    load: dict[str, float]
    imbalance: float
    pictures: int
    cache_bytes: int

    def utilization(self, lost: int) -> float:
        """The busiest server's share at work, with so many servers lost."""
        return max(self.load.values()) * self.imbalance / (self.replicas - lost)


def make_plan(
    times: Times, demand: Demand, utilization: float, spare: int, ring_points: int = RING_POINTS
) -> Plan:
    """Find the fewest servers of which the busiest one has no more to do than so much of its time.

    It has that with the spare ones lost, too.

    Args:
        times: of lone requests.
        demand: at the peak.
        utilization: the share of its time that the busiest server may be at work, below 1.
        spare: servers that may be lost.
        ring_points: of the consistent hash, of all servers together, at least.
    """
    new, kept = demand.uploads * (1 - demand.hits), demand.uploads * demand.hits
    load = times.busy(new, kept, demand.clicks)
    left = max(1, math.ceil(max(load.values()) / utilization))
    while max(load.values()) * Ring(left, ring_points).largest_share() / left > utilization:
        left += max(1, left // 100)
    imbalance = Ring(left, ring_points).largest_share()
    # Little's law, and as many again, so that what is open is never what was used least recently.
    open_pictures = demand.uploads * demand.open_seconds
    pictures = max(1, math.ceil(2 * open_pictures * imbalance / left))
    nbytes = CacheSizes(pictures, MASKS_PER_PICTURE * pictures).nbytes + 3 * PAGE
    return Plan(left + spare, spare, load, imbalance, pictures, nbytes)


def add_plan_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of `plan`."""
    add = parser.add_argument
    add("--times", type=Path, required=True, help="a file of times, or a directory of `make load`")
    add("--clicks-per-second", type=float, required=True, help="at the peak")
    add("--pictures-per-day", type=float, required=True, help="that users send")
    add(
        "--peak", type=float, required=True,
        help="how many times as many pictures come at the peak as in the day's mean",
    )  # fmt: skip
    add(
        "--hits", type=float, default=0.0,
        help="share of the pictures that the server keeps already; default: %(default)s",
    )  # fmt: skip
    add(
        "--open-seconds", type=float, default=300,
        help="how long a picture is clicked on; default: %(default)s",
    )  # fmt: skip
    add(
        "--utilization", type=float, default=0.6,
        help="of its time, what the busiest server may be at work; default: %(default)s",
    )  # fmt: skip
    add("--spare", type=int, default=1, help="servers that may be lost; default: %(default)s")
    add(
        "--burst", type=float, default=3.0,
        help="of the bursty simulation, the rate in a burst by the mean; default: %(default)s",
    )  # fmt: skip
    add(
        "--ring-points", type=int, default=RING_POINTS,
        help="of the consistent hash, of all servers, at least; default: %(default)s, Envoy's",
    )  # fmt: skip
    add("--picture-bytes", type=float, help="of a picture's file, for the network")
    add("--answer-bytes", type=float, help="of a click's answer, for the network")
    add("--server-mib", type=float, help="memory of a server without its cache")
    add("--price-per-hour", type=float, help="of one server with its card, in any currency")
    add("--target", default="openvino", help="whose configurations; default: %(default)s")
    add("--seed", type=int, default=0, help="of the simulation; default: %(default)s")
    parser.set_defaults(check_plan=lambda options: _checked(parser, options))


def _checked(parser: argparse.ArgumentParser, options: argparse.Namespace) -> Demand:
    positive = (
        options.clicks_per_second, options.pictures_per_day, options.peak, options.open_seconds,
    )  # fmt: skip
    if not all(0 < value < math.inf for value in positive):
        parser.error("expected clicks, pictures, peak and open seconds above 0")
    if not 0 <= options.hits <= 1 or not 0 < options.utilization < 1:
        parser.error("expected hits from 0 to 1, and a utilization between 0 and 1")
    if options.spare < 0 or options.ring_points < 1 or not 1 <= options.burst < math.inf:
        parser.error("expected 0 or more spare servers, ring points and a burst of 1 or more")
    uploads = options.pictures_per_day / DAY * options.peak
    return Demand(options.clicks_per_second, uploads, options.hits, options.open_seconds)


def print_plan(options: argparse.Namespace) -> int:
    """Print the plan, what it assumes, and what the simulation makes of it."""
    demand: Demand = options.check_plan(options)
    times = read_times(options.times)
    plan = make_plan(times, demand, options.utilization, options.spare, options.ring_points)
    print(*_described(times, demand, plan, options), sep="\n", flush=True)
    shape = read_shape(REPOSITORY, options.target)
    print(*_simulated(times, shape, demand, plan, options), sep="\n")
    return 0


def _described(
    times: Times, demand: Demand, plan: Plan, options: argparse.Namespace
) -> Iterator[str]:
    yield f"times: {times.name}"
    yield (
        f"at the peak: {demand.clicks:g} clicks/s and {demand.uploads:.4g} uploads/s, "
        f"{options.pictures_per_day:g} a day x {options.peak:g}, of which {demand.hits:.0%} kept"
    )
    for name, load in plan.load.items():
        yield f"work: {load:.3g} servers' {name}, alone and never batched"
    yield (
        f"servers: {plan.replicas}, of which {plan.spare} may be lost; the busiest is at work "
        f"{plan.utilization(0):.0%} of its time, {plan.utilization(plan.spare):.0%} without them"
    )
    yield (
        f"consistent hash: the largest share is {plan.imbalance:.2f} equal ones "
        f"({plan.replicas - plan.spare} servers, a ring of at least {options.ring_points} points)"
    )
    mib = plan.cache_bytes / 2**20
    yield (
        f"cache: {plan.pictures:,} pictures and 8 masks of each, {mib:,.0f} MiB a server "
        f"(SLIMSAM_CACHE_BYTES={plan.cache_bytes}): twice what is open at once, "
        f"{demand.open_seconds:g} s each"
    )
    if options.server_mib is not None:
        total = mib + options.server_mib
        yield f"memory: {total:,.0f} MiB a server, {total * plan.replicas / 1024:,.0f} GiB in all"
    if options.picture_bytes is not None:
        bits = demand.uploads * options.picture_bytes * 8
        yield f"network: {bits / 1e6:,.1f} Mbit/s of pictures in"
    if options.answer_bytes is not None:
        bits = demand.clicks * options.answer_bytes * 8
        yield f"network: {bits / 1e6:,.1f} Mbit/s of answers out"
    if options.price_per_hour is not None:
        hour = plan.replicas * options.price_per_hour
        clicks = 1e6 / (demand.clicks * 3600) * hour
        yield (
            f"cost: {hour:,.2f} an hour, {hour * 24:,.2f} a day; {clicks:,.2f} for a million "
            "clicks with their uploads, at the peak"
        )
    yield (
        "assumed: the fleet stands all day for its peak; requests are independent, and no other "
        "kind comes; a lost server's pictures are sent again by those who click on them, which "
        "the simulation has and the arithmetic has not"
    )


def _simulated(
    times: Times, shape: ServerShape, demand: Demand, plan: Plan, options: argparse.Namespace
) -> Iterator[str]:
    replicas = min(plan.replicas, MOST_SIMULATED)
    clicks = max(1, round(demand.clicks / demand.uploads))
    # Users have whole numbers of clicks; neither rate falls short of what is asked for.
    rate = replicas / plan.replicas * max(demand.uploads, demand.clicks / clicks)
    span = min(SIMULATED_REQUESTS / (rate * (1 + clicks)) / 4, demand.open_seconds)
    # As many pictures are open when the first span has passed as ever will be. Where that has to
    # come sooner, pictures are open for less, and the cache is smaller in the same proportion.
    recent = max(1, round(rate * span))
    pictures = max(1, round(plan.pictures * span / demand.open_seconds))
    users = {
        "as they like": Users(rate, clicks, span / clicks, demand.hits, recent),
        "in bursts": Users(
            rate, clicks, span / clicks, demand.hits, recent, options.burst, BURST_SECONDS
        ),
    }
    can_lose = replicas > 1
    yield (
        f"simulated: {replicas} of {plan.replicas} servers with as much each, four spans of "
        f"{span:.0f} s, of which the first is not counted; {clicks} clicks on a picture, which is "
        f"open for {span:.0f} s; cache of {pictures} pictures; bursts of {options.burst:g} times "
        f"the mean, {BURST_SECONDS:g} s each"
    )
    yield "one server is lost in the third span, and comes back empty" if can_lose else "no spare"
    yield f"{'users come':<14}{'servers':<12}{'request':<8}{'p50 s':>8}{'p95 s':>9}"
    spans = {"all there": 1, "one lost": 2, "it is back": 3} if can_lose else {"all there": 1}
    for name, kind in users.items():
        sessions = draw_sessions(kind, 4 * span, np.random.default_rng(options.seed))
        lost = (2 * span, 3 * span) if can_lose else None
        outcome = simulate(
            Fleet(times, shape, replicas, pictures, lost=lost, ring_points=options.ring_points),
            sessions,
            options.seed,
        )
        for described, number in spans.items():
            for request in ("upload", "click"):
                p50, p95 = (
                    outcome.percentile(request, q, number * span, (number + 1) * span)
                    for q in (50, 95)
                )
                yield f"{name:<14}{described:<12}{request:<8}{p50:8.3f}{p95:9.3f}"
        late = sum(answer.late for answer in outcome.answers)
        yield (
            f"{name}: {outcome.misses} clicks missed their picture, {outcome.refused} requests "
            f"were refused for a while, {outcome.broken} sent again, {late} answers came late"
        )
