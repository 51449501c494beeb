"""The outage that takes longest, in a file of its own so that others run beside it; all settings are the defaults."""

import time

import pytest

from tests.acceptance.drill import Drill
from tests.fakes.upstream import Mood
from tests.stack import Stack

LINES = 2_000


@pytest.fixture(scope="module")
def stack(defaults: Stack) -> Stack:
    return defaults


def test_an_upstream_away_and_then_busy_for_two_minutes_fails_no_line(drill: Drill) -> None:
    drill.begin(LINES, "slow-500")
    drill.wait_for_sent(LINES // 4)

    # What is promised is that these times may pass, so they do: the product sees nothing but what the upstream says.
    try:
        broken_off = drill.witness.stop()
        assert broken_off > 0
        try:
            time.sleep(60)
        finally:
            drill.witness.mood = Mood(503)
            drill.witness.start()
        time.sleep(30)
        drill.witness.mood = Mood(429, retry_after=2)
        time.sleep(30)
    finally:
        drill.witness.mood = None
    back = time.monotonic()

    # Lines in flight when the connections broke may have been answered for all we know: they are asked again.
    ended = drill.check(allowed_again=broken_off)
    recovery = time.monotonic() - back
    assert ended.request_counts is not None
    assert ended.request_counts.failed == 0
    print(
        f"upstream away for two minutes: {drill.sent_again()} lines sent again of {broken_off} in flight,"
        f" {drill.turned_away()} turned away, completed {recovery:.1f} s after"
    )
    assert recovery < 45
