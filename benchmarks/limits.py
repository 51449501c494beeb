"""How closely the fleet keeps to what an upstream takes: found out from its 429s, and as an operator says."""

import time
from collections.abc import Callable
from pathlib import Path
from statistics import mean

from apps.devstack import throwaway
from benchmarks import client, running, servers, table
from benchmarks.table import Row

TAKES, TAKES_MORE = 64, 128
NARROW, WIDE = (56, 72), 8 / 7
"""The band that the issue allows around 64, and how far from a new limit counts as arrived: 112 of 128."""
CAP, WORKERS_UNDER_CAP = 100, 4
LATENCY_MS = 100
LINES = 50_000
SETTLE_SECONDS, LOOK_SECONDS, WATCH_SECONDS = 10.0, 0.1, 15.0
MOST_SECONDS = 10.0
GIVE_UP_SECONDS = 30.0


def measure(folder: Path) -> list[Row]:
    """An adaptive limit first, then a cap, each on a stack of its own."""
    return [*_adaptive(folder / "adaptive"), _capped(folder / "capped")]


def _adaptive(folder: Path) -> list[Row]:
    folder.mkdir()
    source, roomy = running.source(folder, LINES), {"INFERENCE_MAX_IN_FLIGHT": str(4 * TAKES)}
    with (
        servers.upstream(folder, mean_ms=LATENCY_MS, most=TAKES) as upstream,
        servers.stack(folder, workers=running.WORKERS, inference_url=upstream, extra=roomy) as layout,
    ):
        api = running.Running(layout, upstream).api
        batch = client.create(api, client.upload(api, source.path))
        time.sleep(SETTLE_SECONDS)  # what is measured is how it goes on, not how it begins
        held = _tried(upstream, WATCH_SECONDS)
        client.seen(upstream, f"/most/{TAKES_MORE}")
        up = _until(lambda: mean(_tried(upstream, 1.0)) >= TAKES_MORE / WIDE)
        client.seen(upstream, f"/most/{TAKES}")
        down = _until(lambda: mean(_tried(upstream, 1.0)) <= NARROW[1])
        api.batches.cancel(batch.id)
        client.wait(api, batch)
    low, high = min(held), max(held)
    within = table.Goal(f"within {NARROW[0]}–{NARROW[1]}", NARROW[0] <= low and high <= NARROW[1])
    what = f"requests in flight, of what is refused above {TAKES}, by two workers: least to most in any second"
    return [
        Row(what, f"{low:.1f} to {high:.1f}", f"{TAKES}", mean(held) / TAKES, within),
        _followed(f"seconds until {TAKES} -> {TAKES_MORE} is followed", up),
        _followed(f"seconds until {TAKES_MORE} -> {TAKES} is followed", down),
    ]


def _followed(what: str, seconds: float) -> Row:
    goal = table.at_most(seconds, MOST_SECONDS)
    return Row(what, f"{seconds:.1f} s", f"{MOST_SECONDS:g} s", seconds / MOST_SECONDS, goal)


def _tried(upstream: str, seconds: float) -> list[float]:
    """Requests in flight at once, those that are refused included, as an average of each second.

    One that is refused was in flight for a round trip of next to nothing: it counts as one more for the moment in which
    it came, so what is added is refused by answered, in slots.
    """
    averages = []
    for _ in range(round(seconds)):
        client.seen(upstream)
        samples, end = [], time.monotonic() + 1.0
        refused = answered = 0
        while time.monotonic() < end:
            time.sleep(LOOK_SECONDS)
            stats = client.seen(upstream)
            samples.append(stats["in_flight"])
            refused, answered = refused + stats["refused"], answered + len(stats["latencies"])
        averages.append(mean(samples) * (1 + refused / max(1, answered)))
    return averages


def _until(holds: Callable[[], bool]) -> float:
    """Seconds until it holds; GIVE_UP_SECONDS if it does not."""
    start = time.monotonic()
    while not holds() and time.monotonic() - start < GIVE_UP_SECONDS:
        pass  # each look takes a second
    return time.monotonic() - start


def _capped(folder: Path) -> Row:
    folder.mkdir()
    source, cap = running.source(folder, LINES // 5), {"INFERENCE_MAX_IN_FLIGHT": str(CAP)}
    with running.started(folder, cap, workers=WORKERS_UNDER_CAP, mean_ms=LATENCY_MS) as stack:
        client.seen(stack.upstream)
        stack.batch(source)
        peak = client.seen(stack.upstream)["peak"]
    what = f"most in flight from {WORKERS_UNDER_CAP} workers under a cap of {CAP}"
    return Row(what, f"{peak}", f"{CAP}", peak / CAP, table.at_most(peak, CAP))


def main() -> None:
    table.show(measure(throwaway.folder("zerobatch-bench-")))


if __name__ == "__main__":
    main()
