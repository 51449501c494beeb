"""Outages whose outcome depends on time: on a stack with the settings that everybody has."""

import time
from typing import Any

import pytest

from tests.acceptance.callers import assert_refused, replies_for, slowest
from tests.acceptance.drill import Drill
from tests.fakes.upstream import FakeUpstream
from tests.stack import Stack, wait_until

LINES = 2_000
SLOTS, THREADS = 64, 16  # of each of the two workers
LINES_IN_A_CHUNK = 100


@pytest.fixture(scope="module")
def stack(defaults: Stack) -> Stack:
    return defaults


def test_the_chunks_of_a_killed_worker_run_elsewhere_within_45_seconds(drill: Drill, held: FakeUpstream) -> None:
    drill.begin(2 * THREADS * LINES_IN_A_CHUNK)
    wait_until(lambda: drill.chunks_in("running") == 2 * THREADS, "both workers have all the chunks they can hold")
    drill.wait_for_sent(2)
    with drill.stack.away("worker-1"):
        killed = time.monotonic()
        last_lease = drill.stack.ask_postgres("SELECT now() + interval '30 seconds'")
    # Each of the living's leases is soon longer than any that the dead could have had.
    held_on = "SELECT count(*) FROM batches_chunk WHERE batch_id = %s AND lease_expires_at > %s"
    wait_until(
        lambda: drill.stack.ask_postgres(held_on, drill.batch.id, last_lease) == 2 * THREADS,
        "every chunk runs",
    )
    seconds = time.monotonic() - killed
    taken_over = drill.stack.ask_postgres(
        "SELECT count(*) FROM batches_chunk WHERE batch_id = %s AND epoch > 1", drill.batch.id
    )
    held.gate.open()
    after_last_chunk = seconds_from_last_chunk_to_completed(drill)

    print(f"kill -9: {taken_over} chunks run elsewhere after {seconds:.1f} s")
    print(f"completed {after_last_chunk:.2f} s after the last chunk")
    assert taken_over == THREADS
    assert seconds < 45
    assert after_last_chunk < 2
    drill.check(allowed_again=SLOTS, killed=True)


def seconds_from_last_chunk_to_completed(drill: Drill) -> float:
    """Between what Postgres shows of the two; looked at every 20 ms."""
    wait_until(lambda: drill.chunks_in("done") == 2 * THREADS, "the last chunk is done")
    done = time.monotonic()
    status = "SELECT status FROM batches_batch WHERE id = %s"
    wait_until(lambda: drill.stack.ask_postgres(status, drill.batch.id) == "completed", "the batch is completed")
    return time.monotonic() - done


@pytest.mark.parametrize("outage", ["away", "hanging"])
def test_with_postgres_gone_for_less_than_a_lease_no_line_is_sent_again(drill: Drill, outage: str) -> None:
    before = drill.stack.pids()
    drill.begin(LINES, "slow-500")
    drill.wait_for_sent(LINES // 4)
    gone: Any = getattr(drill.stack, outage)
    with gone("postgres"):
        replies = replies_for(12, drill)
    back = time.monotonic()

    assert_refused(replies, 503, "service_unavailable")
    drill.check(allowed_again=0)
    print(
        f"Postgres {outage} for 12 s: slowest of {len(replies)} answers {slowest(replies):.1f} s,"
        f" completed {time.monotonic() - back:.1f} s after, {drill.sent_again()} lines sent again"
    )
    assert drill.stack.pids() == before | {"postgres": drill.stack.pid("postgres")}
