"""`benchmarks.capacity`: its simulation beside queueing theory, its plans, a run of its check."""

from __future__ import annotations

import dataclasses
import json
import math
import sys
from argparse import Namespace
from collections import Counter
from collections.abc import Callable
from itertools import count, pairwise
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from benchmarks.capacity import __main__ as capacity
from benchmarks.capacity.check import Level, Row, Run, Side, rows
from benchmarks.capacity.crowd import Crowd, crowd_sessions, fit_crowd
from benchmarks.capacity.events import FULL, SERVED, Clock, Process, Processor, Station, start
from benchmarks.capacity.plan import Demand, make_plan
from benchmarks.capacity.sessions import Session, Users, draw_sessions
from benchmarks.capacity.shape import ModelShape, ServerShape, read_shape
from benchmarks.capacity.simulation import Fleet, Outcome, Ring, simulate
from benchmarks.capacity.times import (
    Part,
    Request,
    Times,
    TimesError,
    between,
    read_times,
    write_times,
)
from benchmarks.load.perf_analyzer import PERCENTILES, Latency
from benchmarks.load.point import MODELS, Level as LoadLevel, Point
from benchmarks.load.table import write_json
from benchmarks.server_statistics import STAGES, ModelStatistics
from slimsam_client import NotKeptError, UploadedImage
from slimsam_client.answers import Choice
from slimsam_client.calls import advance
from slimsam_client.clicks.predict import predict_uploaded
from slimsam_client.contract import CLICK, DECODER, ENCODER, IMAGE
from slimsam_client.serving.cache.layout import CacheSizes

ROOT = Path(__file__).parents[2]
ONE = ModelShape(1, 1, None)
PLAIN = ServerShape(ONE, ONE, ONE, ONE)
NOTHING = Part(0.0, 1.0)
EXPONENTIAL = tuple(float(-math.log(1 - (n + 0.5) / 2000)) for n in range(2000))
"""An exponential distribution's quantiles, of mean 1 but for the last digits."""


def mean_wait(
    instances: int, load: float, factors: tuple[float, ...], share: float = 1.0, jobs: int = 30_000
) -> float:
    """Simulate a station alone; give the mean seconds in its queue, for services of mean 1."""
    rng = np.random.default_rng(1)
    clock = Clock()
    processor = Processor(clock)
    waits: list[float] = []

    def execute(batch: list[tuple[float, float]]) -> Process:
        (arrived, seconds) = batch[0]
        waits.append(clock.now - arrived)
        yield processor.work(seconds, share)

    station = Station(instances, 1, None, execute)

    def come(seconds: float) -> Process:
        yield station.ask((clock.now, seconds))

    gaps = exactly(rng.exponential(size=jobs), 1 / (load * instances))
    services = exactly(rng.choice(factors, jobs), 1.0)
    for arrival, seconds in zip(np.cumsum(gaps), services, strict=True):
        clock.at(float(arrival), lambda seconds=float(seconds): start(come(seconds)))
    clock.run()
    return float(np.mean(waits))


def exactly(drawn: NDArray[np.float64], mean: float) -> NDArray[np.float64]:
    """Scale what was drawn to its mean: a wait depends on the load more than on all else."""
    return drawn * (mean / drawn.mean())


def erlang_c(servers: int, load: float) -> float:
    """The probability of a wait in M/M/c, of c servers at a load from 0 to 1."""
    offered = servers * load
    last = offered**servers / math.factorial(servers) / (1 - load)
    return last / (sum(offered**n / math.factorial(n) for n in range(servers)) + last)


@pytest.mark.parametrize("load", [0.5, 0.7])
def test_one_server_with_exponential_service(load: float) -> None:
    """M/M/1."""
    assert mean_wait(1, load, EXPONENTIAL) == pytest.approx(load / (1 - load), rel=0.1)


@pytest.mark.parametrize("load", [0.5, 0.7])
def test_one_server_with_constant_service(load: float) -> None:
    """M/D/1, by Pollaczek and Khinchine: half of M/M/1's wait."""
    assert mean_wait(1, load, (1.0,)) == pytest.approx(load / (1 - load) / 2, rel=0.1)


@pytest.mark.parametrize(("servers", "load"), [(2, 0.6), (4, 0.7)])
def test_several_servers(servers: int, load: float) -> None:
    """M/M/c, by Erlang's C; each server is one core of as many."""
    expected = erlang_c(servers, load) / (servers * (1 - load))
    found = mean_wait(servers, load, EXPONENTIAL, share=1 / servers)
    assert found == pytest.approx(expected, rel=0.1)


