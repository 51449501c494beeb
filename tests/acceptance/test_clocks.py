"""Processes whose wall clock is an hour wrong, or jumps by one: leases, messages and sweeps do not depend on it."""

import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.acceptance.drill import Drill
from tests.fakes.skewed_worker import JUMPED
from tests.fakes.upstream import FakeUpstream
from tests.stack import WORKERS, Stack, node, wait_for_heartbeats, wait_until

WRONG = 10 * 60 if Stack.storage == "s3" else 3_600
"""Seconds. S3 itself refuses whoever is off by more than a quarter of an hour (docs/storage.md)."""
SLOTS = 64


@contextmanager
def skewed(
    stack: Stack, name: str, tmp_path: Path, seconds: int, when: str = "start"
) -> Iterator[subprocess.Popen[bytes]]:
    """One more process of the kind, whose clock is wrong (see tests/fakes/skewed_worker.py)."""
    spec = stack.spec(name)
    celery, skewed_worker = "exec celery ", f"exec {sys.executable} -m tests.fakes.skewed_worker {seconds} {when} "
    assert celery in spec["argv"][-1]
    argv = [*spec["argv"][:-1], spec["argv"][-1].replace(celery, skewed_worker)]
    with stack.one_more(name, tmp_path, argv=argv) as process:  # killed when it has nothing left to lose
        wait_until(lambda: stack.ask_nodes("ping", node(name, process.pid)), f"a skewed {name} is up")
        yield process


def jumps(tmp_path: Path, name: str) -> int:
    return (tmp_path / f"{name}.log").read_text().count(JUMPED)


@pytest.mark.parametrize("seconds", [WRONG, -WRONG], ids=["ahead", "behind"])
def test_a_worker_whose_clock_is_wrong_runs_a_batch(drill: Drill, tmp_path: Path, seconds: int) -> None:
    with drill.stack.silenced(*WORKERS), skewed(drill.stack, "worker-1", tmp_path, seconds):
        drill.begin(300)
        drill.check(allowed_again=0)
    assert jumps(tmp_path, "worker-1") == 1


def test_a_worker_whose_clock_jumps_in_mid_run_keeps_its_chunks(
    drill: Drill, held: FakeUpstream, tmp_path: Path
) -> None:
    with drill.stack.silenced(*WORKERS), skewed(drill.stack, "worker-1", tmp_path, WRONG, "signal") as worker:
        drill.begin(300)
        drill.wait_for_sent(SLOTS)
        worker.send_signal(signal.SIGUSR2)
        wait_until(lambda: jumps(tmp_path, "worker-1"), "the clock jumps")
        drill.change("created_at", "statement_timestamp()")
        wait_for_heartbeats(drill.stack, drill.batch, since="created_at")
        held.gate.open()

        drill.check(allowed_again=0)
        assert set(drill.chunks("epoch")) == {1}


@pytest.mark.parametrize("seconds", [WRONG, -WRONG], ids=["ahead", "behind"])
def test_sweeps_and_control_whose_clocks_are_wrong_bring_a_lost_batch_to_its_end(
    drill: Drill, tmp_path: Path, seconds: int
) -> None:
    stack = drill.stack
    with (
        stack.silenced("control", "sweeps"),
        skewed(stack, "control", tmp_path, seconds),
        skewed(stack, "sweeps", tmp_path, seconds),
    ):
        with stack.silenced(*WORKERS):
            drill.begin(300)
            drill.lose_chunk_messages()
            # Nothing by hand from here on: it is for beat's own messages to be heeded.
        drill.check(allowed_again=0)
