"""Workers that stand still for longer than their leases and then wake: the witness sees that they send nothing."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext

import psycopg
import pytest

from tests.acceptance.drill import Drill
from tests.fakes.upstream import FakeUpstream
from tests.stack import wait_until

SLOTS = 64
"""Lines that one worker has in flight at most."""


@pytest.fixture
def slow(witness: FakeUpstream) -> Iterator[FakeUpstream]:
    """An upstream that takes its time, so that a batch can be caught in the middle."""
    witness.latency = 0.05
    yield witness
    witness.latency = 0.0
    witness.gate.open()


def anywhere(_: Drill) -> AbstractContextManager[None]:
    return nullcontext()


@contextmanager
def mid_heartbeat(drill: Drill) -> Iterator[None]:
    """For the block, worker-1 waits for Postgres to renew its leases; Postgres does so when the block has ended."""
    waiting = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE %s"
    with psycopg.connect(drill.stack.env["DATABASE_URL"]) as connection:
        connection.execute("SELECT FROM batches_chunk WHERE batch_id = %s FOR UPDATE", [drill.batch.id])
        wait_until(lambda: drill.stack.ask_postgres(waiting, "%UPDATE batches_chunk%"), "a heartbeat waits")
        yield


@contextmanager
def zombie(
    drill: Drill, slow: FakeUpstream, lines: int, frozen_in: Callable[[Drill], AbstractContextManager[None]] = anywhere
) -> Iterator[ExitStack]:
    """worker-1, frozen with the whole batch until the stack is closed; worker-2 is there to take over.

    The gate is closed: SLOTS lines (or all, if there are fewer) are in flight, the results of all others are in the
    journal, or committed. So what may be sent again is those in flight, and no line more.
    """
    in_flight = min(lines, SLOTS)
    with ExitStack() as sleep:
        with drill.stack.frozen("worker-2"):
            if lines <= SLOTS:
                slow.gate.close()  # all go out at once, and none may be answered before the gate is closed
            with drill.stack.silenced("worker-1"):
                drill.begin(lines)
            drill.wait_for_sent(lines // 5)
            slow.gate.close()
            wait_until(lambda: slow.in_flight == in_flight, "the answers are held back")
            wait_until(lambda: drill.kept() == drill.sent() - in_flight, "earlier answers are kept")
            with frozen_in(drill):
                sleep.enter_context(drill.stack.frozen("worker-1"))
            assert set(drill.chunks("state")) <= {"running", "done"}
        yield sleep


def hand_over(drill: Drill) -> None:
    """Waits until worker-2 has claimed what the frozen worker-1 held."""
    held = drill.chunks("CASE WHEN state = 'running' THEN epoch END")
    run_out = "coalesce(lease_expires_at < statement_timestamp(), true)"
    wait_until(lambda: all(drill.chunks(run_out)), "the leases run out")
    # Messages by hand, twice as the frozen worker may be handed one: the sweep would come, but takes ten seconds.
    drill.stack.send_all(drill.chunk_messages() * 2)

    def is_taken() -> bool:
        return all(epoch is None or now > epoch for epoch, now in zip(held, drill.chunks("epoch"), strict=True))

    wait_until(is_taken, "worker-2 runs the chunks")


def let_answers_wait(slow: FakeUpstream) -> None:
    """Answers to what the zombie has sent, for it to read when it wakes. Others' lines are held back again."""
    slow.gate.open()
    wait_until(lambda: slow.in_flight == 0, "answers wait in the zombie's connections")
    slow.gate.close()


def wake(drill: Drill, sleep: ExitStack) -> None:
    """Lets worker-1 go on until it has let go of everything."""
    sleep.close()
    wait_until(lambda: not drill.stack.is_busy("worker-1"), "worker-1 has let go of its chunks")


def test_a_zombie_that_wakes_while_others_run_its_chunks_sends_nothing(drill: Drill, slow: FakeUpstream) -> None:
    with zombie(drill, slow, 1_000) as sleep:
        hand_over(drill)
        wait_until(lambda: slow.in_flight == 2 * SLOTS, "worker-2 can send no more")
        sent = drill.sent()

        wake(drill, sleep)
        assert drill.sent() == sent
    slow.gate.open()

    drill.check(allowed_again=SLOTS)


def test_a_zombie_that_wakes_with_answers_and_a_renewal_of_long_ago_sends_nothing(
    drill: Drill, slow: FakeUpstream
) -> None:
    with zombie(drill, slow, 1_000, frozen_in=mid_heartbeat) as sleep:
        let_answers_wait(slow)
        hand_over(drill)
        wait_until(lambda: slow.in_flight == SLOTS, "worker-2 can send no more")
        sent = drill.sent()

        wake(drill, sleep)
        assert drill.sent() == sent
    slow.gate.open()

    drill.check(allowed_again=SLOTS)


@pytest.mark.parametrize("lines", [60, 1_000], ids=["a chunk's last lines", "lines in mid-chunk"])
def test_a_zombie_that_wakes_after_the_end_changes_nothing(drill: Drill, slow: FakeUpstream, lines: int) -> None:
    with zombie(drill, slow, lines) as sleep:
        slow.gate.open()
        hand_over(drill)
        ended, sent = drill.check(allowed_again=SLOTS), drill.sent()

        wake(drill, sleep)
    assert drill.check(allowed_again=SLOTS) == ended
    assert drill.sent() == sent