def lone_processor(load: float, factors: tuple[float, ...]) -> dict[float, list[float]]:
    """Simulate work that shares a processor without a queue; give what each size of it took."""
    rng = np.random.default_rng(2)
    clock = Clock()
    processor = Processor(clock)
    found: dict[float, list[float]] = {factor: [] for factor in factors}

    def come(seconds: float) -> Process:
        began = clock.now
        yield processor.work(seconds, 1.0)
        found[seconds].append(clock.now - began)

    jobs = 20_000
    arrivals = np.cumsum(rng.exponential(np.mean(factors) / load, jobs))
    for arrival, seconds in zip(arrivals, rng.choice(factors, jobs), strict=True):
        clock.at(float(arrival), lambda seconds=float(seconds): start(come(seconds)))
    clock.run()
    return found


def test_a_shared_processor_slows_all_alike() -> None:
    """M/G/1 with processor sharing: each takes its own time over 1 - load, whatever others are."""
    for seconds, taken in lone_processor(0.6, (0.2, 1.0, 3.0)).items():
        assert np.mean(taken) == pytest.approx(seconds / 0.4, rel=0.1)


def test_work_on_half_of_a_processor_leaves_the_other_half() -> None:
    clock, ended = Clock(), []
    processor = Processor(clock)

    def use(share: float) -> Process:
        yield processor.work(1.0, share)
        ended.append(clock.now)

    for share in (0.5, 0.5):
        start(use(share))
    clock.run()
    assert ended == [1.0, 1.0]
    start(use(0.5))
    start(use(1.0))  # both of them together ask for one and a half
    clock.run()
    assert ended[2:] == [2.5, 2.5]


def test_work_of_less_weight_gets_less_of_a_processor() -> None:
    """M/M/1 with discriminatory processor sharing of two classes (Fayolle, Mitrani and
    Iasnogorodski, Sharing a processor among many job classes, JACM 27, 1980)."""
    rng = np.random.default_rng(4)
    clock = Clock()
    processor = Processor(clock)
    rates, means, weights = (0.3, 1.5), (1.0, 0.2), (1.0, 0.4)
    taken: list[list[float]] = [[], []]

    def come(kind: int, seconds: float) -> Process:
        began = clock.now
        yield processor.work(seconds, 1.0, weights[kind])
        taken[kind].append(clock.now - began)

    for kind, jobs in enumerate((6_000, 30_000)):
        arrivals = np.cumsum(exactly(rng.exponential(size=jobs), 1 / rates[kind]))
        services = exactly(rng.exponential(size=jobs), means[kind])
        for arrival, seconds in zip(arrivals, services, strict=True):
            clock.at(
                float(arrival),
                lambda kind=kind, seconds=float(seconds): start(come(kind, seconds)),
            )
    clock.run()
    loads = [rate * mean for rate, mean in zip(rates, means, strict=True)]
    divisor = sum(
        weight * (1 - load) / mean for weight, load, mean in zip(weights, loads, means, strict=True)
    )
    for kind, other in ((0, 1), (1, 0)):
        more = loads[other] * (weights[other] - weights[kind]) / means[kind] / divisor
        expected = means[kind] / (1 - sum(loads)) * (1 + more)
        assert np.mean(taken[kind]) == pytest.approx(expected, rel=0.1)


def test_what_work_of_more_weight_leaves_is_for_the_others() -> None:
    clock, ended = Clock(), {}
    processor = Processor(clock)

    def use(seconds: float, share: float, weight: float) -> Process:
        yield processor.work(seconds, share, weight)
        ended[share] = clock.now

    start(use(1.0, 0.5, 10.0))  # a thread of two cores cannot use more than one of them
    start(use(1.0, 1.0, 1.0))
    clock.run()
    assert ended == {0.5: 1.0, 1.0: 1.5}


def test_a_crowded_processor_has_more_to_do() -> None:
    clock, ended = Clock(), []
    processor = Processor(clock, crowding=1.5)

    def use(seconds: float) -> Process:
        yield processor.work(seconds, 1.0)
        ended.append(clock.now)

    start(use(1.0))
    start(use(2.0))
    clock.run()
    assert ended == [3.0, 4.0]  # both for a second of one, and one second more alone


