"""How full the upstream's slots are kept while answers take very different times."""

import heapq
import json
import urllib.request
from pathlib import Path
from typing import Any

from apps.devstack import throwaway
from benchmarks import client, running, servers, table
from benchmarks.table import Row

SLOTS, LINES = 256, 20_000
MEAN_MS, SIGMA = 200.0, 1.0
LEAST = 0.97


def measure(folder: Path) -> list[Row]:
    """One batch, as the upstream saw it, beside the best that any sender could do with the same answers."""
    source = running.source(folder, LINES)
    limit = {"INFERENCE_MAX_IN_FLIGHT": str(SLOTS)}
    with (
        servers.upstream(folder, mean_ms=MEAN_MS, sigma=SIGMA, most=SLOTS) as upstream,
        servers.stack(folder, workers=running.WORKERS, inference_url=upstream, extra=limit) as layout,
    ):
        stack = running.Running(layout, upstream)
        stack.warm_up(folder)
        _stats(upstream)
        batch = client.wait(stack.api, client.create(stack.api, client.upload(stack.api, source.path)))
        client.check_whole(stack.api, batch, LINES)
        stats = _stats(upstream)
    return [_row(stats)]


def _row(stats: dict[str, Any]) -> Row:
    latencies: list[float] = stats["latencies"]
    span, best = stats["last_at"] - stats["first_at"], best_span(latencies, SLOTS)
    use, possible = sum(latencies) / (SLOTS * span), sum(latencies) / (SLOTS * best)
    ratio = use / possible
    what = (
        f"use of {SLOTS} slots, log-normal answers, {LINES:,} lines (peak {stats['peak']}, refused {stats['refused']})"
    )
    return Row(what, f"{use:.1%}", f"{possible:.1%} best possible", ratio, table.at_least(ratio, LEAST))


def best_span(latencies: list[float], slots: int) -> float:
    """Seconds from the first request to the last answer if each slot took the next line at once: list scheduling."""
    free = [0.0] * slots
    for latency in latencies:
        heapq.heapreplace(free, free[0] + latency)
    return max(free)


def _stats(upstream: str) -> dict[str, Any]:
    with urllib.request.urlopen(upstream.removesuffix("/v1") + "/stats") as answer:
        found: dict[str, Any] = json.load(answer)
    return found


def main() -> None:
    table.show(measure(throwaway.folder("zerobatch-bench-")))


if __name__ == "__main__":
    main()
