"""Finished lines of chunks that still run, kept in Redis: whoever takes a chunk over need not send them again.

Losing the journal costs re-sends, never results (architecture.md §3), so nothing here raises when Redis is away.
"""

import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from typing import Any, NamedTuple, Protocol

import msgspec
import redis
import structlog
from django.conf import settings

from apps.inference.usage import Usage
from apps.observability.metrics import JOURNAL_FLUSHES
from apps.observability.outage import Outage

log = structlog.get_logger(__name__)

FLUSH_SECONDS = 0.5
TTL_SECONDS = settings.COMPLETION_WINDOW_SECONDS + 2 * 60 * 60
"""Above the deadline of any batch: what nobody dropped goes by itself."""


class Entry(NamedTuple):
    """One finished line: its number in the input, which file it goes to, its text there, what it cost."""

    number: int
    kind: str
    text: bytes
    usage: Usage


class Journaled(Protocol):
    """A chunk on its way, as the journal sees it. `unflushed` holds entries that are not in Redis yet."""

    unflushed: deque[Entry]

    @property
    def chunk_id(self) -> int: ...

    def holds_its_lease(self) -> bool:
        """False once the lease may have run out: a worker that slept must not write into its successor's journal."""
        ...


class Journal:
    """The journals of one process's runs, and the thread that flushes them, all in one pipeline."""

    def __init__(self) -> None:
        self._runs: dict[int, Journaled] = {}
        self._lock = threading.Lock()
        self._flushing = threading.Lock()
        self._thread: threading.Thread | None = None

    @contextmanager
    def keep(self, run: Journaled) -> Iterator[None]:
        """Flushes the run's entries while the block lasts. What is left at the end is the caller's to flush or drop.

        At the end no flush is under way: one that wrote after the caller's drop would leave a journal behind.
        """
        with self._lock:
            self._runs[run.chunk_id] = run
            self._ensure_thread()
        try:
            yield
        finally:
            with self._lock:
                self._runs.pop(run.chunk_id, None)
            self._await_flush()

    def _ensure_thread(self) -> None:
        if self._thread is None or not self._thread.is_alive():
            self._thread = threading.Thread(target=self._flush_for_ever, name="journal", daemon=True)
            self._thread.start()

    def _flush_for_ever(self) -> None:
        pause = threading.Event()
        while not pause.wait(FLUSH_SECONDS):
            with self._flushing:
                flush(self._current())
            _drop_what_was_left()

    def _current(self) -> list[Journaled]:
        with self._lock:
            return list(self._runs.values())

    def _await_flush(self) -> None:
        """Returns when the flush under way is over; the next one does not know what was taken out before."""
        self._flushing.acquire()
        self._flushing.release()


journal = Journal()
"""The one of this process."""

_outage = Outage("journal in Redis")
_undropped: set[int] = set()
_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(list[Entry])


def flush(runs: list[Journaled]) -> None:
    """Writes all entries that are not in Redis yet; those of a failed write are kept for the next time."""
    taken = {run.chunk_id: (run, _take(run)) for run in runs if run.unflushed and run.holds_its_lease()}
    if not taken:
        return
    try:
        with _redis().pipeline(transaction=False) as pipeline:
            for chunk_id, (_, entries) in taken.items():
                # One value a flush: redis-py would spend more on a thousand arguments than all else here costs.
                pipeline.rpush(_key(chunk_id), _encoder.encode(entries))
                pipeline.expire(_key(chunk_id), TTL_SECONDS)
            pipeline.execute()
    except redis.RedisError:
        _outage.failed()
        JOURNAL_FLUSHES.add("failed")
        for run, entries in taken.values():
            run.unflushed.extendleft(reversed(entries))
    else:
        _outage.worked()
        JOURNAL_FLUSHES.add("written")


def load(chunk_id: int) -> list[Entry]:
    """What earlier claims of the chunk have finished; nothing if Redis does not know, or is away."""
    try:
        found: Any = _redis().lrange(_key(chunk_id), 0, -1)
        return [entry for flushed in found for entry in _decoder.decode(flushed)]
    except (redis.RedisError, msgspec.DecodeError):
        log.warning("journal not loaded", exc_info=True)
        return []


def first(chunk_id: int) -> list[Entry]:
    """Some of what a running chunk has finished, to look at: its first two flushes, a second's worth of answers."""
    try:
        found: Any = _redis().lrange(_key(chunk_id), 0, 1)
        return [entry for flushed in found for entry in _decoder.decode(flushed)]
    except (redis.RedisError, msgspec.DecodeError):
        return []


def drop(*chunk_ids: int) -> None:
    """Forgets chunks that are done."""
    try:
        erase(*chunk_ids)
    except redis.RedisError:
        log.warning("journal not dropped yet", exc_info=True)
        _undropped.update(chunk_ids)


def _drop_what_was_left() -> None:
    """Forgets what Redis was away for; what this process does not live to drop expires."""
    if chunk_ids := tuple(_undropped):
        with suppress(redis.RedisError):
            erase(*chunk_ids)
            _undropped.difference_update(chunk_ids)


def erase(*chunk_ids: int) -> None:
    """Forgets these chunks, or raises redis.RedisError."""
    if chunk_ids:
        _redis().delete(*map(_key, chunk_ids))


def _take(run: Journaled) -> list[Entry]:
    """Empties the run's deque, which its event loop fills meanwhile."""
    return [run.unflushed.popleft() for _ in range(len(run.unflushed))]


def _key(chunk_id: int) -> str:
    return f"journal:{chunk_id}"


@cache
def _redis() -> redis.Redis:
    return redis.Redis.from_url(settings.REDIS_URL, socket_connect_timeout=2, socket_timeout=5)