def test_what_waits_goes_together_and_a_full_queue_says_so() -> None:
    clock = Clock()
    batches, answers = [], []

    def execute(batch: list[int]) -> Process:
        batches.append(batch)
        yield clock.wait(1.0)

    station = Station(1, 4, 6, execute)

    def come(number: int) -> Process:
        answers.append((number, (yield station.ask(number)), clock.now))

    for number in range(9):
        start(come(number))
    clock.run()
    assert batches == [[0], [1, 2, 3, 4], [5, 6]]
    assert answers[:2] == [(7, FULL, 0.0), (8, FULL, 0.0)]
    assert [(answer, when) for _, answer, when in answers[2:]] == [
        (SERVED, 1.0), *[(SERVED, 2.0)] * 4, *[(SERVED, 3.0)] * 2,
    ]  # fmt: skip


def times(upload: float = 0.5, click: float = 0.1) -> Times:
    return Times(
        "a test's", False,
        Request(NOTHING, NOTHING, Part(upload, 1.0)), Part(0.01, 1.0),
        Request(NOTHING, NOTHING, Part(click, 1.0)),
    )  # fmt: skip


def seconds_of(outcome: Outcome, kind: str) -> list[float]:
    return [round(answer.seconds, 6) for answer in outcome.answers if answer.kind == kind]


def test_users_one_after_another_take_what_lone_requests_take() -> None:
    sessions = [Session(0.0, 0, (1.0, 1.0)), Session(10.0, 0, (1.0,)), Session(20.0, 1, ())]
    outcome = simulate(Fleet(times(), PLAIN), sessions, seed=0)
    assert seconds_of(outcome, "upload") == [0.5, 0.01, 0.5]  # the second one is kept already
    assert seconds_of(outcome, "click") == [0.1] * 3
    assert (outcome.encoded, outcome.misses) == (2, 0)
    assert outcome.throughput("click", 10.0) == 0.2


def test_what_was_used_least_recently_makes_room() -> None:
    sessions = [
        Session(0.0, 0, (10.0,)),  # clicks at 10.5
        Session(1.0, 1, ()),
        Session(2.0, 0, ()),  # used again, so that 1 goes next
        Session(3.0, 2, ()),
        Session(20.0, 1, ()),
    ]
    outcome = simulate(Fleet(times(), PLAIN, pictures=2), sessions, seed=0)
    assert (outcome.encoded, outcome.misses) == (4, 0)
    outcome = simulate(Fleet(times(), PLAIN, pictures=1), sessions, seed=0)
    assert outcome.misses == 1
    assert seconds_of(outcome, "click") == [0.6]  # told so at once, sent again, clicked again


def test_clicks_that_wait_are_answered_together() -> None:
    shape = dataclasses.replace(PLAIN, click=ModelShape(1, 8, None))
    sessions = [Session(0.0, 0, (0.0, 1.0)), *(Session(5.0, 0, (0.0,)) for _ in range(3))]
    outcome = simulate(Fleet(times(), shape), sessions, seed=0)
    assert seconds_of(outcome, "click")[:2] == [0.1, 0.1]
    # Uploads of a kept picture end at 5.01, 5.02 and 5.03: one click goes alone, two together.
    assert seconds_of(outcome, "click")[2:] == pytest.approx([0.11, 0.28, 0.27], abs=0.03)


@pytest.mark.parametrize(("uploads", "expected"), [(0, 0.1), (1, 0.3), (2, 0.5)])
def test_a_click_beside_others_gets_less_than_they_do(uploads: int, expected: float) -> None:
    """Of a weight of a half: beside each upload it waits for twice what it takes itself."""
    several = ModelShape(3, 1, None)
    shape = dataclasses.replace(PLAIN, image=several, encoder=several)
    found = times(upload=100.0)
    found = dataclasses.replace(found, click=dataclasses.replace(found.click, weight=0.5))
    others = [Session(100.0, number, ()) for number in range(1, uploads + 1)]
    sessions = [Session(0.0, 0, (0.0,) * 100), *others]
    outcome = simulate(Fleet(found, shape, timeout=1000.0), sessions, seed=1)
    assert seconds_of(outcome, "click") == pytest.approx([expected] * 100)


