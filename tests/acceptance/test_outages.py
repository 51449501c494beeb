"""Whatever the product stands on goes away in mid-batch, and comes back (architecture.md §8)."""

import signal
import time

import pytest
import redis

from tests.acceptance import callers
from tests.acceptance.callers import assert_refused, replies_for, slowest
from tests.acceptance.drill import Drill
from tests.conftest import jsonl, line
from tests.fakes.upstream import FakeUpstream
from tests.stack import finished, submit, wait_until

LINES = 2_000
LINES_IN_A_CHUNK = 100
SLOTS, THREADS = 64, 16  # of the fleet, and of each of the two workers
FLUSHES_PER_SECOND = 2
WORKERS = ("worker-1", "worker-2")


def lost_with_a_claim(latency: float) -> int:
    """Lines that are sent again when both workers lose their chunks: those in flight, and those of the last flush."""
    return int(2 * (SLOTS + SLOTS / latency / FLUSHES_PER_SECOND))


def assert_every_thread_works(drill: Drill) -> None:
    """No worker has lost capacity: together they have as many chunks at once as on their first day."""
    drill.witness.gate.close()
    try:
        drill.begin(len(WORKERS) * THREADS * LINES_IN_A_CHUNK)
        wait_until(lambda: drill.chunks_in("running") == len(WORKERS) * THREADS, "every thread has a chunk", 20)
    finally:
        drill.witness.gate.open()
    drill.check()


def test_an_upstream_that_comes_back_gets_every_line(drill: Drill) -> None:
    drill.witness.stop()
    try:
        drill.begin(50)
        wait_until(lambda: drill.chunks_in("running") == 1, "the batch waits for the upstream")
    finally:
        drill.witness.start()

    ended = drill.check()
    assert ended.request_counts is not None
    assert ended.request_counts.failed == 0


def test_a_broker_that_forgets_everything_loses_no_line(drill: Drill, held: FakeUpstream) -> None:
    drill.begin(300)
    drill.wait_for_sent(SLOTS)

    with redis.Redis.from_url(drill.stack.env["REDIS_URL"]) as broker:
        broker.flushall()
    held.gate.open()

    drill.check()


