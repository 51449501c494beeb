"""A Celery worker whose wall clock is wrong, while `time.monotonic()` is right, as after a jump of the clock.

    python -m tests.fakes.skewed_worker SECONDS {start|signal} CELERY-ARGUMENTS...

The clock is SECONDS ahead (or behind, below zero) from the start, or jumps by as much at each SIGUSR2.
"""

import signal
import sys
import time
from datetime import UTC, datetime

import time_machine
from celery.__main__ import main as celery

from apps.devstack.child import tie_to_parent

JUMPED = "the clock has jumped"
"""Written to standard output after each jump."""


def main() -> None:
    program, seconds, when, *arguments = sys.argv
    skew = time_machine.travel(datetime.now(UTC), tick=True).start()  # it leaves time.monotonic() alone

    def jump(*_: object) -> None:
        skew.shift(int(seconds))
        print(JUMPED, flush=True)

    tie_to_parent()
    signal.signal(signal.SIGUSR2, jump)
    if when == "start":
        jump()
    monotonic = time.clock_gettime(time.CLOCK_MONOTONIC)
    assert abs(time.monotonic() - monotonic) < 1, "time.monotonic() must not jump"
    sys.argv = [program, *arguments]
    celery()


if __name__ == "__main__":
    main()
