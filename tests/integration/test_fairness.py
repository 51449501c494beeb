"""Whose chunk a free worker takes, and when a full one makes way."""

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from apps.batches import leases
from apps.batches.heartbeat import YIELDED, Heartbeat
from apps.batches.leases import Beat, Renewal
from apps.batches.models import Batch, Chunk, Worker
from apps.batches.pipeline import run
from apps.batches.pipeline.run import Outcome
from apps.batches.states import BatchStatus, ChunkState
from apps.inference.turns import Turn
from tests.conftest import Person, line
from tests.fakes.upstream import FakeUpstream
from tests.integration.conftest import ask, new_batch

pytestmark = pytest.mark.django_db(transaction=True)


def batch_of(person: Person, chunks: int) -> Batch:
    return sent(new_batch(person, [line(f"request-{number}") for number in range(100 * chunks)]))


def sent(batch: Batch) -> Batch:
    """As if the messages for its chunks were on the way."""
    Chunk.objects.filter(batch=batch).update(enqueued_at=timezone.now())
    return batch


def claimed() -> Chunk:
    claim = leases.claim_next()
    assert claim is not None
    return claim.chunk


def test_projects_take_turns_however_many_chunks_they_have(alice: Person, charlie: Person) -> None:
    batch_of(alice, 6)
    batch_of(charlie, 2)

    taken = [claimed().batch.project for _ in range(5)]

    assert taken == [alice.project, charlie.project, alice.project, charlie.project, alice.project]


def test_in_a_project_the_oldest_batch_is_first_and_its_chunks_in_order(alice: Person) -> None:
    batches = [batch_of(alice, 2), batch_of(alice, 2)]

    taken = [claimed() for _ in range(4)]

    assert [(chunk.batch_id, chunk.index) for chunk in taken] == [(b.pk, index) for b in batches for index in range(2)]


def test_a_chunk_whose_worker_died_does_not_count_against_its_project(alice: Person, charlie: Person) -> None:
    batch_of(alice, 3)
    claimed()
    batch_of(charlie, 3)
    claimed()
    Chunk.objects.filter(batch__project=alice.project, state=ChunkState.RUNNING).update(
        lease_expires_at=timezone.now() - timedelta(seconds=1)
    )

    assert claimed().batch.project == alice.project


def test_nothing_is_claimed_twice_and_nothing_of_a_batch_that_ended(alice: Person) -> None:
    batch_of(alice, 2)
    Batch.objects.filter(pk=batch_of(alice, 1).pk).update(status=BatchStatus.COMPLETED)

    assert claimed().pk != claimed().pk
    assert leases.claim_next() is None


def test_a_chunk_that_failed_waits_for_the_sweep_and_eats_nobodys_message(alice: Person, charlie: Person) -> None:
    batch_of(alice, 1)
    poison = leases.claim_next()
    assert poison is not None
    leases.release(poison, "RuntimeError: again")
    batch_of(charlie, 1)

    assert claimed().batch.project == charlie.project
    assert leases.claim_next() is None


def test_starving_is_who_waits_with_nothing_running(alice: Person, charlie: Person) -> None:
    batch_of(alice, 3)
    assert leases.starving_projects() == [str(alice.project.pk)]
    claimed()
    assert leases.starving_projects() == []

    batch_of(charlie, 1)
    assert leases.starving_projects() == [str(charlie.project.pk)]


def test_a_message_runs_whosever_turn_it_is(alice: Person, charlie: Person, upstream: FakeUpstream) -> None:
    batch_of(alice, 2)
    claimed()
    small = sent(new_batch(charlie, [ask("echo")]))

    ran = run.run_next()

    assert ran.outcome is Outcome.DONE
    assert ran.chunk is not None
    assert ran.chunk.batch_id == small.pk


class Open:
    """A run of one project, as the heartbeat sees it."""

    def __init__(self, number: int, project: Any, order: int) -> None:
        self.number = number
        self.turn = Turn(str(project.pk), (order,))
        self.halted: list[str] = []
        self.in_flight = 0
        self.is_leaving = False

    def beat(self) -> Beat:
        return Beat(self.number, 1, 0, 0)

    def renewed(self, at: float) -> None: ...

    def halt(self, reason: str) -> None:
        self.halted.append(reason)


@pytest.fixture
def full(alice: Person, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Heartbeat, list[Open]]]:
    """A heartbeat of a process that has room for three runs, and has three of Alice's."""
    monkeypatch.setattr(
        leases, "renew", lambda beats: [Renewal(beat.chunk_id, "in_progress", False, False) for beat in beats]
    )
    heartbeat, runs = Heartbeat(), [Open(number, alice.project, number) for number in range(3)]
    heartbeat._most_runs = 3
    monkeypatch.setattr(heartbeat, "_current", lambda: runs)
    yield heartbeat, runs


def test_a_full_process_gives_up_its_last_chunk_for_a_project_that_has_none(
    full: tuple[Heartbeat, list[Open]], charlie: Person
) -> None:
    heartbeat, runs = full
    heartbeat.make_way()
    assert [run.halted for run in runs] == [[], [], []], "nobody waits"

    batch_of(charlie, 1)
    heartbeat.make_way()

    assert [run.halted for run in runs] == [[], [], [YIELDED]]


def test_the_chunk_with_the_fewest_lines_in_flight_goes(full: tuple[Heartbeat, list[Open]], charlie: Person) -> None:
    heartbeat, runs = full
    for run_, in_flight in zip(runs, (2, 1, 5), strict=True):
        run_.in_flight = in_flight
    batch_of(charlie, 1)

    heartbeat.make_way()

    assert [run.halted for run in runs] == [[], [YIELDED], []]


def test_one_that_is_leaving_already_is_enough(full: tuple[Heartbeat, list[Open]], charlie: Person) -> None:
    heartbeat, runs = full
    runs[0].is_leaving = True
    batch_of(charlie, 1)

    heartbeat.make_way()

    assert [run.halted for run in runs] == [[], [], []]


def test_a_process_with_a_free_place_gives_up_nothing(full: tuple[Heartbeat, list[Open]], charlie: Person) -> None:
    heartbeat, runs = full
    batch_of(charlie, 1)
    heartbeat._most_runs = 4

    heartbeat.make_way()

    assert [run.halted for run in runs] == [[], [], []]


def test_who_has_a_single_chunk_keeps_it(full: tuple[Heartbeat, list[Open]], alice: Person, charlie: Person) -> None:
    heartbeat, runs = full
    del runs[1:]
    heartbeat._most_runs = 1
    batch_of(charlie, 1)

    heartbeat.make_way()

    assert runs[0].halted == []


def test_a_worker_shows_itself_with_every_heartbeat(alice: Person) -> None:
    heartbeat, beats = Heartbeat(), []
    heartbeat.each_beat = lambda: beats.append(1)
    heartbeat._worker = Worker(name="worker-1@host")

    heartbeat.tick()
    heartbeat.tick()

    assert Worker.objects.count() == 1
    assert len(beats) == 2
