"""Sends the lines of one claimed chunk through the event loop, and keeps what comes back."""

import asyncio
import sys
import threading
from collections import defaultdict, deque
from collections.abc import Collection, Coroutine, Iterable
from typing import Any

from django.conf import settings

from apps.api.ids import line_id
from apps.batches import codes, heartbeat
from apps.batches.journal import Entry
from apps.batches.leases import Beat, Claim
from apps.batches.models import Tally
from apps.batches.outcomes import COMPLETED, outcomes
from apps.batches.pipeline import parts
from apps.batches.pipeline.parts import ERROR, KINDS, OUTPUT, InputLine, Parts, model_of, prefix_of
from apps.batches.states import WaitingReason
from apps.batches.usage import Spent
from apps.inference.client import no_upstream
from apps.inference.clock import lease_clock
from apps.inference.halt import Halt
from apps.inference.loop import shared_loop
from apps.inference.meter import nobody
from apps.inference.pool import NoUpstream
from apps.inference.results import Completed, Failed, LineRequest, Result, Unsent
from apps.inference.turns import Turn
from apps.inference.usage import NO_USAGE, Usage, summed
from apps.upstreams import live

# A line may nest a thousand levels (wire.md §6), and msgspec counts each against Python's limit.
sys.setrecursionlimit(max(sys.getrecursionlimit(), 4_000))

# What a line that was never sent says, by why the run was halted.
UNSENT = {
    codes.CANCELLED: "The batch was cancelled before this line was sent",
    codes.EXPIRED: "The batch's completion window ended before this line was sent",
    codes.QUOTA_USED_UP: "The project's token budget was used up before this line was sent",
    codes.KEY_REVOKED: "The API key that submitted this batch was revoked before this line was sent",
}


