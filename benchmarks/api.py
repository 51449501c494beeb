"""The API and the metrics with many batches beside the same on an almost empty database; transfers beside nginx."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median, quantiles

import psycopg

from apps.devstack import tenant, throwaway
from benchmarks import fill, machine, servers, table, traffic, transfers
from benchmarks.fill import LARGE, SMALL, Size
from benchmarks.table import Row
from benchmarks.traffic import Target

PAGE = 20
REQUESTS = 2_000
"""Of each kind to each side, one at a time, in turns; the 99th percentile of fewer is chance."""
AT_ONCE = 8
SLICES, SLICE_SECONDS = 5, 2.0
MOST_RATIO = 2.0
SCRAPES, SCRAPE_SECONDS = 20, 5.2
"""So many, and so far apart that no answer is a kept one."""
MOST_SCRAPE_SECONDS = 0.05
TOKEN = "for-prometheus"
DIFFERENT = 500
"""So many different batches are retrieved in turn: a client that asks for one only would see it in every cache."""


@dataclass(frozen=True)
class Side:
    """A web process on a filled database, asked in the name of the project that has half of all."""

    url: str
    api_key: str
    ended: list[str]
    moving: list[str]
    half_way: str
    """Ids of batches."""

    def targets(self, *paths: str) -> list[Target]:
        return [Target(self.url + path, self.api_key) for path in paths]

    @property
    def kinds(self) -> dict[str, list[Target]]:
        return {
            "retrieve, ended": self.targets(*(f"/batches/{batch_id}" for batch_id in self.ended)),
            "retrieve, in progress": self.targets(*(f"/batches/{batch_id}" for batch_id in self.moving)),
            f"list {PAGE} in progress": self.targets(f"/batches?limit={PAGE}"),
            f"list {PAGE}, half way down": self.targets(f"/batches?limit={PAGE}&after={self.half_way}"),
            f"list {PAGE} files": self.targets(f"/files?limit={PAGE}"),
        }


def measure(folder: Path) -> list[Row]:
    """Requests first, then transfers, on a web process of their own."""
    with _side(folder / "small", SMALL) as beside, _side(folder / "large", LARGE) as ours:
        rows = _request_rows(ours, beside)
    return rows + transfers.measure(folder)


def measure_scrape(folder: Path) -> list[Row]:
    """By itself, because its goal is a time and not a ratio: it wants a machine that does nothing else."""
    with _side(folder / "small", SMALL) as beside, _side(folder / "large", LARGE) as ours:
        return [_scrape_row(ours, beside)]


@contextmanager
def _side(folder: Path, size: Size) -> Iterator[Side]:
    folder.mkdir()
    with servers.web(folder, {"METRICS_TOKEN": TOKEN}) as web:
        print(f"Filling a database: {size}", flush=True)
        project = fill.fill(web.env["DATABASE_URL"], size)
        key = tenant.manage("create_api_key", project, env=web.env)
        with psycopg.connect(web.env["DATABASE_URL"]) as connection:
            ended, moving, (half_way,) = (
                [str(found) for (found,) in connection.execute(each, [project])] for each in IDS
            )
        yield Side(web.url, key, ended, moving, half_way)


IDS = (
    f"SELECT id FROM batches_batch WHERE project_id = %s AND completed_at IS NOT NULL ORDER BY id LIMIT {DIFFERENT}",
    "SELECT DISTINCT batch_id FROM batches_chunk JOIN batches_batch AS batch ON batch.id = batch_id"
    " WHERE project_id = %s AND state = 'running'",
    "SELECT id FROM (SELECT id, cume_dist() OVER (ORDER BY created_at DESC, id DESC) AS place FROM batches_batch"
    " WHERE project_id = %s) AS placed WHERE place >= 0.5 ORDER BY place LIMIT 1",
)
"""A project's ended batches, those with chunks that run, and the one half way down its list."""


def _request_rows(ours: Side, beside: Side) -> list[Row]:
    rows = []
    for what, large in ours.kinds.items():
        print(f"Asking: {what}", flush=True)
        small = beside.kinds[what]
        rows += [_latency(what, large, small), _throughput(what, large, small)]
    return rows


def _latency(what: str, large: list[Target], small: list[Target]) -> Row:
    """One request at a time, the two sides taking turns, so that what disturbs one disturbs the other."""
    near, far = small[0].connect(), large[0].connect()
    beside, ours = [], []
    for number in range(-REQUESTS // 20, REQUESTS):
        times = (traffic.get(near, small[number % len(small)]), traffic.get(far, large[number % len(large)]))
        if number >= 0:  # the first ones warm up
            beside.append(times[0])
            ours.append(times[1])
    near.close()
    far.close()
    ratio = _p99(ours) / _p99(beside)
    return Row(f"{what}: p99 (median)", _times(ours), _times(beside), ratio, table.at_most(ratio, MOST_RATIO))


def _p99(seconds: list[float]) -> float:
    return quantiles(seconds, n=100)[98]


def _times(seconds: list[float]) -> str:
    return f"{_p99(seconds) * 1e3:.1f} ms ({median(seconds) * 1e3:.1f})"


def _scrape_row(ours: Side, beside: Side) -> Row:
    """What Prometheus waits for, with every figure asked for anew; the first scrape of a process warms it up."""
    print("Scraping /metrics", flush=True)
    sides = [Target(f"{side.url.removesuffix('/v1')}/metrics", token=TOKEN) for side in (beside, ours)]
    connections = [target.connect() for target in sides]
    times: list[list[float]] = [[], []]
    for number in range(-1, SCRAPES):
        for at, (connection, target) in enumerate(zip(connections, sides, strict=True)):
            seconds = traffic.get(connection, target)
            if number >= 0:
                times[at].append(seconds)
            connection.close()  # gunicorn lets go of an idle one after five seconds; the next request opens it anew
        time.sleep(SCRAPE_SECONDS)
    near, far = times
    goal = table.at_most(max(far), MOST_SCRAPE_SECONDS, f"≤ {MOST_SCRAPE_SECONDS * 1e3:g} ms")
    return Row("scrape of the web: most (median)", _most(far), _most(near), median(far) / median(near), goal)


def _most(seconds: list[float]) -> str:
    return f"{max(seconds) * 1e3:.1f} ms ({median(seconds) * 1e3:.1f})"


def _throughput(what: str, large: list[Target], small: list[Target]) -> Row:
    ours, beside = [], []
    for _ in range(SLICES):
        beside.append(traffic.rate(small, at_once=AT_ONCE, seconds=SLICE_SECONDS))
        ours.append(traffic.rate(large, at_once=AT_ONCE, seconds=SLICE_SECONDS))
    ratio = median(ours) / median(beside)
    return Row(f"{what}: {AT_ONCE} at once", f"{median(ours):.0f}/s", f"{median(beside):.0f}/s", ratio)


def main() -> None:
    print(f"Ours: {LARGE}. Beside: {SMALL}; nginx.\n\n{machine.describe()}\n", flush=True)
    table.show(measure(throwaway.folder("zerobatch-bench-")))


if __name__ == "__main__":
    main()
