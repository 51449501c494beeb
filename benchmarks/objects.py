"""The largest batch there may be with S3 as the storage: what the server is asked, and memory (see whole.py)."""

import json
import re
import time
from pathlib import Path

import psycopg
import requests

from apps.devstack import private, throwaway
from apps.devstack.layout import Layout
from benchmarks import machine, running, table, whole
from benchmarks.table import Row

SETTLE_SECONDS = 3.0
"""For the clearing-up after the end."""
REQUESTS_A_CHUNK, REQUESTS_BESIDES = 4, 20
COUNTED = re.compile(r'^SeaweedFS_s3_request_total\{.*type="([^"]*)".*\} (\d+)$', re.MULTILINE)


def measure(folder: Path) -> list[Row]:
    """The rows of `whole`, and one for the requests, those of two downloads included."""
    with running.started(folder / "stack", {"STORAGE": "s3"}) as stack:
        before = _requests(stack.layout)
        rows = whole.run(stack, folder)
        time.sleep(SETTLE_SECONDS)
        after = _requests(stack.layout)
        chunks = _chunks(stack.layout)
    sent = {kind: count - before.get(kind, 0) for kind, count in sorted(after.items())}
    total, most = sum(sent.values()), REQUESTS_A_CHUNK * chunks + REQUESTS_BESIDES
    kinds = ", ".join(f"{count} {kind}" for kind, count in sent.items() if count)
    goal = table.at_most(total, most, f"≤ {REQUESTS_A_CHUNK} a chunk + {REQUESTS_BESIDES}")
    requests_row = Row(f"requests for {chunks} chunks ({kinds})", f"{total}", f"{most}", total / most, goal)
    return [row._replace(what=f"S3: {row.what}") for row in (requests_row, *rows)]


def _requests(layout: Layout) -> dict[str, int]:
    """Kind → requests so far, as the S3 server itself counts them."""
    argv = json.loads((layout.run / "processes.json").read_text())["s3"]["argv"]
    (port,) = (each.partition("=")[2] for each in argv if each.startswith("-metricsPort="))
    counted = COUNTED.findall(requests.get(f"http://127.0.0.1:{port}/metrics", timeout=10).text)
    return {kind: sum(int(count) for each, count in counted if each == kind) for kind, _ in counted}


def _chunks(layout: Layout) -> int:
    """Of the largest batch."""
    with psycopg.connect(private.read_env(layout.dev_env)["DATABASE_URL"]) as connection:
        row = connection.execute("SELECT count(*) FROM batches_chunk GROUP BY batch_id ORDER BY 1 DESC").fetchone()
    return int(row[0]) if row else 0


def main() -> None:
    print(f"{machine.describe()}\n", flush=True)
    table.show(measure(throwaway.folder("zerobatch-bench-")))


if __name__ == "__main__":
    main()