def test_a_broker_killed_and_back_empty_costs_nothing_while_the_workers_live(drill: Drill, held: FakeUpstream) -> None:
    before = drill.stack.pids()
    drill.begin(LINES, "slow-50")
    drill.wait_for_sent(SLOTS)
    with drill.stack.away("redis"):
        drill.stack.forget_redis()
        held.gate.open()
        drill.wait_for_sent(LINES // 4)

    # Only a worker that dies too would need the journal: each of the living has its answers in memory.
    drill.check(allowed_again=0)
    print(f"Redis back empty: {drill.sent_again()} lines sent again")
    assert drill.stack.pids() == before | {"redis": drill.stack.pid("redis")}


def test_a_broker_and_a_worker_killed_together_cost_no_more_than_the_worker_s_open_chunks(drill: Drill) -> None:
    drill.begin(LINES, "slow-50")
    drill.wait_for_sent(LINES // 4)
    with drill.stack.away("redis"):
        drill.stack.forget_redis()
        drill.stack.kill("worker-1", signal.SIGKILL)

    # Of the chunks that the worker had open nothing is left, neither in its memory nor in the journal.
    allowed = THREADS * LINES_IN_A_CHUNK
    drill.check(allowed_again=allowed, killed=True)
    print(f"Redis and a worker: {drill.sent_again()} lines sent again, at most {allowed} allowed")


def test_with_the_broker_away_the_api_goes_on_and_batches_go_on_when_it_is_back(drill: Drill) -> None:
    before = drill.stack.pids()
    drill.begin(LINES, "slow-500")
    drill.wait_for_sent(LINES // 4)
    with drill.stack.away("redis"):
        batch = submit(drill.sdk, jsonl([line()]))
        assert batch.status == "in_progress"
        replies = [reply for reply in replies_for(15, drill) if "nowhere" not in str(reply.call)]
        ready = drill.stack.get("/readyz")
    back = time.monotonic()

    assert {reply.response.status_code for reply in replies} == {200}
    assert ready.status_code == 503
    assert [name for name, state in ready.json()["dependencies"].items() if state != "ok"] == ["redis"]
    drill.check()
    assert finished(drill.sdk, batch).status == "completed"
    print(
        f"Redis away for 15 s: slowest of {len(replies)} answers {slowest(replies):.2f} s,"
        f" all completed {time.monotonic() - back:.1f} s after"
    )
    assert_every_thread_works(drill)
    assert drill.stack.pids() == before | {"redis": drill.stack.pid("redis")}


@pytest.mark.parametrize("with_signal", [signal.SIGINT, signal.SIGKILL])
def test_postgres_restarted_in_mid_batch(drill: Drill, with_signal: signal.Signals) -> None:
    before = drill.stack.pids()
    drill.begin(LINES, "slow-50")
    drill.wait_for_sent(LINES // 4)
    with drill.stack.away("postgres", with_signal=with_signal):
        pass

    drill.check(allowed_again=lost_with_a_claim(0.05))
    print(f"Postgres restarted by {with_signal.name}: {drill.sent_again()} lines sent again")
    assert drill.stack.pids() == before | {"postgres": drill.stack.pid("postgres")}


def test_postgres_away_for_half_a_minute(drill: Drill) -> None:
    before = drill.stack.pids()
    drill.begin(LINES, "slow-500")
    drill.wait_for_sent(LINES // 4)
    with drill.stack.away("postgres"):
        replies = replies_for(30, drill)
        ready = drill.stack.get("/readyz")
    back = time.monotonic()

    assert_refused(replies, 503, "service_unavailable")
    assert ready.status_code == 503
    assert ready.json()["dependencies"]["postgres"] != "ok"
    # Longer away than LEASE_SECONDS: a sweep may be faster than the heartbeat that would renew the leases.
    drill.check(allowed_again=lost_with_a_claim(0.5))
    print(
        f"Postgres away for 30 s: slowest of {len(replies)} answers {slowest(replies):.2f} s,"
        f" completed {time.monotonic() - back:.1f} s after, {drill.sent_again()} lines sent again"
    )
    assert drill.stack.pids() == before | {"postgres": drill.stack.pid("postgres")}


def test_storage_away_in_mid_batch_costs_no_line(drill: Drill, held: FakeUpstream) -> None:
    storage_goes_away_in_mid_batch(drill, held)


def storage_goes_away_in_mid_batch(drill: Drill, held: FakeUpstream, seconds: float = 10) -> None:
    drill.begin(LINES)
    drill.wait_for_sent(SLOTS)
    wait_until(lambda: drill.chunks_in("running") == LINES / LINES_IN_A_CHUNK, "all chunks are read")
    with drill.stack.storage_away():
        held.gate.open()
        replies = replies_for(seconds, drill)
        ready = drill.stack.get("/readyz")
    back = time.monotonic()

    touching = [reply for reply in replies if reply.call == callers.upload() or reply.call.path.endswith("/content")]
    assert_refused(touching, 500, "storage_error")
    others = [reply for reply in replies if reply not in touching and "nowhere" not in str(reply.call)]
    assert {reply.response.status_code for reply in others} == {200}
    assert ready.status_code == 503
    assert ready.json()["dependencies"]["storage"] != "ok"
    drill.check(allowed_again=0)
    print(
        f"storage away for {seconds} s: completed {time.monotonic() - back:.1f} s after,"
        f" {drill.sent_again()} lines sent again"
    )


@pytest.mark.usefixtures("_in_a_folder")
def test_a_full_disk_in_mid_batch_costs_no_line(drill: Drill, held: FakeUpstream) -> None:
    files = len(list(drill.sdk.files.list()))
    drill.begin(LINES)
    drill.wait_for_sent(SLOTS)
    wait_until(lambda: drill.chunks_in("running") == LINES / LINES_IN_A_CHUNK, "all chunks are read")
    with drill.stack.full_disk("web", "control", *WORKERS):
        held.gate.open()
        refused = [callers.send(drill.stack, callers.upload()) for _ in range(5)]
        drill.wait_for_sent(LINES)
        time.sleep(5)  # the promise is about a disk that stays full
        assert drill.chunks_in("done") == 0
    back = time.monotonic()

    assert_refused(refused, 500, "storage_error")
    assert len(list(drill.sdk.files.list())) == files + 1
    drill.check(allowed_again=0)
    print(f"full disk: completed {time.monotonic() - back:.1f} s after there was room, {drill.sent_again()} sent again")


def test_a_batch_waits_while_every_worker_is_gone_for_an_hour(drill: Drill) -> None:
    drill.begin(LINES, "slow-50")
    drill.wait_for_sent(LINES // 4)
    with drill.stack.away(*WORKERS):
        # An hour passes where it counts: on everything that says how long ago something was.
        drill.age_an_hour()
        wait_until(lambda: drill.chunks_in("running") == 0, "the leases have run out")
        drill.age_an_hour()
        assert drill.sdk.batches.retrieve(drill.batch.id).status == "in_progress"
    back = time.monotonic()

    drill.check(allowed_again=lost_with_a_claim(0.05), killed=True)
    print(f"every worker gone for an hour: completed {time.monotonic() - back:.1f} s after they were back")


def test_a_batch_of_50_000_lines_is_cancelled_within_ten_seconds(drill: Drill) -> None:
    before = drill.witness.request_count
    drill.begin(50_000, "slow-50")
    drill.witness.wait_for_requests(before + 2_000, timeout=60)
    cancelled = time.monotonic()
    drill.sdk.batches.cancel(drill.batch.id)

    drill.check(status="cancelled")
    ended_at = drill.stack.ask_postgres(
        "SELECT extract(epoch FROM cancelled_at - cancelling_at) FROM batches_batch WHERE id = %s", drill.batch.id
    )
    print(f"cancel of 50,000 lines: {ended_at:.1f} s, all files there after {time.monotonic() - cancelled:.1f} s")
    assert ended_at < 10 + 0.05
    assert drill.sent_again() == 0
