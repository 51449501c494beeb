"""How many requests one process may have in flight at one upstream, found out from what the upstream answers."""

import math

# An upstream that says 429 at once tells exactly where its limit is: taking 5 % off, one process alone uses 97 % of it
# and two 98.6 %; with the customary 10 % it is 94 and 96 %.
DECREASE_SHARE = 0.05

# At least one whole slot, because 5 % of less than twenty is nothing after rounding and the next 429 follows at once.
LEAST_DECREASE = 1.0

# The same for all: what is added alike and taken off by share makes 60 and 4 converge (at 10 %/s and nothing else they
# are 46 and 17 after half a minute, at 2 slots + 5 %/s they are 42 and 22 at worst).
INCREASE_PER_SECOND = 2.0

# On top, so that a thousand slots follow an upstream as fast as ten: two processes reach twice their limit in 7 s.
INCREASE_SHARE_PER_SECOND = 0.05

# One slot an answer is at most a doubling in one round trip, as in TCP's slow start: to grow faster is to grow blindly.
MOST_INCREASE_PER_ANSWER = 1.0


class AdaptiveLimit:
    """Additive increase, multiplicative decrease. Pure: no I/O, no clock; times are seconds of one monotonic clock.

    `on_answer` or `on_congestion` is told of every request that was sent, once, when it ends. The request itself still
    counts in the `in_flight` given then. Both are O(1).

    It starts at the ceiling. A 429, a 503 or a read time-out takes a share off, once per round trip: what comes back
    from requests sent before the last decrease tells of the old limit. Then it waits for an answer to a request sent
    since, and from there on grows with time (not with answers: fast upstreams would be pushed harder than slow ones),
    but only while the limit is what holds lines back.

    Refusals without an answer between them say that the upstream was away or overwhelmed, not where its limit is. When
    it answers again, half of what it took before is given back at one slot an answer, as in TCP's slow start.

    While it is the ceiling that holds them back, what the process has earned goes on growing unseen, so that after a
    while without congestion a raised ceiling is used at once, as at the start.
    """

    __slots__ = ("_ceiling", "_decreased_at", "_earned", "_full_since", "_half_before", "_is_answered")

    def __init__(self, ceiling: int) -> None:
        self._ceiling = ceiling
        self._earned = math.inf  # no congestion yet
        self._decreased_at = -math.inf
        self._full_since: float | None = None
        self._half_before = 0.0
        self._is_answered = True

    @property
    def limit(self) -> int:
        """Requests that may be in flight: at least 1, unless the ceiling is 0, and never above the ceiling."""
        return int(self._earned) if self._earned < self._ceiling else self._ceiling

    @property
    def ceiling(self) -> int:
        """What this process may have at most, by its lease from the fleet. May change at any time."""
        return self._ceiling

    @ceiling.setter
    def ceiling(self, slots: int) -> None:
        self._ceiling = slots

    def on_answer(self, now: float, sent_at: float, in_flight: int) -> None:
        """A request ended and says nothing about congestion."""
        if in_flight != self.limit:  # below: lines are few; above: it still drains after a decrease
            self._full_since = None
        elif self._full_since is None:
            self._full_since = now
        elif sent_at > self._decreased_at:
            self._is_answered = True
            self._grow(now, self._full_since)

    def on_congestion(self, now: float, sent_at: float) -> None:
        """A request was answered 429 or 503, or not at all within the read time-out."""
        if sent_at <= self._decreased_at or self._ceiling < 1:
            return
        used = min(self._earned, self._ceiling)
        if self._is_answered:
            self._half_before, self._is_answered = used / 2, False
        self._earned = max(1.0, used - max(LEAST_DECREASE, used * DECREASE_SHARE))
        self._decreased_at = now
        self._full_since = None

    def _grow(self, now: float, since: float) -> None:
        if math.isinf(self._earned):
            return
        if self._earned < self._half_before:
            self._earned += MOST_INCREASE_PER_ANSWER
            self._full_since = now
            return
        a_second = INCREASE_PER_SECOND + INCREASE_SHARE_PER_SECOND * self._earned
        slots = min(MOST_INCREASE_PER_ANSWER, a_second * (now - since))
        self._earned += slots
        self._full_since = since + slots / a_second  # what one answer may not add, the next one of a burst does
