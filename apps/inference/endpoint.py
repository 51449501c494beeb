"""One upstream as seen from one event loop: how many requests may be in flight, and how it answers them."""

import asyncio
import math
import random
import time
from collections import Counter
from collections.abc import Callable, Mapping
from functools import partial
from typing import NamedTuple

from apps.inference.answers import Busy, Retry, Verdict, classify
from apps.inference.breaker import Breaker, Sleep
from apps.inference.errors import NoAnswer, TransportError, UpstreamAway
from apps.inference.limiter import AdaptiveLimit
from apps.inference.meter import meter_of
from apps.inference.presence import Presence
from apps.inference.results import Completed, Failed, LineRequest
from apps.inference.retry import Jitter, busy_wait
from apps.inference.standing import Congestion, Standing
from apps.inference.transport import Transport
from apps.inference.upstream import MODELS_PATH, Upstream
from apps.observability.outage import Clock

REST_CAP_SECONDS = 5.0
"""Longest time without a line to a busy upstream, so that its recovery is noticed soon."""
OUTCOMES: dict[type[Verdict], str] = {Completed: "completed", Failed: "failed", Retry: "retried"}
"""What the meter calls an answer that is not Busy."""
MOST_TROUBLE = 200
"""Characters of what an upstream said, for a list that people read."""
TROUBLE_SECONDS = 60.0
"""So long it is told: of an upstream that throttles, every other answer is a good one."""


class Glance(NamedTuple):
    """One process' view of an upstream: why nothing moves (or an empty text), and what it last failed with.

    `limit` is what this process may have in flight now, `share` what the fleet leaves to it; `held` is by project.
    """

    standing: str
    trouble: str
    in_flight: int
    limit: int
    share: int
    held: dict[str, int]


