"""Whole batches on a running stack, and the CPU that all our processes spend on them."""

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from openai.types import Batch

from apps.devstack import pids
from apps.devstack.layout import Layout
from benchmarks import client, inputs, processes, servers

WORKERS = 2
LINE_BYTES = 1024
SPREAD = 0.1
WARM_UP_LINES = 2_000
POLL_SECONDS = 0.1
SETTLE_SECONDS = 1.0
GROUPS = {
    "web": "web",
    "worker": "workers",
    "control": "control",
    "sweeps": "sweeps + beat",
    "webhooks": "webhooks",
    "beat": "sweeps + beat",
    "redis": "redis",
    "postgres": "postgres",
}
"""Process of the stack, without its number → row of the table. supervisord only watches, and is left out."""


@dataclass(frozen=True)
class Run:
    """CPU seconds by group of processes, and wall seconds."""

    cpu: Mapping[str, float]
    wall: float

    @property
    def total(self) -> float:
        return sum(self.cpu.values())


class Source(NamedTuple):
    """An input file, and how many lines it has."""

    path: Path
    lines: int


def source(folder: Path, lines: int, *, line_bytes: int = LINE_BYTES) -> Source:
    """A new input in `folder`."""
    path = folder / f"input-{lines}.jsonl"
    inputs.write_input(path, lines=lines, total_bytes=lines * line_bytes, spread=SPREAD)
    return Source(path, lines)


@contextmanager
def started(
    folder: Path, extra: Mapping[str, str] | None = None, *, workers: int = WORKERS, mean_ms: float = 0
) -> Iterator["Running"]:
    """A warm stack in `folder`, before an upstream of its own."""
    folder.mkdir(exist_ok=True)
    with (
        servers.upstream(folder, mean_ms=mean_ms) as upstream,
        servers.stack(folder, workers=workers, inference_url=upstream, extra=extra) as layout,
    ):
        stack = Running(layout, upstream)
        stack.warm_up(folder)
        yield stack


class Running:
    """A running stack and the upstream it was started before; warm once a batch has run."""

    def __init__(self, layout: Layout, upstream: str) -> None:
        self.layout, self.upstream = layout, upstream
        self.api = client.connect(*servers.dev_env(layout))
        self._started = pids.read(layout.pids)

    def warm_up(self, folder: Path) -> None:
        self.batch(source(folder, WARM_UP_LINES))

    def batch(self, input_file: Source, *, count: int = 1) -> Run:
        """From the upload to the end and the clearing-up after it, `count` times in a row; outputs checked uncounted.

        Many small batches with one clearing-up say what one costs: a second of the stack's idling costs as much.
        """
        start, before = time.monotonic(), self._cpu()
        ended = [self._until_end(input_file) for _ in range(count)]
        wall = time.monotonic() - start
        time.sleep(SETTLE_SECONDS)
        after = self._cpu()
        for batch in ended:
            client.check_whole(self.api, batch, input_file.lines)
        return Run({group: after[group] - before[group] for group in after}, wall)

    def worker_pids(self) -> list[int]:
        return [pid for name, pid in sorted(self._started.items()) if name.startswith("worker-")]

    def _until_end(self, input_file: Source) -> Batch:
        batch = client.create(self.api, client.upload(self.api, input_file.path))
        return client.wait(self.api, batch, every=POLL_SECONDS)

    def _cpu(self) -> dict[str, float]:
        """CPU seconds so far by group. RuntimeError if a process does not live any more: its seconds are lost."""
        if pids.read(self.layout.pids) != self._started:
            raise RuntimeError(f"a process was started anew meanwhile; see {self.layout.log}")
        seconds = dict.fromkeys(GROUPS.values(), 0.0)
        for name, pid in self._started.items():
            if group := GROUPS.get(name.partition("-")[0]):
                seconds[group] += processes.cpu_seconds(pid)
        return seconds
