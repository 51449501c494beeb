"""Workers that die in mid-batch, with the upstream as witness of what was sent more than once."""

import signal

from tests.acceptance.drill import Drill

LINES = 5_000
SLOTS = 64
ANSWERS_PER_SECOND = SLOTS / 0.05


def begin_and_signal_both_workers(drill: Drill, with_signal: signal.Signals) -> None:
    """One when about 30 % of the lines are sent, the other at 60 %."""
    drill.begin(LINES, "slow-50")
    drill.wait_for_sent(int(LINES * 0.3))
    drill.stack.kill("worker-1", with_signal)
    drill.wait_for_sent(int(LINES * 0.6))
    drill.stack.kill("worker-2", with_signal)


def test_both_workers_killed_in_mid_batch(drill: Drill) -> None:
    begin_and_signal_both_workers(drill, signal.SIGKILL)

    allowed = int(2 * (SLOTS + ANSWERS_PER_SECOND))
    drill.check(allowed_again=allowed, killed=True)
    print(f"SIGKILL of both workers: {drill.sent_again()} lines sent again, at most {allowed} allowed")


def test_a_rolling_restart_sends_no_line_twice(drill: Drill) -> None:
    begin_and_signal_both_workers(drill, signal.SIGTERM)

    drill.check(allowed_again=0)
    print(f"SIGTERM of both workers: {drill.sent_again()} lines sent again")