class Endpoint:
    """An upstream, its connections, and what it can take just now. Everything here belongs to the loop's thread.

    `on_room` is called whenever more may be sent than before: the breaker closed, or a larger share came.
    """

    def __init__(
        self,
        upstream: Upstream,
        transport: Transport,
        *,
        on_room: Callable[["Endpoint"], object] = lambda _: None,
        jitter: Jitter = random.random,
        sleep: Sleep = asyncio.sleep,
        clock: Clock = time.monotonic,
    ) -> None:
        self.upstream = upstream
        self.in_flight = 0
        self.held: Counter[str] = Counter()
        self._transport = transport
        self._on_room = on_room
        self._clock = clock
        self._meter = meter_of(upstream.name)
        self._jitter = jitter
        self._limit = AdaptiveLimit(upstream.max_in_flight)
        self._paused = not upstream.enabled
        self._retired = False
        self._refusals = 0
        self._trouble, self._trouble_at = "", -math.inf
        self._rest: asyncio.TimerHandle | None = None
        self._headers = _constant_headers(upstream)
        self._congestion = Congestion(clock=clock)
        probe = partial(transport.probe, upstream.url(MODELS_PATH), self._headers)
        presence = Presence(upstream.name, upstream.base_url, clock=clock)
        self._breaker = Breaker(self, probe, presence, jitter=jitter, sleep=sleep)

    @property
    def name(self) -> str:
        return self.upstream.name

    @property
    def limit(self) -> int:
        """Slots that may be used now."""
        return self._limit.limit

    @property
    def has_room(self) -> bool:
        """One more may be in flight from this process: by its share of the fleet's, and by what the upstream takes."""
        return self.in_flight < self._limit.limit and not self._paused and self._rest is None

    @property
    def is_within_limit(self) -> bool:
        """As many as are in flight now may be: who gets an answer may send the next line at once."""
        return self.in_flight <= self._limit.limit and not self._paused and self._rest is None

    @property
    def wants_more(self) -> bool:
        """It is this process's share that holds lines back, and nothing else."""
        return self.in_flight >= self._limit.ceiling and not self._paused and self._rest is None

    @property
    def standing(self) -> Standing | None:
        """Why nothing moves here just now; None if nothing is in the way. From any thread."""
        if self._breaker.is_open or not self.upstream.enabled:
            return Standing.UPSTREAM_PAUSED
        return Standing.UPSTREAM_BUSY if self._congestion.lasts else None

    @property
    def glance(self) -> Glance:
        """What is to be seen from outside. From any thread."""
        limit = self._limit
        standing = self.standing
        return Glance(
            standing.value if standing else "",
            self._trouble if self._clock() - self._trouble_at < TROUBLE_SECONDS else "",
            self.in_flight,
            limit.limit,
            limit.ceiling,
            dict(self.held),
        )

    def take(self, project: str) -> None:
        """One request more in flight."""
        self.in_flight += 1
        self.held[project] += 1

    def give_back(self, project: str) -> None:
        """One request less. The last one of an upstream that was removed closes its connections."""
        if self.held[project] < 1:
            raise RuntimeError("a slot was given back that nobody held")
        self.in_flight -= 1
        self.held[project] -= 1
        if not self.held[project]:
            del self.held[project]
        if self._retired and not self.in_flight:
            self._close()

    def set_share(self, share: int) -> None:
        """What this process may use of the upstream's `max_in_flight`, from now on."""
        grows = share > self._limit.ceiling
        self._limit.ceiling = share
        if grows:
            self._on_room(self)

    def pause(self) -> None:
        """Nothing more is sent here. What is in flight may finish."""
        self._paused = True

    def resume(self) -> None:
        """The end of a pause, unless an operator has paused the upstream too."""
        self._paused = self._retired or not self.upstream.enabled
        if not self._paused:
            self._on_room(self)

    def retire(self) -> None:
        """The upstream was removed or changed: nothing more is sent, and the last answer closes the connections."""
        self._retired = self._paused = True
        self._on_room = lambda _: None
        if not self.in_flight:
            self._close()

    async def ask(self, request: LineRequest) -> Verdict:
        """Sends one request; the caller has taken a slot."""
        headers = {**self._headers, "x-request-id": request.id}
        if request.traceparent is not None:
            headers["traceparent"] = request.traceparent
        sent_at = self._clock()
        try:
            answer = await self._transport.send(self.upstream.url(request.path), headers, request.body)
        except TransportError as error:
            return self._unanswered(error, sent_at)
        self._breaker.answers()
        verdict = classify(answer)
        if isinstance(verdict, Busy):
            self._meter.attempts["busy"] += 1
            self._refused(verdict, sent_at)
        else:
            now = self._clock()
            self._refusals = 0
            self._congestion.over()
            self._limit.on_answer(now, sent_at, self.in_flight)
            self._meter.answered(OUTCOMES[type(verdict)], now - sent_at)
        return verdict

    def _refused(self, busy: Busy, sent_at: float) -> None:
        """Sends less. With a single line in flight there is no less: then the endpoint rests for a while.

        Or else one line after the other would go and be turned away, a new one at each round trip.
        """
        self._congestion.busy()
        self._note(busy.cause)
        self._limit.on_congestion(self._clock(), sent_at)
        if self._limit.limit <= 1 and self._rest is None:
            seconds = min(REST_CAP_SECONDS, busy_wait(self._refusals, busy.retry_after, self._jitter))
            self._rest = asyncio.get_running_loop().call_later(seconds, self._rested)
            self._refusals += 1

    def _note(self, trouble: str) -> None:
        self._trouble, self._trouble_at = trouble[:MOST_TROUBLE], self._clock()

    def _rested(self) -> None:
        self._rest = None
        self._on_room(self)

    def _unanswered(self, error: TransportError, sent_at: float) -> Verdict:
        self._congestion.over()
        self._note(str(error))
        if isinstance(error, UpstreamAway):
            self._meter.attempts["away"] += 1
            self._breaker.away(str(error))
            return Busy(str(error))
        if isinstance(error, NoAnswer):
            self._meter.attempts["timeout"] += 1
            self._limit.on_congestion(self._clock(), sent_at)
            return Retry(str(error), code="timeout")
        self._meter.attempts["retried"] += 1
        return Retry(str(error))

    def adopt(self, upstream: Upstream) -> bool:
        """Goes on under changed settings; False if they need new connections, and so a new endpoint."""
        if upstream.connection != self.upstream.connection:
            return False
        self.upstream = upstream
        self._paused = self._breaker.is_open or not upstream.enabled
        return True

    def _close(self) -> None:
        self._breaker.end()
        if self._rest is not None:
            self._rest.cancel()
        self._closing = asyncio.ensure_future(self._transport.close())  # kept: the loop holds tasks but weakly


def _constant_headers(upstream: Upstream) -> Mapping[str, str]:
    headers = {"content-type": "application/json", "accept": "application/json"}
    if upstream.api_key:
        headers["authorization"] = f"Bearer {upstream.api_key.strip()}"  # a secret read from a file ends in a newline
    return headers
