"""The wiring: which message leads to which stage, and what is sent next. Queues are in zerobatch/routes.py.

Only the chord's headers have results, for Celery to count them; nobody waits for one (zerobatch/results.py).
"""

import time
from collections.abc import Callable
from contextlib import suppress
from functools import cache, partial
from typing import Any

import redis
import structlog
from celery import chord, current_app, current_task, shared_task
from celery.signals import task_postrun, task_prerun, worker_ready, worker_shutdown, worker_shutting_down
from celery.states import SUCCESS
from django.conf import settings
from django.db import Error, connection, transaction
from kombu.exceptions import OperationalError

from apps.batches import lifecycle, report, sweeps
from apps.batches.heartbeat import heartbeat
from apps.batches.leases import Claim
from apps.batches.models import Batch, Worker
from apps.batches.pipeline import assemble, run
from apps.batches.pipeline.run import Outcome, Ran
from apps.batches.sweeps import PendingChunk
from apps.observability import failpoints, metrics
from apps.observability.pileup import once_a_round
from apps.upstreams import live

log = structlog.get_logger(__name__)

_consumer: Any = None
"""Celery's, of a process that takes chunks."""


def on_commit(send: Callable[[], object]) -> None:
    """Sends when the current transaction is committed.

    With the broker away nothing is sent and nothing is lost: the resume sweep finds what still needs a message.
    """
    transaction.on_commit(partial(_try, send))


def begin(batch_id: str) -> None:
    """Has the batch's pending chunks sent, once the current transaction is committed."""
    on_commit(partial(start.delay, batch_id))


def cancel(batch: Batch) -> bool:
    """As lifecycle.cancel, and what was not sent is written off without waiting for a sweep."""
    is_first = lifecycle.cancel(batch)
    if is_first:
        on_commit(partial(write_off.delay, batch.pk))
    return is_first


@shared_task(name="batches.start", ignore_result=True)
def start(batch_id: str) -> None:
    """Sends the chunks of a new batch as a chord whose callback finalizes it."""
    chunks = sweeps.chunks_of(batch_id)
    if chunks:
        sweeps.mark_sent(chunks)
        failpoints.reach("start.marked")
        chord([run_chunk.si(*chunk).set(**_readable(chunk)) for chunk in chunks])(finalize.si(batch_id))
        failpoints.reach("start.sent")


@shared_task(name="batches.run_chunk")
def run_chunk(project_id: str, chunk_id: int) -> None:
    """Runs a chunk, not always the one that it was sent for: the project with the fewest running chunks is first.

    Never raises and returns None: a failed header would fail the chord. Sweeps send chunks outside the chord, so
    whoever finishes the last one says so too; finalizing twice does no harm.
    """
    _go_on(run.run_next(_show))


def _show(claim: Claim) -> None:
    """Tells Flower which chunk this message runs; without one that listens nothing is sent, and nothing ever waits.

    As a second "started", because that is what updates a task's arguments there.
    """
    dispatcher = getattr(_consumer, "event_dispatcher", None)
    if dispatcher is None or not dispatcher.enabled:
        return
    what = f"({claim.chunk.batch_id}, chunk {claim.chunk.index}, {claim.chunk.lines} lines, epoch {claim.epoch})"
    with suppress(Exception):  # nothing that is only shown may end a run
        dispatcher.send("task-started", uuid=current_task.request.id, args=what, kwargs="{}")


def _go_on(ran: Ran) -> None:
    if ran.chunk is None:
        return
    if ran.outcome is Outcome.DONE:
        _try(partial(_finalize_after, ran.chunk.batch_id))
    elif ran.outcome is Outcome.RELEASED:
        _try(partial(_send_chunks, [PendingChunk(str(ran.chunk.batch.project_id), ran.chunk.pk)]))


@shared_task(name="batches.finalize", ignore_result=True)
def finalize(batch_id: str) -> None:
    assemble.assemble(batch_id)


