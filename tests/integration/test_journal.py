"""Finished lines of chunks that still run."""

from collections import deque
from datetime import timedelta
from typing import Any

import pytest
import redis
from django.conf import settings
from django.core.files.storage import default_storage
from django.db import InterfaceError, OperationalError
from django.utils import timezone

from apps.batches import codes, heartbeat, journal, leases
from apps.batches.journal import Entry
from apps.batches.models import Batch, Chunk
from apps.batches.pipeline import assemble, run, send
from apps.batches.pipeline.run import Outcome
from apps.batches.states import BatchStatus, ChunkState
from apps.inference.usage import Usage
from tests.conftest import Person
from tests.fakes.upstream import USAGE, FakeUpstream
from tests.integration.conftest import ask, new_batch, new_client, results

ENTRY = Entry(7, "output", b'{"a":"\xf0\x9f\x98\x80"}\n', Usage(1, 2, 3, 4, 5))


class Run:
    """A run that has finished one line."""

    def __init__(self, chunk_id: int, *, holds: bool = True) -> None:
        self.chunk_id = chunk_id
        self.unflushed = deque([ENTRY])
        self._holds = holds

    def holds_its_lease(self) -> bool:
        return self._holds


@pytest.fixture(autouse=True)
def _empty() -> None:
    with redis.Redis.from_url(settings.REDIS_URL) as broker:
        for key in broker.scan_iter("journal:*"):
            broker.delete(key)


@pytest.fixture
def no_redis(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journal, "_redis", lambda: redis.Redis(port=1, socket_connect_timeout=1))


def test_what_is_flushed_can_be_loaded_until_it_is_dropped() -> None:
    running = Run(1)
    journal.flush([running, Run(2)])

    assert not running.unflushed
    assert journal.load(1) == journal.load(2) == [ENTRY]
    journal.drop(1)
    assert journal.load(1) == []
    with redis.Redis.from_url(settings.REDIS_URL) as broker:
        assert 24 * 60 * 60 < broker.ttl("journal:2") <= journal.TTL_SECONDS


def test_a_worker_that_may_have_lost_its_lease_writes_nothing() -> None:
    journal.flush([Run(1, holds=False)])

    assert journal.load(1) == []


def test_without_redis_entries_are_kept_for_later(no_redis: None) -> None:
    running = Run(1)

    journal.flush([running])

    assert list(running.unflushed) == [ENTRY]
    assert journal.load(1) == []
    journal.drop(1)


