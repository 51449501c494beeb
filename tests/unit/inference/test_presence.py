"""The log of an upstream's absence."""

import pytest
import structlog
from structlog.testing import CapturingLogger

from apps.inference.presence import Presence
from apps.observability.outage import REMIND_SECONDS


def test_it_says_once_that_an_upstream_is_away_and_reminds(monkeypatch: pytest.MonkeyPatch) -> None:
    captured, now = CapturingLogger(), [0.0]
    monkeypatch.setattr("apps.inference.presence.log", structlog.wrap_logger(captured, processors=[]))
    presence = Presence("gpu", "http://gpu/v1", clock=lambda: now[0])

    presence.answers()
    for _ in range(3):
        presence.away("cannot connect")
    now[0] = REMIND_SECONDS + 1
    presence.away("cannot connect")
    presence.answers()
    presence.answers()

    said = [call.kwargs for call in captured.calls]
    assert [(entry["event"], entry["seconds"]) for entry in said] == [
        ("upstream away", 0),
        ("upstream away", 31),
        ("upstream is back", 31),
    ]
    assert said[0]["base_url"] == "http://gpu/v1"
    assert said[0]["cause"] == "cannot connect"
