"""Pauses an upstream that is away, and asks every few seconds whether it is back (architecture.md §4)."""

import asyncio
import random
from collections.abc import Awaitable, Callable
from contextvars import Context
from itertools import count
from typing import Protocol

from apps.inference.errors import TransportError
from apps.inference.presence import Presence
from apps.inference.retry import Jitter, back_off

FAILURES = 5
PROBE_CAP_SECONDS = 5.0  # between probes, so that the return of an upstream is noticed soon

Probe = Callable[[], Awaitable[None]]
"""Returns if the upstream answered anything at all, raises TransportError if not."""

Sleep = Callable[[float], Awaitable[object]]
"""`asyncio.sleep` outside tests."""


class Pausable(Protocol):
    """What hands out slots."""

    def pause(self) -> None: ...

    def resume(self) -> None: ...


class Breaker:
    """Open after FAILURES lines in a row found nobody there; closed by the first answer, to a probe or to a line.

    While it is open the slots are paused and one task probes. So no line is sent to find out: it keeps its place in
    the queue, without a slot, an attempt or a task of its own. A broken or missing answer changes nothing here: it says
    that somebody was there, but also comes from an upstream that is just going down.

    Belongs to the event loop's thread; only `is_open` may be read from others.
    """

    def __init__(
        self,
        slots: Pausable,
        probe: Probe,
        presence: Presence,
        *,
        jitter: Jitter = random.random,
        sleep: Sleep = asyncio.sleep,
    ) -> None:
        self._slots = slots
        self._probe = probe
        self._presence = presence
        self._jitter = jitter
        self._sleep = sleep
        self._failures = 0
        self._probing: asyncio.Task[None] | None = None

    @property
    def is_open(self) -> bool:
        """The upstream is paused."""
        return self._probing is not None

    def away(self, cause: str) -> None:
        """A line found nobody there."""
        self._presence.away(cause)
        self._failures += 1
        if self._failures >= FAILURES and self._probing is None:
            self._open()

    def answers(self) -> None:
        """A line got an answer, whatever it says. Costs next to nothing while all is well."""
        self._failures = 0
        self._presence.answers()
        if self._probing is not None:
            self._probing.cancel()
            self._close()

    def end(self) -> None:
        """Ends the probing, if there is any: nobody will send here any more."""
        if self._probing is not None:
            self._probing.cancel()

    def _open(self) -> None:
        self._slots.pause()
        # In a context of its own: what it logs is not about the run whose line happened to be the last to fail.
        self._probing = asyncio.create_task(self._probe_until_back(), context=Context())
        self._probing.add_done_callback(self._probing_ended)

    def _close(self) -> None:
        self._failures = 0
        self._probing = None
        self._slots.resume()

    def _probing_ended(self, probing: asyncio.Task[None]) -> None:
        """Also when it was cancelled because the loop stops: on the next loop nobody would end the pause."""
        if probing is self._probing:  # else a line was first, and the breaker may be open anew
            self._close()

    async def _probe_until_back(self) -> None:
        for step in count():
            await self._sleep(back_off(step, self._jitter, PROBE_CAP_SECONDS))
            if await self._is_back():
                break
        self._presence.answers()

    async def _is_back(self) -> bool:
        try:
            await self._probe()
        except TransportError as error:
            self._presence.away(str(error))
            return False
        except Exception:  # whatever it is, probing must go on
            self._presence.unclear()
            return False
        return True
