"""The clock that leases are held against."""

import time

_CLOCK = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


def lease_clock() -> float:
    """Seconds that only go forward, also while the machine is suspended; `time.monotonic` stands still then on Linux.

    A worker that wakes up must find that its leases are over.
    """
    return time.clock_gettime(_CLOCK)
