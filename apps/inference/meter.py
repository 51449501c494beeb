"""What upstreams have answered this process, in plain numbers: a line costs a third of a microsecond here.

Written by the event loop's thread only, and read by whoever looks, without a lock: each number is right by itself.
"""

from bisect import bisect_left

BOUNDS = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0)
"""Seconds."""


class Meter:
    """The requests to one upstream since the process began, whatever became of its settings and connections."""

    __slots__ = ("attempts", "counts", "gave_up", "seconds", "unsent")

    def __init__(self) -> None:
        self.attempts = dict.fromkeys(("completed", "failed", "retried", "busy", "away", "timeout"), 0)
        self.gave_up = 0
        """Lines that failed because their attempts ended."""
        self.unsent = 0
        self.counts = [0] * (len(BOUNDS) + 1)
        """Of answers between each two BOUNDS."""
        self.seconds = 0.0

    def answered(self, outcome: str, seconds: float) -> None:
        """An answer that was not busy came after so many seconds."""
        self.attempts[outcome] += 1
        self.counts[bisect_left(BOUNDS, seconds)] += 1
        self.seconds += seconds

    def lines(self) -> dict[str, int]:
        """Outcome → lines that have their result."""
        return {
            "completed": self.attempts["completed"],
            "failed": self.attempts["failed"] + self.gave_up,
            "unsent": self.unsent,
        }


meters: dict[str, Meter] = {}
"""By upstream, for as long as the process lives."""
nobody = Meter()
"""Lines that no upstream has seen."""


def meter_of(upstream: str) -> Meter:
    return meters.setdefault(upstream, Meter())
