"""Passes over the repetitions of a sweep whose messages piled up while no worker was there."""

import time
from collections.abc import Callable
from functools import wraps

ROUND_SECONDS = 1.0


def once_a_round(sweep: Callable[[], None]) -> Callable[[], None]:
    """`sweep`, run in this process at most every ROUND_SECONDS; what comes sooner is nothing new."""
    ended_at = -ROUND_SECONDS

    @wraps(sweep)
    def passed_over_if_repeated() -> None:
        nonlocal ended_at
        if time.monotonic() - ended_at < ROUND_SECONDS:
            return
        try:
            sweep()
        finally:
            ended_at = time.monotonic()

    return passed_over_if_repeated
