"""Sends lines of one run, one after the other, with a slot that it keeps for as long as that is fair."""

import logging
from typing import Protocol

import structlog

from apps.inference.answers import Busy, Retry
from apps.inference.halt import Halt
from apps.inference.meter import meter_of, nobody
from apps.inference.pool import NoUpstream, Pool, Slot
from apps.inference.results import Failed, LineRequest, Result
from apps.inference.retry import Jitter, Pause
from apps.inference.setbacks import Setbacks
from apps.inference.turns import Turn

log = structlog.get_logger("zerobatch.line")

_SETBACKS = (Retry, Busy)


class Lines(Protocol):
    """Lines of one run and one model that wait to be sent, and where their results go."""

    def take(self) -> LineRequest | None:
        """The next one, which is the caller's to finish; None if none is left."""
        ...

    def finish(self, request: LineRequest, result: Result) -> None: ...


class Sender:
    """At most one line under way, and at most one slot held: on the way to an answer, and between two lines.

    A line that backs off holds none, and queues for another one afterwards. Whoever made the sender calls `give_back`
    when it is through with it.
    """

    def __init__(self, pool: Pool, halt: Halt, turn: Turn, slot: Slot | None, *, jitter: Jitter, pause: Pause) -> None:
        self._pool = pool
        self._halt = halt
        self._turn = turn
        self._slot = slot
        self._jitter = jitter
        self._pause = pause

    async def send(self, first: LineRequest, lines: Lines) -> None:
        """Sends `first`, which was taken from `lines`, and then others for as long as the slot may be kept.

        A task for each line, and a place in the queue, would cost more than all else that is done with it.
        """
        request: LineRequest | None = first
        while request is not None:
            lines.finish(request, await self.complete(request))
            request = lines.take() if self._may_go_on(request.model) else None

    async def complete(self, request: LineRequest) -> Result:
        """Brings one line to its end. Raises nothing of its own."""
        setbacks = None
        try:
            while slot := await self._hold_slot(request):
                verdict = await slot.endpoint.ask(request)
                if not isinstance(verdict, _SETBACKS):
                    return verdict
                self.give_back()
                _note(request, verdict, slot)
                setbacks = setbacks or Setbacks()
                if failed := setbacks.note(verdict, slot.endpoint.upstream.max_attempts):
                    meter_of(slot.endpoint.name).gave_up += 1
                    return failed
                if await self._pause(self._halt, setbacks.seconds_to_wait(self._jitter)):
                    break
            return (setbacks or Setbacks()).unsent()
        except NoUpstream as error:
            return no_upstream(error)

    def give_back(self) -> None:
        """Holds nothing any more."""
        slot, self._slot = self._slot, None
        if slot is not None:
            self._pool.release(slot)

    def _may_go_on(self, model: str | None) -> bool:
        return self._slot is not None and self._pool.keep(self._slot, model, self._turn)

    async def _hold_slot(self, request: LineRequest) -> Slot | None:
        """None when halted, and nothing is held. Raises NoUpstream."""
        if not self._halt.is_clear:
            self.give_back()  # the caller passed the door with it, but that was a turn of the loop ago
        if self._slot is None:
            self._slot = await self._pool.acquire(self._halt, request.model, self._turn)
        return self._slot


def _note(request: LineRequest, setback: Retry | Busy, slot: Slot) -> None:
    """For who wants to know of each line. Not the cause: it quotes the upstream, which may quote the line."""
    if logging.getLogger("zerobatch.line").isEnabledFor(logging.DEBUG):
        kind = "busy" if isinstance(setback, Busy) else setback.code
        log.debug("line set back", line_id=request.id, upstream=slot.endpoint.name, kind=kind)


def no_upstream(error: NoUpstream) -> Failed:
    """The result of a line whose model nobody serves (wire.md §8); it is counted as failed."""
    nobody.gave_up += 1
    return Failed("not_found_error", str(error), "model")
