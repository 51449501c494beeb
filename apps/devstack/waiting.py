"""Waiting for a condition, with a deadline."""

import time
from collections.abc import Callable

from apps.devstack.errors import DevstackError


def until(condition: Callable[[], bool], *, seconds: float, what: str) -> None:
    """Return once `condition()` holds; DevstackError `what` after `seconds`. The condition may raise DevstackError."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise DevstackError(what)
        time.sleep(0.05)