def test_what_requests_cost_each_other_is_found() -> None:
    """Of a run that is a simulation itself."""
    several = ModelShape(2, 1, None)
    shape = ServerShape(several, several, several, several)
    alone = times(upload=0.2, click=0.03)
    sessions = crowd_sessions(alone, 20)
    clicks = len(sessions[0].thinks)
    for crowding, weight in ((1.2, 0.5), (1.0, 1.0), (1.1, 1.5)):
        click = dataclasses.replace(alone.click, weight=weight)
        made = dataclasses.replace(alone, click=click, crowding=crowding)
        outcome = simulate(Fleet(made, shape), sessions, seed=9)
        crowd = Crowd(sessions, outcome.decoding / clicks, outcome.lasted, 0.0)
        found = fit_crowd(alone, shape, crowd)
        assert found.crowding == pytest.approx(crowding, abs=0.02)
        assert found.click.weight == pytest.approx(weight, rel=0.1)
    # Less than alone is chance.
    lasted = simulate(Fleet(alone, shape), sessions, seed=9).lasted
    assert fit_crowd(alone, shape, Crowd(sessions, 0.1, 0.9 * lasted, 0.0)).crowding == 1.0


def test_times_between_two_measurements() -> None:
    one, other = times(upload=0.4, click=0.1), times(upload=0.6, click=0.1)
    found = between(dataclasses.replace(one, crowding=1.1), other)
    assert found.upload.seconds == pytest.approx(0.5) and found.click.seconds == 0.1
    assert found.upload.spread == (0.8, 1.2) and found.click.spread == (1.0, 1.0)
    assert found.crowding == 1.1 and found.kept == one.kept


def test_a_replica_that_is_lost_and_comes_back() -> None:
    ring = Ring(2)
    mine = [next(n for n in range(100) if ring.find(n) == replica) for replica in (0, 1)]
    sessions = [Session(0.0, picture, (3.0, 5.0, 5.0)) for picture in mine]
    fleet = Fleet(times(), PLAIN, replicas=2, lost=(3.55, 10.0))
    outcome = simulate(fleet, sessions, seed=0)
    by_user = Counter(answer.seconds > 0.2 for answer in outcome.answers if answer.kind == "click")
    # The first click is under way at the loss: it is sent to the other one, which has no such
    # picture. The second finds it there. The third goes to the one that is back, and is empty.
    assert (outcome.broken, outcome.misses, outcome.encoded) == (1, 2, 4)
    assert by_user == {False: 4, True: 2}
    assert len(outcome.answers) == 8 and not any(answer.late for answer in outcome.answers)


def test_a_lost_replica_takes_no_other_pictures_from_their_places() -> None:
    ring = Ring(8)
    for picture in range(200):
        before, after = ring.find(picture), ring.find(picture, [3])
        assert after == before or before == 3 != after


def test_shares_of_a_ring() -> None:
    assert Ring(1).largest_share() == 1
    ring = Ring(10)
    counts = Counter(ring.find(picture) for picture in range(20_000))
    expected = ring.largest_share()
    assert max(counts.values()) * 10 / 20_000 == pytest.approx(expected, rel=0.05)
    assert Ring(1000).largest_share() > 3  # a point or two for each
    assert Ring(1000, least=100_000).largest_share() < 1.5


@pytest.mark.parametrize(("servers", "is_found"), [(1, True), (5, True), (19, True), (20, False)])
def test_turns_among_many_servers_lose_a_picture(servers: int, is_found: bool) -> None:
    """What docs/capacity.md says of clients without affinity, by the client's own asking."""
    image = UploadedImage("0" * 64, b"picture", (768, 1024))
    steps = predict_uploaded(image, [(1, 1)], None, None, None, Choice(True, "rle"))
    turns = count()
    kept = {next(turns) % servers}  # by `upload`
    sent = {"image_id": np.array([b"0" * 64], object), "original_size": np.array([768, 1024])}
    miss = NotKeptError("not kept here: picture")

    def ask() -> bool:
        outcome: object = None
        while True:
            step = advance(steps, outcome)
            server = next(turns) % servers
            if step.spec.name == CLICK.name and server in kept:
                return True
            outcome = miss
            if step.spec.name == IMAGE.name:
                kept.add(server)
                outcome = sent

    if is_found:
        assert ask()
    else:
        with pytest.raises(NotKeptError):
            ask()


