"""Many small batches of many projects at once, and a huge one beside them; and as many lines in huge batches only."""

import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from statistics import median

from openai.types import Batch

from benchmarks import client, running, servers
from benchmarks.fairness import Project, Tenants
from benchmarks.table import Row

WORKERS = 2
PROJECTS, BATCHES, LINES = 50, 1_000, 50
HUGE_LINES = 50_000
CLIENTS = 16
"""Threads that create and poll."""
POLL_SECONDS = 0.5


def measure(folder: Path) -> list[Row]:
    """The small batches are all created while the huge one runs; every one of them must complete."""
    with (
        servers.upstream(folder) as upstream,
        servers.stack(folder, workers=WORKERS, inference_url=upstream) as layout,
    ):
        tenants = Tenants(layout)
        huge = tenants.new(running.source(folder, HUGE_LINES))
        small = [tenants.new(running.source(folder, LINES)) for _ in range(PROJECTS)]
        print(f"{HUGE_LINES:,} lines twice, for comparison", flush=True)
        beside = _wall([huge, huge])
        print(f"{BATCHES:,} batches of {LINES} lines of {PROJECTS} projects, and {HUGE_LINES:,} lines", flush=True)
        start = time.monotonic()
        batch = client.create(huge.api, huge.file_id)
        times = _run([small[number % PROJECTS] for number in range(BATCHES)])
        small_done = time.monotonic() - start
        client.check_whole(huge.api, client.wait(huge.api, batch), HUGE_LINES)
        ours = time.monotonic() - start
    return _rows(ours, beside, small_done, times)


def _wall(projects: Sequence[Project]) -> float:
    start = time.monotonic()
    _run(projects)
    return time.monotonic() - start


def _run(projects: Sequence[Project]) -> list[float]:
    """A batch of each, created as fast as CLIENTS can; seconds from each create to its end, as the server saw it."""
    with ThreadPoolExecutor(CLIENTS) as pool:
        created = list(pool.map(lambda project: client.create(project.api, project.file_id), projects))
        ended = list(pool.map(_ended, projects, created))
    return [batch.completed_at - batch.created_at for batch in ended if batch.completed_at is not None]


def _ended(project: Project, batch: Batch) -> Batch:
    ended = client.wait(project.api, batch, every=POLL_SECONDS)
    counts = ended.request_counts
    if ended.status != "completed" or counts is None or counts.completed != counts.total:
        raise ValueError(f"{ended.id} is {ended.status}, {counts}")
    return ended


def _rows(ours: float, beside: float, small_done: float, times: Sequence[float]) -> list[Row]:
    ratio = ours / beside
    what = f"{BATCHES:,} batches of {LINES} lines of {PROJECTS} projects beside {HUGE_LINES:,}: until all have ended"
    one_by_one = f"{2 * HUGE_LINES:,} in two batches: {beside:.1f} s"
    spread = f"{small_done:.1f} s"
    ends = f"each: {median(times):.0f} s (longest {max(times):.0f})"
    return [
        Row(what, f"{ours:.1f} s", one_by_one, ratio),
        Row("the same: until the small ones have ended", spread, ends, small_done / ours),
    ]
