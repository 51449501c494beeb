"""How long a batch of 50,000 lines takes to begin and to end, beside one of 1,000: what the upstream waits for us."""

import http.client
import time
from pathlib import Path
from statistics import median
from typing import NamedTuple
from urllib.parse import urlsplit

import orjson
import psycopg

from apps.devstack import private
from benchmarks import client, running, table
from benchmarks.running import Running, Source
from benchmarks.table import Row

SMALL, LARGE = 1_000, 50_000
MEAN_MS = 1.0
"""The least: an upstream that answers at once keeps no times."""
RUNS = 5
BEGIN_WITHIN, END_WITHIN = 0.3, 1.0
COMPLETED_AT = "SELECT extract(epoch FROM completed_at) FROM batches_batch WHERE id = %s"


class Moments(NamedTuple):
    """Seconds from the answer of POST /v1/batches to the first request, and from the last answer to `completed_at`.

    The former is below zero when workers are faster than the answer, which has the whole batch in it.
    """

    begin: float
    end: float


def measure(folder: Path) -> list[Row]:
    """Large and small take turns."""
    small, large = running.source(folder, SMALL), running.source(folder, LARGE)
    near, far = [], []
    with running.started(folder, mean_ms=MEAN_MS) as stack:
        for number in range(1, RUNS + 1):
            print(f"How a batch begins and ends: run {number} of {RUNS}", flush=True)
            near.append(_run(stack, small))
            far.append(_run(stack, large))
    return [
        _row(
            "create answered → first request", [each.begin for each in far], [each.begin for each in near], BEGIN_WITHIN
        ),
        _row("last answer → completed", [each.end for each in far], [each.end for each in near], END_WITHIN),
    ]


def _run(stack: Running, source: Source) -> Moments:
    file_id = client.upload(stack.api, source.path)
    _stats(stack.upstream)  # begins anew
    batch = client.create(stack.api, file_id)
    answered_at = time.monotonic()
    batch = client.wait(stack.api, batch)
    first_at, last_at = _stats(stack.upstream)
    client.check_whole(stack.api, batch, source.lines)
    return Moments(first_at - answered_at, _completed_at(stack, batch.id) - last_at)


def _stats(upstream: str) -> tuple[float, float]:
    """When the first request came and the last answer went since it was asked last, in seconds of time.monotonic()."""
    connection = http.client.HTTPConnection(urlsplit(upstream).netloc, timeout=60)
    connection.request("GET", "/stats")
    stats = orjson.loads(connection.getresponse().read())
    connection.close()
    return stats["first_at"], stats["last_at"]


def _completed_at(stack: Running, batch_id: str) -> float:
    """As Postgres stamped it, in seconds of time.monotonic(): the clocks are of one machine."""
    with psycopg.connect(private.read_env(stack.layout.dev_env)["DATABASE_URL"]) as connection:
        row = connection.execute(COMPLETED_AT, [batch_id]).fetchone()
    assert row is not None
    return float(row[0]) - time.time() + time.monotonic()


def _row(what: str, ours: list[float], beside: list[float], within: float) -> Row:
    """Median and longest; a ratio only of what took any time."""
    far, near = median(ours), median(beside)
    goal = table.at_most(far, within, f"≤ {within:g} s")
    ratio = far / near if near > 0 else float("nan")
    return Row(f"{LARGE:,} lines: {what}", _spread(ours), f"{SMALL:,}: {_spread(beside)}", ratio, goal)


def _spread(seconds: list[float]) -> str:
    return f"{median(seconds) * 1e3:.0f} ms ({max(seconds) * 1e3:.0f})"
