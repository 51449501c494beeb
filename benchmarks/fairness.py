"""What projects take from one another: a small batch beside a huge one, and eight equal projects at once."""

import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from statistics import median

import psycopg
from openai import OpenAI

from apps.devstack import private, throwaway
from apps.devstack.layout import Layout
from benchmarks import client, machine, running, servers, table
from benchmarks.running import Source
from benchmarks.table import Row

WORKERS = 2
MEAN_MS, SIGMA = 200.0, 0.5
"""So the 128 slots take 640 lines a second, of which two cores are capable: slots are what projects compete for."""
HUGE_LINES, SMALL_LINES, EQUAL_LINES = 20_000, 10, 2_000
SMALL_RUNS = 9
PAUSE_SECONDS = 0.83
"""Between small batches: the huge one takes everything back, and they come at different moments of a heartbeat."""
POLL_SECONDS = 0.05
PATIENCE_SECONDS = 60.0
MOST_RATIO, MORE_SECONDS = 1.5, 1.0
PROJECTS, ROUNDS = 8, 3
LEAST_JAIN = 0.95


@dataclass(frozen=True)
class Project:
    """A tenant with an input that it has uploaded."""

    api: OpenAI
    file_id: str

    def seconds(self) -> float:
        """From asking for a batch to seeing it completed."""
        start = time.monotonic()
        batch = client.wait(self.api, client.create(self.api, self.file_id), every=POLL_SECONDS)
        if batch.status != "completed":
            raise ValueError(f"{batch.id} is {batch.status}")
        return time.monotonic() - start


class Tenants:
    """Projects on one stack."""

    def __init__(self, layout: Layout) -> None:
        self._layout, self._numbers = layout, count(1)
        self.database_url = private.read_env(layout.dev_env)["DATABASE_URL"]

    def new(self, source: Source) -> Project:
        url, _ = servers.dev_env(self._layout)
        api = client.connect(url, servers.new_key(self._layout, f"project {next(self._numbers)}"))
        return Project(api, client.upload(api, source.path))


def measure(folder: Path) -> list[Row]:
    with (
        servers.upstream(folder, mean_ms=MEAN_MS, sigma=SIGMA) as upstream,
        servers.stack(folder, workers=WORKERS, inference_url=upstream) as layout,
    ):
        tenants = Tenants(layout)
        return [_small_beside_huge(folder, tenants), *_equals(folder, tenants)]


def _small_beside_huge(folder: Path, tenants: Tenants) -> Row:
    """The idle system is asked before and after, so that a neighbour who comes or goes counts on both sides."""
    huge = tenants.new(running.source(folder, HUGE_LINES))
    small = tenants.new(running.source(folder, SMALL_LINES))
    print(f"{SMALL_LINES} lines, alone and beside {HUGE_LINES:,} of another project", flush=True)
    _small_runs(small, 2)  # to warm up
    idle = _small_runs(small, SMALL_RUNS // 2)
    batch = client.create(huge.api, huge.file_id)
    _await_answers(huge.api, batch.id)
    ours = _small_runs(small, SMALL_RUNS)
    if (found := huge.api.batches.retrieve(batch.id)).status != "in_progress":
        raise RuntimeError(f"{found.id} is {found.status}: too short to be beside")
    client.check_whole(huge.api, client.wait(huge.api, found), HUGE_LINES)
    idle += _small_runs(small, SMALL_RUNS - len(idle))
    return _small_row(ours, idle)


def _small_runs(small: Project, runs: int) -> list[float]:
    times = []
    for _ in range(runs):
        times.append(small.seconds())
        time.sleep(PAUSE_SECONDS)
    return times


def _small_row(ours: list[float], idle: list[float]) -> Row:
    near, far = median(idle), median(ours)
    text = f"≤ {MOST_RATIO:g} × alone + {MORE_SECONDS:g} s"
    goal = table.at_most(far, MOST_RATIO * near + MORE_SECONDS, text)
    what = f"{SMALL_LINES} lines beside {HUGE_LINES:,}: median (longest)"
    return Row(what, _spread(ours), f"alone: {_spread(idle)}", far / near, goal)


def _spread(seconds: list[float]) -> str:
    return f"{median(seconds):.2f} s ({max(seconds):.2f})"


def _await_answers(api: OpenAI, batch_id: str) -> None:
    """Until the first heartbeat has told of answered lines: every thread has a chunk open by then."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not ((counts := api.batches.retrieve(batch_id).request_counts) and counts.completed):
        if time.monotonic() > deadline:
            raise RuntimeError(f"{batch_id}: no line was answered")
        time.sleep(POLL_SECONDS)


def _equals(folder: Path, tenants: Tenants) -> list[Row]:
    """The worst of several rounds."""
    source = running.source(folder, EQUAL_LINES)
    projects = [tenants.new(source) for _ in range(PROJECTS)]
    shares, rates = [], []
    for number in range(1, ROUNDS + 1):
        print(f"{PROJECTS} projects with {EQUAL_LINES:,} lines each: round {number} of {ROUNDS}", flush=True)
        done, speeds = _race(projects, tenants.database_url)
        shares.append(jain(done))
        rates.append(jain(speeds))
    return [
        _jain_row(f"{PROJECTS} equal projects: Jain of lines at first end", shares),
        _jain_row(f"{PROJECTS} equal projects: Jain of lines/s", rates),
    ]


def _race(projects: Sequence[Project], database_url: str) -> tuple[list[float], list[float]]:
    """By project: lines done when the first batch has ended, as the heartbeats told, and lines per second."""
    with ThreadPoolExecutor(len(projects)) as pool:
        batches = list(pool.map(lambda each: client.create(each.api, each.file_id), projects))
    ids = [batch.id for batch in batches]
    with psycopg.connect(database_url, autocommit=True) as connection:
        while not connection.execute(ENDED, [ids]).fetchall():
            time.sleep(POLL_SECONDS)
        done = [float(lines) for (lines,) in connection.execute(DONE, [ids])]
        for project, batch in zip(projects, batches, strict=True):
            client.check_whole(project.api, client.wait(project.api, batch), EQUAL_LINES)
        seconds = [float(each) for (each,) in connection.execute(SECONDS, [ids])]
    return done, [EQUAL_LINES / each for each in seconds]


ENDED = "SELECT FROM batches_batch WHERE id = ANY(%s) AND completed_at IS NOT NULL"
DONE = "SELECT sum(completed) FROM batches_chunk WHERE batch_id = ANY(%s) GROUP BY batch_id"
SECONDS = "SELECT extract(epoch FROM completed_at - in_progress_at) FROM batches_batch WHERE id = ANY(%s)"


def jain(values: Sequence[float]) -> float:
    """Jain's index: 1 when all are equal, 1/n when one has everything."""
    return sum(values) ** 2 / (len(values) * sum(value**2 for value in values))


def _jain_row(what: str, rounds: list[float]) -> Row:
    worst = min(rounds)
    return Row(
        f"{what} (worst of {len(rounds)})", f"{worst:.3f}", "1 (equal)", worst, table.at_least(worst, LEAST_JAIN)
    )


def main() -> None:
    print(f"{machine.describe()}\n", flush=True)
    table.show(measure(throwaway.folder("zerobatch-bench-")))


if __name__ == "__main__":
    main()
