"""How many lines ended in this process of late, by outcome: what a dashboard shows as rate and failures."""

import itertools
import time
from collections import Counter, deque
from typing import NamedTuple

from apps.observability.outage import Clock

SLICE_SECONDS = 10
SLICES_A_MINUTE = 60 // SLICE_SECONDS
MINUTES = 15
MOST_CODES = 20
"""Different outcomes that are kept of one slice: an upstream may answer with codes of its own."""
COMPLETED, OTHER = "completed", "other"
LONGEST_CODE = 60


class Slice(NamedTuple):
    """Ten seconds of monotonic time, by number, and the lines that ended in them."""

    number: int
    counts: Counter[str]


class Outcomes:
    """The last quarter of an hour. `ended` is for the event loop's thread; anybody may read."""

    def __init__(self, clock: Clock = time.monotonic) -> None:
        self._clock = clock
        self._slices: deque[Slice] = deque([Slice(self._now(), Counter())], maxlen=MINUTES * SLICES_A_MINUTE)

    def ended(self, outcome: str) -> None:
        """One line has its result: COMPLETED, or the code of its error. A fraction of a microsecond."""
        now = self._now()
        if self._slices[-1].number != now:
            self._slices.append(Slice(now, Counter()))
        counts = self._slices[-1].counts
        known = outcome in counts or len(counts) < MOST_CODES
        counts[outcome[:LONGEST_CODE] if known else OTHER] += 1

    def by_minute(self) -> list[dict[str, int]]:
        """Outcome → lines, of the last minute first; as long as there is anything to tell, at most MINUTES."""
        minutes: list[Counter[str]] = [Counter() for _ in range(MINUTES)]
        now = self._now()
        for each in list(self._slices):
            age = (now - each.number) // SLICES_A_MINUTE
            if age < MINUTES:
                minutes[age].update(dict(each.counts))
        kept = list(itertools.dropwhile(lambda counts: not counts, reversed(minutes)))
        return [dict(counts) for counts in reversed(kept)]

    def _now(self) -> int:
        return int(self._clock() // SLICE_SECONDS)


outcomes = Outcomes()
"""The one of this process."""
