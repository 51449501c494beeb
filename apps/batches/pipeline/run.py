"""Runs one chunk: claims it, sends its lines, writes its parts, commits."""

import itertools
import random
from collections.abc import Callable
from enum import Enum
from functools import partial
from typing import NamedTuple, TypeVar

import structlog
from django.db import Error, InterfaceError, OperationalError, connection

from apps.api.errors import StorageError
from apps.batches import heartbeat, journal, leases
from apps.batches.leases import Claim
from apps.batches.models import Chunk
from apps.batches.pipeline import parts
from apps.batches.pipeline.parts import ERROR, OUTPUT, InputLine
from apps.batches.pipeline.send import ChunkRun
from apps.files import storage
from apps.inference.loop import shared_loop
from apps.inference.retry import back_off
from apps.observability import failpoints, metrics, traces
from apps.observability.traces import Span
from apps.upstreams import live

log = structlog.get_logger(__name__)

T = TypeVar("T")
LAST_STEP = 3
"""Of the back-off: at most 4 s between two attempts to commit."""


class Outcome(Enum):
    """What came of running a chunk."""

    DONE = "done"
    """Committed by this call."""
    RELEASED = "released"
    """Let go because this worker stops or makes way; another one should go on with it at once."""
    NOTHING = "nothing"
    """Somebody else's, or failed; sweeps know what is to be done."""


class Ran(NamedTuple):
    """What came of a claim, and whose it was; no chunk if nothing could be claimed."""

    outcome: Outcome
    chunk: Chunk | None = None


def run_next(tell: Callable[[Claim], object] = lambda _: None) -> Ran:
    """Brings the chunk whose turn it is to `done`, and tells which it is. Never raises, as `run`."""
    return _run(leases.claim_next, tell)


def run(chunk_id: int) -> Outcome:
    """Brings the chunk to `done` if it can be claimed.

    Never raises: whatever goes wrong, the chunk goes back to pending (or its lease runs out) and is sent again.
    """
    return _run(partial(leases.claim, chunk_id)).outcome


def _run(claim_one: Callable[[], Claim | None], tell: Callable[[Claim], object] = lambda _: None) -> Ran:
    claim = _claim(claim_one)
    if claim is None:
        return Ran(Outcome.NOTHING)
    tell(claim)
    return Ran(_run_safely(claim), claim.chunk)


def _run_safely(claim: Claim) -> Outcome:
    batch, index, epoch = claim.chunk.batch, claim.chunk.index, claim.epoch
    names = {"project_id": str(batch.project_id), "batch_id": batch.pk, "chunk": index, "epoch": epoch}
    with structlog.contextvars.bound_contextvars(**names):
        log.info("chunk claimed", lines=claim.chunk.lines)
        outcome = Outcome.NOTHING
        try:
            with traces.span("chunk", batch.pk, index=index, epoch=epoch, lines=claim.chunk.lines) as span:
                outcome = _run_claimed(claim, span)
        except Exception as error:
            log.exception("chunk failed")
            _let_go(claim, f"{type(error).__name__}: {error}")
        metrics.CHUNK_RUNS.add(outcome.value)
        return outcome


def _claim(claim_one: Callable[[], Claim | None]) -> Claim | None:
    try:
        return claim_one()
    except Error:
        log.warning("chunk not claimed; the resume sweep will send it again", exc_info=True)
        return None


def _let_go(claim: Claim, error: str) -> None:
    try:
        leases.release(claim, error)
    except Error:
        log.warning("chunk not released; its lease will run out", exc_info=True)


def _run_claimed(claim: Claim, span: Span) -> Outcome:
    failpoints.reach("run.claimed")
    chunk = claim.chunk
    chunk_run = ChunkRun(claim, _read_lines(chunk), span.traceparent)
    if claim.epoch > 1:
        chunk_run.restore(journal.load(chunk.pk))
    with heartbeat.heartbeat.keep(chunk_run):
        if not chunk_run.is_halting:
            # Who only writes off what was never sent, such as a control worker, takes no share of the upstreams.
            live.follower.ensure()
        with journal.journal.keep(chunk_run):
            shared_loop().run(chunk_run.send_all())
        span.set(completed=chunk_run.parts.count(OUTPUT), failed=chunk_run.parts.count(ERROR), halted=chunk_run.halted)
        if chunk_run.is_whole:
            return _commit(claim, chunk_run)
        # What is flushed now, the next owner need not send again.
        journal.flush([chunk_run])
        released = leases.release(claim)
    log.info("chunk let go", reason=chunk_run.halted)
    return Outcome.RELEASED if released else Outcome.NOTHING


def _read_lines(chunk: Chunk) -> list[tuple[int, InputLine]]:
    """A function of its own, so that nothing keeps the bytes that they were cut from."""
    data = storage.read_range(chunk.batch.input_file.object_key, chunk.start, chunk.end)
    return parts.parse_lines(data, chunk.first_line)


def _commit(claim: Claim, chunk_run: ChunkRun) -> Outcome:
    failpoints.reach("run.answered")
    sizes = _until_it_works(chunk_run, lambda: chunk_run.parts.write(claim))
    failpoints.reach("run.parts_written")
    committed = _until_it_works(
        chunk_run,
        lambda: leases.commit(
            claim,
            chunk_run.tally(),
            chunk_run.spent(),
            halted=chunk_run.unsent_reason,
            output_bytes=sizes[OUTPUT],
            error_bytes=sizes[ERROR],
        ),
    )
    if not committed:
        log.warning("chunk was lost to another worker")
        parts.remove_parts(claim)
        return Outcome.NOTHING
    failpoints.reach("run.committed")
    journal.drop(claim.chunk.pk)
    failpoints.reach("run.journal_dropped")
    log.info("chunk done", completed=chunk_run.parts.count(OUTPUT), failed=chunk_run.parts.count(ERROR))
    return Outcome.DONE


def _until_it_works(chunk_run: ChunkRun, step: Callable[[], T]) -> T:
    """The answers are paid for: while Postgres or the storage is away they are kept, here and in the journal.

    Raises what `step` does when the lease is lost, or the worker's time to stop is up: then the journal has them.
    """
    for attempt in itertools.count():
        try:
            return step()
        except (StorageError, OperationalError, InterfaceError) as error:
            connection.close()  # one that broke in mid-statement would be handed to each further attempt, dead
            chunk_run.waits_for_storage = isinstance(error, StorageError)
            journal.flush([chunk_run])
            log.warning("chunk not committed yet", exc_info=attempt == 0)
            if chunk_run.is_cut_off.wait(back_off(min(attempt, LAST_STEP), random.random)):
                raise
    raise AssertionError("unreachable")