def test_more_than_a_server_can_do_is_refused_and_late_and_ends() -> None:
    shape = dataclasses.replace(PLAIN, image=ModelShape(1, 1, 2))
    sessions = [Session(0.0, number, ()) for number in range(12)]
    outcome = simulate(Fleet(times(upload=1.0), shape, timeout=5.0), sessions, seed=0)
    assert len(outcome.answers) == 12 and outcome.refused >= 9
    assert 5 <= sum(answer.late for answer in outcome.answers) <= 8


def test_equal_seeds_give_equal_simulations() -> None:
    users = Users(2.0, 5, 0.3, kept=0.3, burst=3.0)
    fleet = Fleet(times(0.2, 0.02), read_shape(ROOT / "model_repository", "openvino"), 2)
    runs = [
        simulate(fleet, draw_sessions(users, 30.0, np.random.default_rng(7)), seed=7)
        for _ in range(2)
    ]
    assert runs[0] == runs[1]


def test_users_come_as_often_as_asked_for() -> None:
    plain, bursty = (
        draw_sessions(Users(10.0, 2, 1.0, 0.5, 20, burst), 2000.0, np.random.default_rng(3))
        for burst in (1.0, 4.0)
    )
    for sessions in (plain, bursty):
        assert len(sessions) == 20_000
        starts = [session.start for session in sessions]
        assert 0 <= starts[0] and starts == sorted(starts) and starts[-1] <= 2000
        new = len({session.picture for session in sessions})
        assert new == pytest.approx(10_000, rel=0.05)
        thinks = [think for session in sessions for think in session.thinks]
        assert np.mean(thinks) == pytest.approx(1.0, rel=0.05)
    gaps = [b.start - a.start for a, b in pairwise(plain)]
    assert np.std(gaps) == pytest.approx(0.1, rel=0.05)  # an exponential's deviation is its mean
    # Of a Poisson process the counts' variance is their mean; bursts have four times the rate.
    dispersion = [
        np.var(counts) / np.mean(counts)
        for counts in (np.histogram([s.start for s in found], 2000)[0] for found in (plain, bursty))
    ]
    assert dispersion[0] == pytest.approx(1, rel=0.15) and dispersion[1] > 10


def test_configurations_are_read() -> None:
    shape = read_shape(ROOT / "model_repository", "openvino")
    assert shape.click == ModelShape(2, 8, 64) and shape.decoder.max_batch == 1
    assert read_shape(ROOT / "model_repository", "tensorrt").decoder.max_batch == 8


def test_a_plan_has_room_for_its_peak_with_a_server_lost() -> None:
    demand = Demand(clicks=100.0, uploads=4.0, hits=0.5, open_seconds=300.0)
    plan = make_plan(times(), demand, utilization=0.6, spare=1)
    load = 100 * 0.1 + 2 * 0.5 + 2 * 0.01
    assert plan.load == {"cores": pytest.approx(load)}
    assert plan.utilization(1) <= 0.6
    fewer = plan.replicas - 2
    assert load * Ring(fewer).largest_share() / fewer > 0.6
    assert plan.utilization(0) == pytest.approx(load * plan.imbalance / plan.replicas)
    # What is open at once, twice, on the servers that are left.
    assert plan.pictures * (plan.replicas - 1) >= 2 * 4 * 300
    assert CacheSizes.within(plan.cache_bytes).pictures >= plan.pictures


def test_a_card_and_the_cores_beside_it_are_planned_apart() -> None:
    host = Part(0.01, 0.25)
    card = dataclasses.replace(
        times(), accelerator=True, kept=NOTHING,
        upload=Request(host, host, Part(0.02, 1.0)), click=Request(host, host, Part(0.001, 1.0)),
    )  # fmt: skip
    demand = Demand(clicks=400.0, uploads=10.0, hits=0.0, open_seconds=60.0)
    load = make_plan(card, demand, utilization=0.5, spare=0).load
    assert load == {"cores": pytest.approx(410 * 0.005), "card": pytest.approx(0.2 + 0.4)}


def test_times_are_written_and_read(tmp_path: Path) -> None:
    path = tmp_path / "times.json"
    write_times(times(), path)
    assert read_times(path) == times()


