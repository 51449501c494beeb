"""One pass over an input, in a fresh process: `python -m benchmarks.passes bare PATH` or `… validation KEY`."""

import json
import os
import sys
import time
from pathlib import Path

import orjson

from benchmarks import processes
from benchmarks.inputs import ENDPOINT


def bare(path: str) -> None:
    """The least that anybody who reads JSONL as a stream must do."""
    with Path(path).open("rb") as lines:
        for line in lines:
            orjson.loads(line)


def validation(key: str) -> None:
    """The product's own pass over the object `key`, and its plan; needs Django."""
    from django.conf import settings  # noqa: PLC0415  needs django.setup

    from apps.batches.pipeline.plan import plan  # noqa: PLC0415
    from apps.batches.pipeline.validate import Limits, Validation  # noqa: PLC0415
    from apps.files import storage  # noqa: PLC0415

    endpoints = frozenset(settings.ALLOWED_ENDPOINTS)
    limits = Limits(lines=settings.MAX_BATCH_LINES, line_bytes=settings.MAX_LINE_BYTES, endpoints=endpoints)
    found = Validation(ENDPOINT, limits)
    with storage.open_object(key) as stream:
        found.read(stream)
    plan(found.index, chunk_bytes=settings.CHUNK_BYTES)


def _set_up() -> None:
    import django  # noqa: PLC0415

    django.setup()
    import apps.batches.pipeline.submit  # noqa: F401, PLC0415  imports are no part of a pass


def main(name: str, argument: str) -> None:
    """Print the pass's CPU seconds and the growth of peak memory in bytes as JSON."""
    if name == "validation":
        _set_up()
    pid = os.getpid()
    processes.forget_peak(pid)
    before = processes.resident_bytes(pid)
    start = time.process_time()
    {"bare": bare, "validation": validation}[name](argument)
    cpu = time.process_time() - start
    print(json.dumps({"cpu": cpu, "growth": processes.peak_bytes(pid) - before}))


if __name__ == "__main__":
    main(*sys.argv[1:])