@shared_task(name="batches.write_off", ignore_result=True)
def write_off(batch_id: str) -> None:
    """Ends the pending chunks of a cancelled or overdue batch without waiting for their turn in the queue."""
    for _, chunk_id in sweeps.chunks_of(batch_id):
        run.run(chunk_id)
    _try(partial(_finalize_after, batch_id))


@shared_task(name="batches.resume", ignore_result=True)
@once_a_round
@metrics.sweep("resume")
def resume() -> None:
    found = sweeps.resume(cache(_is_idle))
    _send_chunks(found.chunks)
    for batch_id in found.ready:
        finalize.delay(batch_id)


@shared_task(name="batches.expire", ignore_result=True)
@once_a_round
@metrics.sweep("expire")
def expire() -> None:
    for batch_id in sweeps.overdue():
        write_off.delay(batch_id)


@shared_task(name="batches.purge", ignore_result=True)
@once_a_round
@metrics.sweep("purge_batches")
def purge() -> None:
    sweeps.purge()


@task_prerun.connect
def time_the_sweep(task: Any, **_: object) -> None:
    if task.name in sweeps.EVERY:
        task.request.began_at = time.monotonic()


@task_postrun.connect
def note_the_sweep(task: Any, state: str | None = None, retval: object = None, **_: object) -> None:
    """For the dashboard: when it last ended, and of what. Nothing rests on it."""
    if task.name not in sweeps.EVERY:
        return
    seconds = time.monotonic() - task.request.began_at
    error = "" if state == SUCCESS else f"{type(retval).__name__}: {retval}"
    _try(partial(sweeps.ended, task.name, seconds=seconds, error=error))


@worker_ready.connect
def say_that_we_are_here(sender: Any, **_: object) -> None:
    """A worker that takes chunks shows itself from now on, so that people can tell none from an idle one."""
    if any(queue.startswith("chunks.") for queue in current_app.amqp.queues.consume_from):
        global _consumer  # noqa: PLW0603  one for the process
        _consumer = sender
        heartbeat.each_beat = live.follower.follow
        heartbeat.report = report.of_this_process
        heartbeat.announce(Worker(name=sender.hostname), most_runs=sender.controller.concurrency)
        live.follower.follow()  # its share of the upstreams takes seconds to be known: before the first batch needs it
        connection.close()  # this thread will not need it again


@worker_shutdown.connect
def give_back_slots(**_: object) -> None:
    """Everything has ended: the others need not wait for this process' share to expire."""
    live.close()


@worker_shutting_down.connect
def let_go_of_chunks(**_: object) -> None:
    """On SIGTERM this process sends no more lines; its chunks go on elsewhere once those in flight are answered."""
    heartbeat.stop()


def _send_chunks(chunks: list[PendingChunk]) -> None:
    sweeps.mark_sent(chunks)
    for chunk in chunks:
        run_chunk.apply_async(chunk, ignore_result=True, **_readable(chunk))


def _readable(chunk: PendingChunk) -> dict[str, Any]:
    """How its message shows in Flower until a worker has claimed a chunk for it, perhaps another one."""
    return {"argsrepr": f"(the next chunk; sent in the name of project {chunk.project_id})", "kwargsrepr": "{}"}


def _is_idle(project_id: str) -> bool:
    """No message waits in the queue of the project's chunks.

    Asked of Redis itself: to Celery an empty queue does not exist, which is an error that costs it its connection.
    """
    queue = current_app.amqp.router.route({}, run_chunk.name, args=(project_id, 0))["queue"]
    with redis.Redis.from_url(settings.REDIS_URL, socket_timeout=5) as broker:
        return bool(broker.llen(queue.name) == 0)


def _finalize_after(batch_id: str) -> None:
    if assemble.is_ready(batch_id):
        finalize.delay(batch_id)


def _try(send: Callable[[], object]) -> None:
    try:
        send()
    except (OperationalError, Error):
        log.warning("not sent; the resume sweep will do it", exc_info=True)
