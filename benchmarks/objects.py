"""A batch at both limits, 50,000 lines and 200 MB, with S3 as the storage: requests, and memory beside a folder's."""

import json
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import psycopg
import requests

from apps.devstack import pids, private, throwaway
from apps.devstack.layout import Layout
from benchmarks import client, inputs, machine, processes, running, table
from benchmarks.running import Running
from benchmarks.table import Row

LINES, TOTAL_BYTES = 50_000, 209_715_200
SPREAD = 0.6
SETTLE_SECONDS = 3.0
"""For the clearing-up after the end."""
MB = 1_000_000
MOST_GROWTH_MB = 64
REQUESTS_A_CHUNK, REQUESTS_BESIDES = 4, 20
MEASURED = ("web", "worker-1", "worker-2", "control")
"""`web` is gunicorn's one worker."""
COUNTED = re.compile(r'^SeaweedFS_s3_request_total\{.*type="([^"]*)".*\} (\d+)$', re.MULTILINE)


@dataclass(frozen=True)
class Measured:
    """Most bytes over idle by process, requests to S3 by kind (none with a folder), and the batch's chunks."""

    growth: Mapping[str, int]
    requests: Mapping[str, int]
    chunks: int


def measure(folder: Path) -> list[Row]:
    """The same on a stack with each storage."""
    beside, ours = (_run(folder / storage, storage) for storage in ("folder", "s3"))
    total, most = sum(ours.requests.values()), REQUESTS_A_CHUNK * ours.chunks + REQUESTS_BESIDES
    print(f"Requests by kind: {dict(sorted(ours.requests.items()))}; {ours.chunks} chunks")
    goal = table.at_most(total, most, f"≤ {REQUESTS_A_CHUNK} a chunk + {REQUESTS_BESIDES}")
    rows = [
        Row(f"requests to S3, upload to clearing up, {ours.chunks} chunks", f"{total}", f"{most}", total / most, goal)
    ]
    for name in MEASURED:
        mine, theirs = ours.growth[name] / MB, beside.growth[name] / MB
        goal = table.at_most(mine, MOST_GROWTH_MB, f"≤ {MOST_GROWTH_MB} MB")
        rows.append(Row(f"memory over idle: {name}", f"{mine:.1f} MB", f"folder {theirs:.1f} MB", mine / theirs, goal))
    return rows


def _run(folder: Path, storage: str) -> Measured:
    """Memory is idle when a batch has ended before: what is loaded or kept at the first one is no part of a second."""
    print(f"One batch, {storage}", flush=True)
    extra = {"STORAGE": storage, "WEB_PROCESSES": "1"}
    with running.started(folder, extra) as stack:
        path = folder / "input.jsonl"
        inputs.write_input(path, lines=LINES, total_bytes=TOTAL_BYTES, spread=SPREAD)
        client.upload_in_parts(stack.api, running.source(folder, running.WARM_UP_LINES).path)
        found = _pids(stack)
        for pid in found.values():
            processes.forget_peak(pid)
        idle = {name: processes.resident_bytes(pid) for name, pid in found.items()}
        before = _requests(stack.layout)
        batch = client.create(stack.api, client.upload_in_parts(stack.api, path))
        ended = client.wait(stack.api, batch)
        time.sleep(SETTLE_SECONDS)
        after = _requests(stack.layout)
        client.check_whole(stack.api, ended, LINES)
        growth = {name: processes.peak_bytes(pid) - idle[name] for name, pid in found.items()}
        sent = {kind: count - before.get(kind, 0) for kind, count in after.items() if count > before.get(kind, 0)}
        return Measured(growth, sent, _chunks(stack.layout, ended.id))


def _pids(stack: Running) -> dict[str, int]:
    found = pids.read(stack.layout.pids)
    return {name: found[name] for name in MEASURED} | {"web": processes.only_child(found["web"])}


def _requests(layout: Layout) -> dict[str, int]:
    """Kind → requests so far, as the S3 server itself counts them."""
    specs = json.loads((layout.run / "processes.json").read_text())
    if "s3" not in specs:
        return {}
    (port,) = (each.partition("=")[2] for each in specs["s3"]["argv"] if each.startswith("-metricsPort="))
    counted = COUNTED.findall(requests.get(f"http://127.0.0.1:{port}/metrics", timeout=10).text)
    return {kind: sum(int(count) for each, count in counted if each == kind) for kind, _ in counted}


def _chunks(layout: Layout, batch_id: str) -> int:
    with psycopg.connect(private.read_env(layout.dev_env)["DATABASE_URL"]) as connection:
        rows = connection.execute("SELECT count(*) FROM batches_chunk WHERE batch_id = %s", [batch_id])
        return int(next(rows)[0])


def main() -> None:
    print(f"{machine.describe()}\n", flush=True)
    table.show(measure(throwaway.folder("zerobatch-bench-")))


if __name__ == "__main__":
    main()
