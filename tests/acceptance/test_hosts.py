"""Several machines: what docs/deployment.md brings up on three hosts, and packets that are lost between them.

`make drill-hosts` cuts for a minute, with the default settings, and adds what takes too long for every day.
"""

import os
import time
from collections.abc import Iterator

import pytest

from apps.devstack import throwaway
from tests.acceptance.drill import Drill
from tests.fakes.upstream import FakeUpstream
from tests.hosts import Lab, NotPermitted, inside
from tests.installation import GPU_PORT, OURS, THEIRS, Installation
from tests.stack import LEASE_SECONDS, wait_until

IS_LONG = bool(os.environ.get("LONG_CUTS"))
CUT_SECONDS = 60 if IS_LONG else 8
SETTINGS = {} if IS_LONG else {"LEASE_SECONDS": str(LEASE_SECONDS)}
RECOVERY_SECONDS = 60
"""What has waited on a silent connection finds out within half of this, and begins anew."""
LINES = 3_000
LINES_IN_A_CHUNK = 100
LATENCY = 0.5
SLOTS = 128
THREADS = 16
WORKERS = ("worker-1", "worker-2")
LOST_WITH_A_WORKER = 2 * int(SLOTS + SLOTS / LATENCY)
"""Sent again: what was in flight, and what was answered since the last flush that Redis has seen."""

only_long = pytest.mark.skipif(not IS_LONG, reason="takes minutes: `make drill-hosts`")


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    try:
        made = Lab(throwaway.folder("zerobatch-hosts-"), [*OURS, *THEIRS])
    except NotPermitted as error:
        pytest.skip(f"no network namespaces here: {error}")
    yield made
    made.stop()


@pytest.fixture(scope="module")
def witness(lab: Lab) -> Iterator[FakeUpstream]:
    with inside(lab["gpu"]):
        fake = FakeUpstream(host=lab["gpu"].address, port=GPU_PORT).start()
    yield fake
    fake.stop()


@pytest.fixture(scope="module")
def stack(lab: Lab, witness: FakeUpstream) -> Iterator[Installation]:
    running = Installation(throwaway.folder("zerobatch-installed-"), lab, SETTINGS)
    yield running
    running.stop()


@pytest.fixture(autouse=True)
def no_process_ends(stack: Installation) -> Iterator[None]:
    before = stack.running()
    yield
    assert stack.running() == before


def begin_and_wait(drill: Drill, share: float) -> None:
    drill.begin(LINES, f"slow-{LATENCY * 1000:.0f}")
    drill.wait_for_sent(int(LINES * share))


def assert_every_thread_works(drill: Drill) -> None:
    """No worker has lost capacity: together they have as many chunks at once as on their first day."""
    drill.witness.gate.close()
    try:
        drill.begin(len(WORKERS) * THREADS * LINES_IN_A_CHUNK)
        everything = len(WORKERS) * THREADS
        wait_until(lambda: drill.chunks_in("running") == everything, "every thread has a chunk", RECOVERY_SECONDS)
    finally:
        drill.witness.gate.open()
    drill.check()


def assert_all_recovers(drill: Drill, what: str) -> None:
    """The drill's batch completes, and every worker is as good as before; what it took is printed."""
    back = time.monotonic()
    drill.check(allowed_again=LOST_WITH_A_WORKER, seconds=90 + RECOVERY_SECONDS)
    print(
        f"{what}: completed {time.monotonic() - back:.1f} s after,"
        f" {drill.sent_again()} lines sent again, at most {LOST_WITH_A_WORKER} allowed"
    )
    assert_every_thread_works(drill)


def test_packets_lost_to_a_worker_to_redis_and_to_s3_cost_no_line(drill: Drill, stack: Installation) -> None:
    begin_and_wait(drill, 0.2)
    with stack.lab.cut("worker-1"):
        time.sleep(CUT_SECONDS)
    drill.wait_for_sent(int(LINES * 0.5))
    with stack.lab.cut("redis"):
        time.sleep(CUT_SECONDS)
    drill.wait_for_sent(int(LINES * 0.8))
    with stack.lab.cut("s3"):
        time.sleep(CUT_SECONDS)

    assert_all_recovers(drill, f"worker-1, Redis and S3 cut off for {CUT_SECONDS} s each")


@only_long
@pytest.mark.parametrize("host", ["worker-1", "redis", "s3", "postgres", "web", "gpu"])
def test_packets_lost_to_one_host_cost_no_line(drill: Drill, stack: Installation, host: str) -> None:
    begin_and_wait(drill, 0.3)
    with stack.lab.cut(host):
        time.sleep(CUT_SECONDS)

    assert_all_recovers(drill, f"{host} cut off for {CUT_SECONDS} s")


@only_long
def test_a_redis_that_was_replaced_unseen_is_found(drill: Drill, stack: Installation) -> None:
    """Whoever waits for a message on the old connection is told nothing: the new Redis never hears of it."""
    begin_and_wait(drill, 0.3)
    with stack.lab.cut("redis"):
        stack.replace_redis()
        time.sleep(CUT_SECONDS)

    assert_all_recovers(drill, "Redis replaced unseen")


HOLD_A_LOCK = """
import django, sys, time
django.setup()
from django.db import connection, transaction
with transaction.atomic(), connection.cursor() as cursor:
    cursor.execute("SELECT 1 FROM projects_project FOR UPDATE")
    print("held", flush=True)
    time.sleep(600)
"""


@only_long
def test_a_host_that_is_cut_off_in_mid_transaction_holds_no_lock_for_long(stack: Installation, lab: Lab) -> None:
    program = stack.var_dir / "hold.py"
    program.write_text(HOLD_A_LOCK)
    with (stack.var_dir / "hold.log").open("wb") as output:
        start = "set -a; . /etc/zerobatch/env; cd /opt/zerobatch; DJANGO_SETTINGS_MODULE=zerobatch.settings"
        lab["worker-1"].start("sh", "-c", f"{start} PYTHONPATH=. exec .venv/bin/python {program}", output=output)
    wait_until(lambda: "held" in (stack.var_dir / "hold.log").read_text(), "the lock is held")

    with lab.cut("worker-1"):
        began = time.monotonic()
        stack.execute(f"SET lock_timeout = '{RECOVERY_SECONDS}s'; SELECT 1 FROM projects_project FOR UPDATE")
        print(f"the lock of a host that is cut off was free after {time.monotonic() - began:.0f} s")