def stopped_after(answers: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Makes every run stop, as at SIGTERM, once it has that many results."""
    finished = send.ChunkRun._finished

    def counted(chunk_run: send.ChunkRun, entry: Entry) -> None:
        finished(chunk_run, entry)
        if chunk_run.parts.count("output") == answers:
            chunk_run._stop(heartbeat.STOPPING)

    monkeypatch.setattr(send.ChunkRun, "_finished", counted)


@pytest.mark.django_db(transaction=True)
def test_the_next_owner_sends_only_what_is_missing(
    alice: Person, upstream: FakeUpstream, monkeypatch: pytest.MonkeyPatch, settings: Any
) -> None:
    settings.INFERENCE_MAX_IN_FLIGHT = 4
    new_client(monkeypatch)
    batch = new_batch(alice, [ask("echo", str(number)) for number in range(50)])
    chunk = Chunk.objects.get(batch=batch)
    with monkeypatch.context() as patched:
        stopped_after(20, patched)
        assert run.run(chunk.pk) is Outcome.RELEASED
    assert Chunk.objects.get(pk=chunk.pk).state == ChunkState.PENDING
    assert 20 <= len(upstream.requests) < 50

    assert run.run(chunk.pk) is Outcome.DONE

    assemble.assemble(batch.pk)
    ended = Batch.objects.get(pk=batch.pk)
    assert len(upstream.requests) == 50, "no line was sent twice"
    assert list(results(alice, ended.output_file_id)) == [str(number) for number in range(50)]
    assert ended.total_tokens == 50 * int(str(USAGE["total_tokens"]))
    assert journal.load(chunk.pk) == []


@pytest.mark.django_db(transaction=True)
def test_a_lost_journal_costs_sends_and_no_results(
    alice: Person, upstream: FakeUpstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    batch = new_batch(alice, [ask("echo", str(number)) for number in range(10)])
    chunk = Chunk.objects.get(batch=batch)
    with monkeypatch.context() as patched:
        stopped_after(1, patched)
        run.run(chunk.pk)
    journal.drop(chunk.pk)
    Chunk.objects.filter(pk=chunk.pk, state="running").update(lease_expires_at=timezone.now() - timedelta(seconds=1))

    run.run(chunk.pk)
    assemble.assemble(batch.pk)

    assert Batch.objects.get(pk=batch.pk).completed == 10


@pytest.mark.django_db(transaction=True)
def test_the_deadline_after_the_last_answer_expires_nothing(
    alice: Person, upstream: FakeUpstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    batch = new_batch(alice, [ask("echo")])
    send_all = send.ChunkRun.send_all

    async def overdue_just_after(chunk_run: send.ChunkRun) -> None:
        await send_all(chunk_run)
        chunk_run._stop(codes.EXPIRED)

    monkeypatch.setattr(send.ChunkRun, "send_all", overdue_just_after)
    run.run(Chunk.objects.get(batch=batch).pk)
    assemble.assemble(batch.pk)

    assert Batch.objects.get(pk=batch.pk).status == BatchStatus.COMPLETED


@pytest.fixture
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run, "back_off", lambda *_: 0.0)


class FullDisk:
    """The storage, without room for the first few objects."""

    def __init__(self, failures: int) -> None:
        self.failures = failures
        self._save = default_storage.save

    def save(self, *arguments: Any) -> Any:
        if self.failures:
            self.failures -= 1
            raise OSError(28, "No space left on device")
        return self._save(*arguments)


@pytest.mark.django_db(transaction=True)
@pytest.mark.usefixtures("no_waiting")
def test_a_full_disk_is_waited_for(
    alice: Person, upstream: FakeUpstream, monkeypatch: pytest.MonkeyPatch, settings: Any
) -> None:
    batch = new_batch(alice, [ask("echo", str(number)) for number in range(10)])

    with monkeypatch.context() as patched:
        patched.setattr(default_storage, "save", FullDisk(failures=3).save)
        assert run.run(Chunk.objects.get(batch=batch).pk) is Outcome.DONE

    assert len(upstream.requests) == 10, "no line was sent twice"
    assert not list(settings.SPOOL_DIR.iterdir())


@pytest.mark.django_db(transaction=True)
@pytest.mark.usefixtures("no_waiting")
def test_postgres_is_waited_for(alice: Person, upstream: FakeUpstream, monkeypatch: pytest.MonkeyPatch) -> None:
    chunk = Chunk.objects.get(batch=new_batch(alice, [ask("echo", str(number)) for number in range(10)]))
    commit, outages = leases.commit, [OperationalError("gone"), InterfaceError("closed")]

    def away(*arguments: Any, **columns: Any) -> bool:
        if outages:
            raise outages.pop()
        return commit(*arguments, **columns)

    monkeypatch.setattr(leases, "commit", away)

    assert run.run(chunk.pk) is Outcome.DONE
    assert len(upstream.requests) == 10


@pytest.mark.django_db(transaction=True)
def test_a_worker_that_must_go_while_the_disk_is_full_leaves_its_answers_in_the_journal(
    alice: Person, upstream: FakeUpstream, monkeypatch: pytest.MonkeyPatch, settings: Any
) -> None:
    chunk = Chunk.objects.get(batch=new_batch(alice, [ask("echo", str(number)) for number in range(10)]))

    def full(*_: Any) -> None:
        for chunk_run in heartbeat.heartbeat._current():
            chunk_run._cut_off()  # type: ignore[attr-defined]
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(default_storage, "save", full)
        assert run.run(chunk.pk) is Outcome.NOTHING
    assert Chunk.objects.get(pk=chunk.pk).state == ChunkState.PENDING
    assert not list(settings.STORAGE_DIR.glob("batches/**/*.jsonl"))

    assert run.run(chunk.pk) is Outcome.DONE
    assert len(upstream.requests) == 10, "no line was sent twice"