def test_the_times_of_the_documentation(tmp_path: Path) -> None:
    path = tmp_path / "times.json"
    text = (ROOT / "docs/capacity.md").read_text("utf-8")
    path.write_text(text.split("```json\n")[1].split("```")[0])
    assert read_times(path).accelerator


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "expected JSON"),
        ("{", "expected JSON"),
        ("[]", "expected the fields"),
        ({"name": None}, "KeyError"),
        ({"share": 1.5}, "a share from 0 to 1"),
        ({"seconds": -1}, "seconds of 0 or more"),
        ({"seconds": float("nan")}, "seconds of 0 or more"),
        ({"seconds": "long"}, "could not convert"),
        ({"crowding": 0.5}, "a crowding of 1 or more"),
        ({"weight": 0}, "a weight above 0"),
    ],
    ids=[
        "nothing",
        "no JSON",
        "a list",
        "a field missing",
        "share",
        "negative",
        "NaN",
        "words",
        "crowding",
        "weight",
    ],
)
def test_times_that_are_wrong(content: object, message: str, tmp_path: Path) -> None:
    path = tmp_path / "times.json"
    if isinstance(content, str):
        path.write_text(content)
    elif isinstance(content, dict):
        found = dataclasses.asdict(times())
        if "name" in content:
            del found["click"]
        elif "crowding" in content:
            found.update(content)
        elif "weight" in content:
            found["click"].update(content)
        else:
            found["click"]["model"].update(content)
        path.write_text(json.dumps(found))
    with pytest.raises(TimesError, match=message):
        read_times(path)


def write_load(path: Path, lone: float, best: float) -> None:
    """Write what `make load` writes of a workload.

    Args:
        path: a file of the workload's name.
        lone: milliseconds of a request that is alone, of which 60 % are in encoder or decoder.
        best: requests per second of two at once.
    """
    workload = path.stem
    computing = ENCODER.name if workload in ("upload", "encoder") else DECODER.name
    requests = 10
    stages = {stage: requests * lone / 1000 * 0.2 for stage in STAGES}
    statistics = ModelStatistics(requests, 0, requests, requests, stages)
    models = {MODELS[workload]: statistics, computing: statistics}
    points = [
        Point(workload, level, requests, rate, Latency(ms, dict.fromkeys(PERCENTILES, ms)), models)
        for level, rate, ms in (
            (LoadLevel("closed", 2, "2"), best, 2000 / best),
            (LoadLevel("open", 0.8 * best, "80"), 0.8 * best, 3000 / best),
            (LoadLevel("closed", 1, "1"), 1000 / lone, lone),
        )
    ]
    options = Namespace(url=None, target="openvino", checkpoint="demo", points_per_side=8, seed=0)
    write_json(path, points, options)


@pytest.mark.parametrize("names", [("upload", "click"), ("encoder", "decoder")])
def test_times_of_make_load(names: tuple[str, str], tmp_path: Path) -> None:
    """The pictures' and clicks' own workloads where they were measured, else their models'."""
    written = {"encoder": (100.0, 15.0), "decoder": (20.0, 55.0)}
    if "upload" in names:
        written |= {"upload": (200.0, 6.0), "click": (30.0, 34.0)}
    for name, (lone, best) in written.items():
        write_load(tmp_path / f"{name}.json", lone, best)
    found = read_times(tmp_path)
    for name, request in zip(names, (found.upload, found.click), strict=True):
        lone, best = written[name]
        assert request.seconds == pytest.approx(lone / 1000, rel=0.01)
        busy = request.around.busy + request.own.busy + request.model.busy
        assert 1 / busy == pytest.approx(best, rel=0.02)


def test_a_directory_without_a_load_test(tmp_path: Path) -> None:
    with pytest.raises(TimesError, match="expected upload or encoder.json of `make load`, got"):
        read_times(tmp_path)


def run(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *options: object
) -> tuple[int, str, str]:
    monkeypatch.setattr(sys, "argv", ["capacity", *map(str, options)])
    status = capacity.main()
    return status, *capsys.readouterr()


