"""The log of an upstream's absence."""

from structlog.testing import capture_logs

from apps.inference.presence import REMIND_SECONDS, Presence


def test_it_says_once_that_an_upstream_is_away_and_reminds() -> None:
    now = [0.0]
    with capture_logs() as logs:
        presence = Presence("gpu", "http://gpu/v1", clock=lambda: now[0])
        presence.answers()
        for _ in range(3):
            presence.away("cannot connect")
        now[0] = REMIND_SECONDS + 1
        presence.away("cannot connect")
        presence.answers()
        presence.answers()

    assert [(entry["event"], entry["seconds"]) for entry in logs] == [
        ("upstream away", 0),
        ("upstream away", 31),
        ("upstream is back", 31),
    ]
    assert logs[0]["base_url"] == "http://gpu/v1"
    assert logs[0]["cause"] == "cannot connect"
