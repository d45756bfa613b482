"""Prometheus's rules, evaluated by promtool on the series of good and bad days."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
RULES = ROOT / "docker/prometheus/rules.yaml"


@dataclass(frozen=True)
class Case:
    """A day of one server.

    Attributes:
        series: metrics to a sample a minute, in promtool's notation: 0+60x40 is 41 samples that
            begin with 0 and grow by 60.
        minute: when the alerts are looked at.
        firing: all that fire then, to the models that they name.
    """

    series: dict[str, str]
    minute: int
    firing: dict[str, str]


def metric(name: str, model: str, reason: str | None = None) -> str:
    labels = f'model="{model}"' + (f',reason="{reason}"' if reason else "")
    return f'{name}{{{labels},instance="a"}}'


def success(model: str) -> str:
    return metric("nv_inference_request_success", model)


def failure(model: str, reason: str) -> str:
    return metric("nv_inference_request_failure", model, reason)


def pending(model: str) -> str:
    return metric("nv_inference_pending_request_count", model)


def waited(model: str) -> str:
    return metric("nv_inference_queue_duration_us", model)


UP = 'up{job="slimsam",instance="a"}'
USED, TOTAL = (
    f'nv_gpu_memory_{which}_bytes{{gpu_uuid="g",instance="a"}}' for which in ("used", "total")
)
ENSEMBLE, ENCODER, DECODER, AUTOMATIC = (
    f"slimsam{suffix}" for suffix in ("", "_encoder", "_decoder", "_automatic")
)
DAYS = {
    "without trouble": Case(
        {
            UP: "1x40",
            success(ENCODER): "0+12x40",
            success(DECODER): "0+60x40",
            success(AUTOMATIC): "0+1x40",
            failure(DECODER, "BACKEND"): "0x40",
            pending(DECODER): "2x40",
            waited(DECODER): "0+600000x40",
            USED: "40x40",
            TOTAL: "80x40",
        },
        40,
        {},
    ),
    "nobody asks, but for the health check": Case(
        {
            success(ENCODER): "0+4x40",
            success(DECODER): "0+4x40",
            success(AUTOMATIC): "0x40",
            pending(AUTOMATIC): "0x40",
        },
        40,
        {},
    ),
    "most callers cancel, or wait no more": Case(
        {
            success(ENCODER): "0+60x40",
            success(DECODER): "0+60x40",
            failure(ENCODER, "CANCELED"): "0+600x40",
            failure(DECODER, "CANCELED"): "0+600x40",
            failure(ENSEMBLE, "OTHER"): "0+600x40",
            failure(ENSEMBLE, "CANCELED"): "0+600x40",
            pending(ENCODER): "8x40",
        },
        40,
        {},
    ),
    "one of the two processes of everything mode hangs": Case(
        {success(AUTOMATIC): "0+10x40", failure(AUTOMATIC, "BACKEND"): "0x18 0+10x20"},
        35,
        {"SlimSamFailures": AUTOMATIC},
    ),
    "the server has ended, and nothing starts it": Case(
        {UP: "1x10 0x10", UP.replace('"a"', '"b"'): "1x20"}, 20, {"SlimSamDown": ""}
    ),
    "a gateway has ended, and its server goes on": Case(
        {UP: "1x20", UP.replace('"slimsam"', '"slimsam-gateway"'): "1x10 0x10"},
        20,
        {"SlimSamGatewayDown": ""},
    ),
    "a process has died, and nothing starts it": Case(
        {
            success(ENCODER): "0+60x40",
            success(DECODER): "0+60x19 1200x20",
            failure(DECODER, "BACKEND"): "0x19 0+10x20",
        },
        30,
        {"SlimSamNotServing": "", "SlimSamModelBroken": DECODER},
    ),
    "both processes of everything mode hang": Case(
        {
            success(DECODER): "0+60x40",
            success(AUTOMATIC): "0+4x19 80x20",
            failure(AUTOMATIC, "BACKEND"): "0x19 0+10x20",
        },
        30,
        {"SlimSamModelBroken": AUTOMATIC},
    ),
    "a process dies, and the server is started anew by itself": Case(
        {
            success(ENCODER): "0+60x19 2+60x20",
            success(DECODER): "0+60x19 2+60x20",
            failure(DECODER, "BACKEND"): "0x18 1 0x20",
        },
        30,
        {"SlimSamRestarted": ""},
    ),
    "it dies again and again": Case(
        {
            success(ENCODER): "0+60x9 2+60x4 2+60x4 2+60x20",
            success(DECODER): "0+60x9 2+60x4 2+60x4 2+60x20",
        },
        25,
        {"SlimSamRestarts": "", "SlimSamRestarted": ""},
    ),
    "readiness is missed, though the metrics are answered": Case(
        {
            UP: "1x40",
            success(ENCODER): "0+60x19 1200x20",
            success(DECODER): "0+60x19 1200x20",
        },
        30,
        {"SlimSamNotServing": ""},
    ),
    "more comes than is answered": Case(
        {
            success(ENCODER): "0+240x40",
            pending(ENCODER): "0x9 50+20x30",
            waited(ENCODER): "0x9 0+2400000000x30",
        },
        20,
        {"SlimSamQueueTooLong": ENCODER, "SlimSamQueueGrows": ENCODER},
    ),
    "a queue that nothing takes from": Case(
        {success(DECODER): "0+60x9 600x30", pending(DECODER): "0x9 3x30"},
        25,
        {"SlimSamQueueTooLong": DECODER, "SlimSamNotServing": ""},
    ),
    "some pictures wait for everything mode, ten seconds each": Case(
        {
            success(AUTOMATIC): "0+6x40",
            pending(AUTOMATIC): "5x40",
            waited(AUTOMATIC): "0+300000000x40",
        },
        40,
        {},
    ),
    "more pictures wait for it than its deadline allows": Case(
        {success(AUTOMATIC): "0+6x40", pending(AUTOMATIC): "40x40"},
        40,
        {"SlimSamQueueTooLong": AUTOMATIC},
    ),
    "a peak of a minute": Case(
        {
            success(DECODER): "0+60x40",
            failure(DECODER, "REJECTED"): "0x18 20 20x20",
            pending(DECODER): "0x18 50 0x20",
        },
        22,
        {},
    ),
    "full queues, for minutes": Case(
        {
            success(DECODER): "0+60x40",
            failure(DECODER, "REJECTED"): "0x18 0+30x20",
            failure(ENSEMBLE, "REJECTED"): "0x18 0+30x20",
        },
        30,
        {"SlimSamTurnsAway": DECODER},
    ),
    "one request in twenty fails": Case(
        {success(DECODER): "0+57x40", failure(DECODER, "BACKEND"): "0+3x40"},
        40,
        {"SlimSamFailures": DECODER},
    ),
    "the GPU is full": Case({USED: "79x40", TOTAL: "80x40"}, 40, {"SlimSamGpuMemoryFull": ""}),
}


def rules() -> list[dict[str, Any]]:
    groups = yaml.safe_load(RULES.read_text())["groups"]
    return [rule for group in groups for rule in group["rules"] if "alert" in rule]


def evaluate(promtool: str, days: dict[str, Case], directory: Path) -> str:
    """Have promtool compare; give what it found to be wrong, or nothing."""
    severities = {rule["alert"]: rule["labels"]["severity"] for rule in rules()}
    tests = []
    for name, case in days.items():
        samples = []
        for alert, model in case.firing.items():
            labels = f'alertname="{alert}",severity="{severities[alert]}"' + (
                f',model="{model}"' if model else ""
            )
            samples.append({"labels": f"{{{labels}}}", "value": 1})
        query = 'count by (alertname, model, severity) (ALERTS{alertstate="firing"})'
        tests.append(
            {
                "name": name,
                "interval": "1m",
                "input_series": [{"series": s, "values": v} for s, v in case.series.items()],
                "promql_expr_test": [
                    {"expr": query, "eval_time": f"{case.minute}m", "exp_samples": samples}
                ],
            }
        )
    file = directory / "test.yaml"
    file.write_text(yaml.safe_dump({"rule_files": [str(RULES)], "tests": tests}))
    done = subprocess.run([promtool, "test", "rules", file], capture_output=True, text=True)
    assert (done.returncode == 0) == ("SUCCESS" in done.stdout), done
    return "" if done.returncode == 0 else done.stdout + done.stderr


def test_the_rules_are_as_prometheus_wants_them(promtool: str) -> None:
    done = subprocess.run([promtool, "check", "rules", RULES], capture_output=True, text=True)
    assert done.returncode == 0, done


@pytest.mark.parametrize("profile", ["gpu", "cpu"])
def test_the_configurations_are_as_prometheus_wants_them(promtool: str, profile: str) -> None:
    file = RULES.with_name(f"{profile}.yaml")
    done = subprocess.run([promtool, "check", "config", file], capture_output=True, text=True)
    assert done.returncode == 0 and "1 rule files found" in done.stdout + done.stderr, done


def test_alerts_fire_for_what_they_are_made_for_and_for_nothing_else(
    promtool: str, tmp_path: Path
) -> None:
    wrong = evaluate(promtool, DAYS, tmp_path)
    assert wrong == "", wrong


def test_an_alert_that_is_missed_is_found(promtool: str, tmp_path: Path) -> None:
    day = DAYS["the server has ended, and nothing starts it"]
    assert "SlimSamDown" in evaluate(promtool, {"": Case(day.series, 20, {})}, tmp_path)


def of(instance: str, name: str, model: str, **labels: str) -> str:
    known = {"model": model, "instance": instance, **labels}
    shown = ",".join(f'{key}="{value}"' for key, value in known.items())
    return f"{name}{{{shown}}}"


FLEET = {
    **{f'up{{job="slimsam",instance="{instance}"}}': "1x10" for instance in "abc"},
    'up{job="slimsam",instance="d"}': "0x10",
    # Of c the encoder has another version, and most of the clicks.
    **{
        of(instance, "nv_inference_request_success", ENCODER, version=version): "0+60x10"
        for instance, version in (("a", "5"), ("b", "5"), ("c", "7"))
    },
    of("a", "nv_inference_request_success", DECODER): "0+60x10",
    of("b", "nv_inference_request_success", DECODER): "0+60x10",
    of("c", "nv_inference_request_success", DECODER): "0+240x10",
    of("a", "nv_inference_queue_duration_us", DECODER): "0+360000000x10",
    of("a", "nv_inference_request_success", AUTOMATIC): "7x10",
    of("a", "nv_inference_queue_duration_us", AUTOMATIC): "0x10",
    of("a", "nv_inference_request_failure", DECODER, reason="REJECTED"): "0+30x10",
    of("b", "nv_inference_request_failure", DECODER, reason="REJECTED"): "0+30x10",
    of("a", "nv_inference_pending_request_count", DECODER): "3x10",
    of("b", "nv_inference_pending_request_count", DECODER): "4x10",
}
RECORDED = {
    "slimsam:up:sum": {"": 3},
    "slimsam:requests:rate5m": {
        f'model="{ENCODER}"': 3, f'model="{DECODER}"': 6, f'model="{AUTOMATIC}"': 0
    },
    "slimsam:failures:rate5m": {f'model="{DECODER}",reason="REJECTED"': 1},
    "slimsam:pending:sum": {f'model="{DECODER}"': 7},
    "slimsam:queue_seconds:mean5m": {f'model="{DECODER}"': 1},
    "slimsam:servers:count_by_checkpoint": {'version="5"': 2, 'version="7"': 1},
    "slimsam:clicks:busiest5m": {"": 2},
}  # fmt: skip


def test_what_is_recorded_of_a_fleet(promtool: str, tmp_path: Path) -> None:
    groups = yaml.safe_load(RULES.read_text())["groups"]
    records = {rule["record"] for group in groups for rule in group["rules"] if "record" in rule}
    assert records == set(RECORDED)
    asked = [
        {
            "expr": name,
            "eval_time": "10m",
            "exp_samples": [
                {"labels": f"{name}{{{labels}}}", "value": value}
                for labels, value in samples.items()
            ],
        }
        for name, samples in RECORDED.items()
    ]
    series = [{"series": name, "values": values} for name, values in FLEET.items()]
    test = {"interval": "1m", "input_series": series, "promql_expr_test": asked}
    file = tmp_path / "fleet.yaml"
    file.write_text(yaml.safe_dump({"rule_files": [str(RULES)], "tests": [test]}))
    done = subprocess.run([promtool, "test", "rules", file], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_alert_has_a_day_and_is_described() -> None:
    names = {rule["alert"] for rule in rules()}
    assert set().union(*(case.firing for case in DAYS.values())) == names
    page = (ROOT / "docker/README.md").read_text()
    assert [name for name in sorted(names) if f"`{name}`" not in page] == []