def test_a_plan_is_printed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "times.json"
    write_times(times(0.3, 0.04), path)
    options = (
        "plan", "--times", path, "--clicks-per-second", 50, "--pictures-per-day", 86_400,
        "--peak", 2, "--open-seconds", 20,
    )  # fmt: skip
    status, text, _ = run(monkeypatch, capsys, *options, "--price-per-hour", 1.5)
    assert status == 0
    assert "work: 2.6 servers' cores" in text and "servers: 6, of which 1 may be lost" in text
    assert "cost: 9.00 an hour, 216.00 a day; 50.00 for a million clicks" in text
    lines = [line.split() for line in text.splitlines() if line.startswith("as they like  ")]
    assert len(lines) == 6 and all(0.04 <= float(line[-2]) <= float(line[-1]) for line in lines)
    status, text, _ = run(monkeypatch, capsys, *options)
    assert status == 0 and "cost:" not in text  # no price of our own


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [
        ("--peak", 0, "above 0"),
        ("--utilization", 1, "between 0 and 1"),
        ("--spare", -1, "0 or more"),
    ],
)
def test_plans_that_cannot_be(
    option: str, value: int, message: str,
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    plain = ("--times", "x", "--clicks-per-second", 1, "--pictures-per-day", 1, "--peak", 1)
    with pytest.raises(SystemExit):
        run(monkeypatch, capsys, "plan", *plain, option, value)
    assert message in capsys.readouterr().err


def test_times_that_are_not_there(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    plain = ("--clicks-per-second", 1, "--pictures-per-day", 1, "--peak", 1)
    status, _, error = run(monkeypatch, capsys, "plan", "--times", "nowhere", *plain)
    assert status == 1 and "nowhere: expected JSON" in error


def made_run(p95: float = 0.1, others: float = 0.0, throughput: float = 5.0) -> Run:
    sides = {kind: Side(5.0, 0.05, 0.1) for kind in ("upload", "click")}
    simulated = {kind: Side(throughput, 0.05, p95) for kind in ("upload", "click")}
    return Run(Level(5, 0.4), sides, simulated, others, 1.0, 0)


@pytest.mark.parametrize(
    ("runs", "counts", "missed"),
    [
        ([made_run()], True, 0),
        ([made_run(0.124)], True, 0),
        ([made_run(0.13)], True, 2),
        ([made_run(0.07)], True, 2),
        ([made_run(throughput=3.0)], True, 2),
        ([made_run(), made_run(), made_run(0.5)], True, 0),  # medians
        ([made_run(), made_run(0.5, others=0.5), made_run(0.5, others=0.5)], True, 0),
        ([made_run(0.5, others=0.5)], False, 2),
        ([made_run(math.nan)], True, 2),
    ],
    ids=["equal", "near", "above", "below", "fewer", "one of three", "busy", "all busy", "none"],
)
def test_what_is_within_the_bounds(runs: list[Run], counts: bool, missed: int) -> None:
    found: list[Row] = rows(runs)
    assert [row.kind for row in found] == ["upload", "click"]
    assert all(row.counts == counts for row in found)
    assert sum(len(list(row.missed())) for row in found) == missed


def test_times_are_of_the_quietest_run_and_crowding_of_all_that_count(tmp_path: Path) -> None:
    one = times(upload=0.2, click=0.03)
    runs = []
    for upload, others, crowding, weight in (
        (0.2, 0.02, 1.2, 0.5),
        (0.3, 0.0, 1.0, 0.9),
        (0.4, 0.03, 1.1, 0.6),
        (0.5, 0.5, 2.0, 2.0),
    ):
        found = times(upload=upload, click=0.03)
        click = dataclasses.replace(one.click, weight=weight)
        found = dataclasses.replace(found, click=click, crowding=crowding)
        runs.append((found, made_run(others=others)))
    options = Namespace(checkpoint="demo", target="openvino", results=tmp_path, seconds=1.0)
    path = capacity.write_results(runs, 100, options)
    written = read_times(path.with_name("demo-openvino-times.json"))
    assert written.upload.seconds == pytest.approx(0.3)
    assert (written.crowding, written.click.weight) == (1.1, 0.6)


def test_a_check(run_benchmark: Callable[..., str], tmp_path: Path) -> None:
    """What it finds depends on what else runs here: not asked for."""
    options = ("--clicks", 2, "--shares", 0.3, "--seconds", 2, "--rounds", 1, "--requests", 1)
    run_benchmark("capacity", "check", *options, "--results", tmp_path)
    (path,) = tmp_path.glob("*/demo-openvino.json")
    report = json.loads(path.read_text())
    for row in report["rows"]:
        assert row["measured"]["p95"] >= row["measured"]["p50"] > 0
        assert row["simulated"]["p95"] >= row["simulated"]["p50"] > 0
    found = read_times(path.with_name("demo-openvino-times.json"))
    for request in (found.upload, found.click):
        assert request.seconds > request.model.seconds > 0 and len(request.spread) == 2
        assert 0 <= request.model.share <= 1
    assert found.kept.seconds > 0 and report["metric_series"] > 50
