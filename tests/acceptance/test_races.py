"""Messages, cancels and deadlines at the worst moment: doubled, lost, late, or just while the batch ends."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import openai
import pytest

from tests.acceptance.drill import Drill
from tests.fakes.upstream import FakeUpstream
from tests.stack import WORKERS, wait_for_heartbeats, wait_until

SLOTS = 64
"""Lines that one worker has in flight at most."""
LONG_AGO = "interval '20 seconds'"
"""So long after it was sent, a message that is in no queue counts as lost."""

# What a test waits for before it acts; by then the batch may be further on, and in ten rounds it sometimes is.
LAST_MOMENTS: dict[str, Callable[[Drill], object]] = {
    "the last answer is on its way": lambda drill: True,
    "the last chunk is done": lambda drill: set(drill.chunks("state")) == {"done"},
}


@contextmanager
def held_before_assembly(drill: Drill, held: FakeUpstream) -> Iterator[None]:
    """A batch whose chunks are all done, with nobody to assemble it while the block lasts."""
    drill.begin(300)
    drill.wait_for_sent(SLOTS)
    with drill.stack.silenced("control"):
        held.gate.open()
        drill.wait_for_chunks_done()
        yield


def test_many_messages_for_a_chunk_run_it_once(drill: Drill, held: FakeUpstream) -> None:
    with drill.stack.silenced(*WORKERS):
        drill.begin(1_000)
        drill.stack.send_all(message for message in drill.chunk_messages() for _ in range(16))
    drill.wait_for_sent(SLOTS)
    drill.stack.handle(drill.chunk_messages() * 16)
    held.gate.open()

    drill.check(allowed_again=0)
    assert set(drill.chunks("epoch")) == {1}


def test_doubled_and_early_messages_change_nothing(drill: Drill, held: FakeUpstream) -> None:
    drill.begin(1_000)
    drill.wait_for_sent(SLOTS)
    drill.stack.handle(drill.messages() * 2)
    held.gate.open()

    drill.check(allowed_again=0)
    assert set(drill.chunks("epoch")) == {1}


def test_late_messages_change_nothing(drill: Drill) -> None:
    all_files = "SELECT id FROM files_file ORDER BY id"
    drill.begin(300)
    ended, files = drill.check(), drill.stack.all_of_postgres(all_files)

    drill.stack.handle(drill.messages() * 2)
    wait_until(lambda: not drill.stack.is_busy(*WORKERS, "control"), "the late messages are dealt with")

    assert drill.check(allowed_again=0) == ended
    assert drill.stack.all_of_postgres(all_files) == files


def test_a_batch_whose_start_is_lost_runs(drill: Drill) -> None:
    with drill.stack.silenced("control"):
        drill.begin(300)
        drill.stack.lose("control")
    drill.change("in_progress_at", f"in_progress_at - {LONG_AGO}")
    drill.resume()

    drill.check(allowed_again=0)


def test_a_batch_whose_chunks_are_lost_runs(drill: Drill) -> None:
    with drill.stack.silenced(*WORKERS):
        drill.begin(300)
        drill.lose_chunk_messages()
    drill.resume()

    drill.check(allowed_again=0)


def test_a_batch_whose_finalize_is_lost_ends(drill: Drill, held: FakeUpstream) -> None:
    with held_before_assembly(drill, held):
        wait_until(lambda: not drill.stack.is_busy(*WORKERS), "the workers have sent what they had to")
        drill.stack.lose("control")
    drill.resume()

    drill.check(allowed_again=0)


@pytest.mark.parametrize("moment", LAST_MOMENTS)
def test_a_cancel_at_the_last_moment_is_honoured_or_refused(drill: Drill, held: FakeUpstream, moment: str) -> None:
    for _ in range(10):
        held.gate.close()
        drill.begin(30)
        drill.wait_for_sent(30)
        held.gate.open()
        wait_until(lambda: LAST_MOMENTS[moment](drill), moment)
        try:
            drill.sdk.batches.cancel(drill.batch.id)
        except openai.ConflictError:
            drill.check(status="completed")
        else:
            drill.check(status="cancelled")


def test_a_cancel_before_the_assembly_keeps_every_answer(drill: Drill, held: FakeUpstream) -> None:
    with held_before_assembly(drill, held):
        assert drill.sdk.batches.cancel(drill.batch.id).status == "cancelling"

    assert drill.check(status="cancelled").error_file_id is None


def test_a_cancel_while_finalizing_keeps_every_answer(drill: Drill, held: FakeUpstream) -> None:
    drill.begin(300)
    drill.wait_for_sent(SLOTS)
    with drill.held_in_finalizing(opening=held.gate):
        assert drill.sdk.batches.cancel(drill.batch.id).status == "cancelling"

    assert drill.check(status="cancelled").error_file_id is None


@pytest.mark.parametrize("moment", LAST_MOMENTS)
def test_a_deadline_at_the_last_moment_costs_no_answer(drill: Drill, held: FakeUpstream, moment: str) -> None:
    for _ in range(5):
        held.gate.close()
        drill.begin(30)
        drill.wait_for_sent(30)
        held.gate.open()
        wait_until(lambda: LAST_MOMENTS[moment](drill), moment)
        drill.expire()

        # Each line was sent before the deadline, so each has its answer; "expired" may be told of nothing else.
        assert drill.check(status={"completed", "expired"}).error_file_id is None


def test_a_deadline_before_the_assembly_keeps_every_answer(drill: Drill, held: FakeUpstream) -> None:
    with held_before_assembly(drill, held):
        drill.expire()

    assert drill.check(status="completed").error_file_id is None


def test_a_deadline_while_finalizing_keeps_every_answer(drill: Drill, held: FakeUpstream) -> None:
    drill.begin(300)
    drill.wait_for_sent(SLOTS)
    with drill.held_in_finalizing(opening=held.gate):
        drill.expire()

    assert drill.check(status="completed").error_file_id is None


def test_a_deadline_in_mid_run_lets_lines_in_flight_finish(drill: Drill, held: FakeUpstream) -> None:
    drill.begin(400)
    drill.wait_for_sent(SLOTS)
    drill.expire()
    wait_for_heartbeats(drill.stack, drill.batch, since="expires_at")
    in_flight = drill.sent()
    held.gate.open()

    ended = drill.check(status="expired")
    assert ended.request_counts and ended.request_counts.completed == in_flight == drill.sent()
    assert drill.error_codes() == {"batch_expired": 400 - in_flight}


def test_a_deadline_before_any_worker_is_free_ends_the_batch_unsent(drill: Drill) -> None:
    with drill.stack.silenced(*WORKERS):
        drill.begin(300)
        drill.wait_for_chunks_sent()
        drill.expire()
        drill.stack.send("batches.expire")
        ended = drill.check(status="expired")

    # The chunks' messages come only now.
    wait_until(lambda: not drill.stack.is_busy(*WORKERS), "the late messages are dealt with")
    assert drill.check(status="expired") == ended
    assert drill.sent() == 0
    assert drill.error_codes() == {"batch_expired": 300}


def test_a_batch_survives_the_deletion_of_its_input_which_then_goes(drill: Drill, held: FakeUpstream) -> None:
    batch = drill.begin(300)
    drill.wait_for_sent(SLOTS)
    bytes_of_input = f"files/{batch.input_file_id}.jsonl"

    assert drill.sdk.files.delete(batch.input_file_id).deleted
    assert bytes_of_input in drill.stack.objects("files")
    held.gate.open()

    drill.check(allowed_again=0)
    wait_until(lambda: bytes_of_input not in drill.stack.objects("files"), "the deleted input's bytes are removed")