class Queue:
    """The lines of a run that name one model; those of another one go on while its upstream is away."""

    def __init__(self, run: "ChunkRun", model: str | None) -> None:
        self.model = model
        self.waiting: deque[tuple[int, InputLine]] = deque()
        self._run = run
        self._opening: asyncio.Task[None] | None = None

    def open(self, opening: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Runs what brings the lines slots, until none waits."""
        self._opening = asyncio.create_task(opening)
        return self._opening

    def close(self) -> None:
        """Lets go of what is over, and with it of the run."""
        self._opening = None

    def take(self) -> LineRequest | None:
        """With the last one nobody need wait for a slot any more."""
        if not self.waiting:
            return None
        number, line = self.waiting.popleft()
        if not self.waiting and self._opening is not None:
            self._opening.cancel()
        return self._run.begin(number, line, self.model)

    def finish(self, request: LineRequest, result: Result) -> None:
        self._run.finish(request.id, result)


class ChunkRun:
    """The lines of one claimed chunk on their way through the event loop.

    `beat` and `halt` may be called from any thread; all else runs on the loop's.
    """

    def __init__(self, claim: Claim, lines: list[tuple[int, InputLine]], traceparent: str | None = None) -> None:
        self.parts = Parts()
        self.usages: defaultdict[str | None, list[Usage]] = defaultdict(list)
        self.unflushed: deque[Entry] = deque()
        self.unsent_reason = ""
        self.waits_for_storage = False
        self.is_halting = False
        self.is_cut_off = threading.Event()
        self._valid_until = lease_clock() + settings.LEASE_SECONDS
        self._claim = claim
        self._traceparent = traceparent
        self._lines = lines
        self._models: dict[int, str | None] = {}
        self._queues: dict[str | None, Queue] = {}
        self._under_way: dict[str, tuple[int, InputLine]] = {}
        self._batch = claim.chunk.batch
        if self._batch.model is None:
            self._models = {number: model_of(line.body) for number, line in lines}
        self._turn = Turn(str(self._batch.project_id), (self._batch.created_at, self._batch.pk, claim.chunk.index))
        self._halt = Halt()
        self._tasks: list[asyncio.Task[None]] = []
        self._crashes: list[BaseException] = []

    @property
    def halted(self) -> str:
        """Why the run was halted, or an empty text."""
        return self._halt.reason or ""

    @property
    def chunk_id(self) -> int:
        return self._claim.chunk.pk

    @property
    def turn(self) -> Turn:
        """In whose name it sends: of a project's runs, the oldest batch's first chunk comes first."""
        return self._turn

    @property
    def in_flight(self) -> int:
        """Lines under way, those that back off included."""
        return len(self._under_way)

    @property
    def is_leaving(self) -> bool:
        """Halted, with nothing under way: its place in the process is about to be free."""
        return self.is_halting and not self._under_way

    @property
    def is_abandoned(self) -> bool:
        """Halted for somebody else to go on: what was not sent stays open."""
        return bool(self.halted) and self.halted not in UNSENT

    @property
    def is_whole(self) -> bool:
        """Every planned line has a result."""
        return self.parts.count(OUTPUT) + self.parts.count(ERROR) == self._claim.chunk.lines

    def beat(self) -> Beat:
        counts = self.parts.count(OUTPUT), self.parts.count(ERROR)
        return Beat(self._claim.chunk.pk, self._claim.epoch, *counts, self._waiting_reason(), self._usage())

    def renewed(self, at: float) -> None:
        self._valid_until = at + settings.LEASE_SECONDS
        shared_loop().call_soon(self._halt.prolong, self._valid_until)

    def holds_its_lease(self) -> bool:
        return lease_clock() < self._valid_until

    def _waiting_reason(self) -> str:
        """A WaitingReason, or an empty text while lines are in flight or nothing is left to send."""
        if self.is_whole:
            return WaitingReason.STORAGE_AWAY.value if self.waits_for_storage else ""
        queues = dict(self._queues)  # a copy, for the loop may just be filling them
        models = [model for model, queue in queues.items() if queue.waiting]
        standings = [live.client().pool.standing(model) for model in models or queues]
        if standings and (hindrance := standings[0]) and all(standings):
            return WaitingReason(hindrance.value).value
        return WaitingReason.QUEUED.value if models and not self._under_way else ""

    def restore(self, entries: Iterable[Entry]) -> None:
        """Takes over lines that an earlier claim has finished; they are not sent again."""
        open_lines = {number for number, _ in self._lines}
        for entry in entries:
            if entry.number in open_lines and entry.kind in KINDS:
                open_lines.discard(entry.number)
                self._record(entry)
        self._lines = [(number, line) for number, line in self._lines if number in open_lines]

    def halt(self, reason: str) -> None:
        self.is_halting = True
        shared_loop().call_soon(self._stop, reason)

    def tally(self) -> Tally:
        """What the chunk's row says in the end."""
        usage = self._usage()
        return Tally(self.parts.count(OUTPUT), self.parts.count(ERROR), *usage)

    def spent(self) -> list[Spent]:
        """What each model's answers have cost."""
        return [Spent(model, len(usages), summed(usages)) for model, usages in self.usages.items()]

    def _usage(self) -> Usage:
        # A copy of the values: the heartbeat asks from its own thread while answers of further models may come.
        return summed(usage for usages in list(self.usages.values()) for usage in list(usages))

    async def send_all(self) -> None:
        """Sends every line as slots come free and waits for the last answer; once halted, the rest stays unsent.

        Tasks exist for lines that were sent, not for those that wait for a slot. Raises RuntimeError if a line has no
        result in the end, unless the run was abandoned.
        """
        try:
            await self._send_queues()
        finally:
            self._close_queues()

    async def _send_queues(self) -> None:
        self._fill_queues()
        openers = [queue.open(self._open_senders(queue)) for queue in self._queues.values()]
        await self._ended(openers)
        if self.halted and not self.is_abandoned:
            self._write_off()
        await self._ended(self._tasks)
        self._check_whole()

    def _fill_queues(self) -> None:
        """From here on a line is kept until it has its result, and no longer."""
        lines, self._lines = self._lines, []
        if settings.PREFIX_ORDER:
            lines.sort(key=lambda numbered: prefix_of(numbered[1].body))
        for number, line in lines:
            model = self._model_of(number)
            queue = self._queues.get(model) or self._queues.setdefault(model, Queue(self, model))
            queue.waiting.append((number, line))

    def _close_queues(self) -> None:
        """Queues, tasks and run know each other: without this all that it has kept would wait for the cyclic garbage
        collector, which a worker calls rarely. The heartbeat may just be reading them, so they are not emptied.
        """
        for queue in self._queues.values():
            queue.close()
        self._queues, self._tasks = {}, []

    def _write_off(self) -> None:
        """What still waits is not sent any more."""
        for queue in self._queues.values():
            while queue.waiting:
                number, line = queue.waiting.popleft()
                self._keep(number, line, line_id(self._batch.pk, number), Unsent())

    async def _open_senders(self, queue: Queue) -> None:
        """One sender more whenever there is a slot for it, until no line waits."""
        client = live.client()
        while queue.waiting:
            try:
                slot = await client.pool.acquire(self._halt, queue.model, self._turn, queue.waiting)
            except NoUpstream as error:
                number, line = queue.waiting.popleft()
                self._keep(number, line, line_id(self._batch.pk, number), no_upstream(error))
                continue
            if slot is None:
                break
            if task := client.start(queue, self._halt, slot, turn=self._turn):
                self._tasks.append(task)

    async def _ended(self, tasks: Collection[asyncio.Task[None]]) -> None:
        """Waits for the tasks, and notes which crashed; some may have been cancelled."""
        ended = await asyncio.gather(*tasks, return_exceptions=True)
        self._crashes += [crash for crash in ended if isinstance(crash, Exception)]

    def _stop(self, reason: str) -> None:
        """Ends the sending. Lines in flight may finish: for as long as it takes, or, when the worker stops, for the
        grace that it has; of a chunk that is somebody else's, not at all.
        """
        self._halt.set(reason)
        if reason == heartbeat.LEASE_LOST:
            self._cut_off()
        elif reason == heartbeat.STOPPING:
            asyncio.get_running_loop().call_later(settings.DRAIN_SECONDS, self._cut_off)

    def _cut_off(self) -> None:
        self.is_cut_off.set()
        for task in self._tasks:
            task.cancel()

    def begin(self, number: int, line: InputLine, model: str | None) -> LineRequest:
        """A line that is sent from now on, until `finish`."""
        name = line_id(self._batch.pk, number)
        self._under_way[name] = number, line
        return LineRequest(name, self._batch.endpoint, bytes(line.body), model, self._traceparent)

    def finish(self, name: str, result: Result) -> None:
        number, line = self._under_way.pop(name)
        if not (self.is_abandoned and isinstance(result, Unsent)):
            self._keep(number, line, name, result)

    def _keep(self, number: int, line: InputLine, name: str, result: Result) -> None:
        match result:
            case Completed():
                outcomes.ended(COMPLETED)
                text = parts.output_line(name, line.custom_id, result)
                self._finished(Entry(number, OUTPUT, text, result.usage))
            case Failed():
                outcomes.ended(result.code)
                text = parts.error_line(name, line.custom_id, result)
                self._finished(Entry(number, ERROR, text, NO_USAGE))
            case Unsent():
                nobody.unsent += 1
                self.unsent_reason = self.halted
                error = unsent_error(self.halted, result)
                outcomes.ended(error.code)
                self.parts.add(ERROR, number, parts.error_line(name, line.custom_id, error))

    def _finished(self, entry: Entry) -> None:
        self._record(entry)
        self.unflushed.append(entry)

    def _record(self, entry: Entry) -> None:
        self.parts.add(entry.kind, entry.number, entry.text)
        if entry.kind == OUTPUT:
            self.usages[self._model_of(entry.number)].append(entry.usage)

    def _model_of(self, number: int) -> str | None:
        model = self._batch.model
        return self._models[number] if model is None else model  # the one model of a batch may be ""

    def _check_whole(self) -> None:
        """No line may ever be lost: a chunk commits with a result for each line it was planned with, or not at all."""
        if not self.is_whole and not self.is_abandoned:
            crash = self._crashes[0] if self._crashes else None
            raise RuntimeError(f"lines without a result in chunk {self._claim.chunk}") from crash


def unsent_error(reason: str, unsent: Unsent) -> Failed:
    """The error of a line that a halted run never sent, or never got through (wire.md §8)."""
    if reason == codes.EXPIRED and unsent.last is not None:
        return unsent.last
    waited = f" (it waited: {unsent.cause})" if unsent.cause else ""
    return Failed(reason, UNSENT[reason] + waited)
