"""The largest batch there may be, from the first part of its upload to the last byte of its results: memory."""

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import psutil
from openai import OpenAI

from apps.devstack import pids
from benchmarks import client, processes, running, table
from benchmarks.running import Running
from benchmarks.table import Row

LINES, TOTAL_BYTES = 50_000, 209_715_200  # both as wire.md §3 limits them
MOST_GROWTH_MB = 64
MB = 1_000_000
BLOCK = 1_048_576
Result = TypeVar("Result")
UPLOAD, BATCH, DOWNLOAD = "upload in parts", "batch", "download"


def measure(folder: Path) -> list[Row]:
    """On a stack that has run a small batch: how far above its idle memory each process was at most, by step."""
    with running.started(folder / "stack") as stack:
        return run(stack, folder)


def run(stack: Running, folder: Path) -> list[Row]:
    """The same on this one; the input is made in `folder`."""
    source = running.source(folder, LINES, line_bytes=TOTAL_BYTES // LINES)
    watched = Watched(stack)
    print("Uploading in parts", flush=True)
    file_id = watched.during(UPLOAD, lambda: client.upload_in_parts(stack.api, source.path))
    print("Running the batch", flush=True)
    batch = watched.during(BATCH, lambda: client.wait(stack.api, client.create(stack.api, file_id)))
    print("Downloading", flush=True)
    watched.during(DOWNLOAD, lambda: _download(stack.api, batch.output_file_id or ""))
    client.check_whole(stack.api, batch, LINES)
    return [watched.row(kind) for kind in ("web", "worker")]


def _download(api: OpenAI, file_id: str) -> str:
    """Block by block, as whoever stores it would."""
    digest = hashlib.sha256()
    with api.files.with_streaming_response.content(file_id) as response:
        for block in response.iter_bytes(BLOCK):
            digest.update(block)
    return digest.hexdigest()


class Watched:
    """The web and worker processes of a stack: what they held while idle, and at most during each step, in bytes."""

    def __init__(self, stack: Running) -> None:
        started = pids.read(stack.layout.pids)
        self._pids = {
            "web": [child.pid for child in psutil.Process(started["web"]).children()],  # gunicorn's own only watches
            "worker": stack.worker_pids(),
        }
        self._idle = {pid: processes.resident_bytes(pid) for each in self._pids.values() for pid in each}
        self._most: dict[str, dict[int, int]] = {}

    def during(self, step: str, act: Callable[[], Result]) -> Result:
        for pid in self._idle:
            processes.forget_peak(pid)
        result = act()
        self._most[step] = {pid: processes.peak_bytes(pid) for pid in self._idle}
        return result

    def row(self, kind: str) -> Row:
        """The process of this kind that grew most."""
        growth = {
            step: max(peaks[pid] - self._idle[pid] for pid in self._pids[kind]) / MB
            for step, peaks in self._most.items()
        }
        idle = max(self._idle[pid] for pid in self._pids[kind]) / MB
        steps = ", ".join(f"{step} + {grown:.1f}" for step, grown in growth.items())
        most = max(growth.values())
        goal = table.at_most(most, MOST_GROWTH_MB, f"+ ≤ {MOST_GROWTH_MB} MB")
        what = f"{kind}: memory, {LINES:,} lines of {TOTAL_BYTES // MB} MB ({steps})"
        return Row(what, f"{idle + most:.0f} MB (+ {most:.0f})", f"idle: {idle:.0f} MB", (idle + most) / idle, goal)
