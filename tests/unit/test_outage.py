"""What fails again and again is said once, and once more when it is over."""

from typing import Any

import pytest
import structlog

from apps.observability import outage, pileup


class Clock:
    now = 100.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(pileup, "time", clock)
    return clock


@pytest.fixture
def said(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    logged: list[Any] = []

    def keep(_: Any, __: str, event: Any) -> Any:
        logged.append((event["event"], event["seconds"]))
        raise structlog.DropEvent

    monkeypatch.setattr(outage, "log", structlog.wrap_logger(None, processors=[keep]))
    return logged


def test_an_outage_is_said_at_its_beginning_now_and_then_and_at_its_end(clock: Clock, said: list[Any]) -> None:
    journal = outage.Outage("journal", clock=clock.monotonic)
    journal.worked()
    for clock.now in (100.0, 100.5, 129.9, 130.0, 131.0, 161.0):
        journal.failed()
    journal.worked()
    journal.worked()

    assert said == [("away", 0), ("away", 30), ("away", 61), ("is back", 61)]


def test_repetitions_of_a_sweep_within_a_round_are_passed_over(clock: Clock) -> None:
    runs = []
    sweep = pileup.once_a_round(lambda: runs.append(clock.now))

    for clock.now in (100.0, 100.1, 100.9, 101.0, 101.5, 111.0):
        sweep()

    assert runs == [100.0, 101.0, 111.0]


def test_a_sweep_that_fails_is_over_too(clock: Clock) -> None:
    @pileup.once_a_round
    def broken() -> None:
        raise ValueError

    with pytest.raises(ValueError):
        broken()
    broken()  # passed over
