"""CPU seconds per 1,000 lines of a whole batch, over all processes, beside a bare script: `make bench-cost`."""

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from openai import OpenAI

from apps.devstack import pids, spawn, throwaway
from apps.devstack.layout import PROJECT_ROOT, Layout
from benchmarks import client, inputs, machine, processes, servers

LINE_BYTES = 1024
SPREAD = 0.1
IN_FLIGHT = 128  # of the bare script: the default INFERENCE_MAX_IN_FLIGHT, which all workers share
WARM_UP_LINES = 2_000
SETTLE_SECONDS = 1.0
MOST_RATIO = 2.0
GROUPS = {
    "web": "web",
    "worker": "workers",
    "control": "control",
    "sweeps": "sweeps + beat",
    "beat": "sweeps + beat",
    "redis": "redis",
    "postgres": "postgres",
}
"""Process of the stack, without its number → row of the table. supervisord only watches, and is left out."""


@dataclass(frozen=True)
class Run:
    """CPU seconds by group of processes, and wall seconds, for one file."""

    cpu: Mapping[str, float]
    wall: float

    @property
    def total(self) -> float:
        return sum(self.cpu.values())


@dataclass(frozen=True)
class Bench:
    """A running stack and what both sides are measured with."""

    layout: Layout
    api: OpenAI
    source: Path
    lines: int
    upstream: str

    def batch(self) -> Run:
        """From the upload to the batch's end and the clearing-up after it; the output is checked uncounted."""
        start, before = time.monotonic(), self._cpu()
        batch = client.wait(self.api, client.create(self.api, client.upload(self.api, self.source)))
        wall = time.monotonic() - start
        time.sleep(SETTLE_SECONDS)
        after = self._cpu()
        client.check_whole(self.api, batch, self.lines)
        return Run({group: after[group] - before[group] for group in after}, wall)

    def bare(self) -> Run:
        target, url = self.source.with_suffix(".out"), f"{self.upstream.removesuffix('/v1')}{inputs.ENDPOINT}"
        command = [sys.executable, "-m", "benchmarks.bare", str(self.source), str(target), url, str(IN_FLIGHT)]
        done = spawn.run(command, cwd=PROJECT_ROOT)
        if done.returncode != 0:
            raise subprocess.CalledProcessError(done.returncode, command, done.stdout, done.stderr)
        measured = json.loads(done.stdout)
        return Run({"bare": measured["cpu"]}, measured["wall"])

    def _cpu(self) -> dict[str, float]:
        """CPU seconds so far by group; the same processes must live from one reading to the next."""
        seconds = dict.fromkeys(GROUPS.values(), 0.0)
        for name, pid in pids.read(self.layout.pids).items():
            if group := GROUPS.get(name.partition("-")[0]):
                seconds[group] += processes.cpu_seconds(pid)
        return seconds


def measure(folder: Path, *, lines: int, runs: int, workers: int) -> tuple[list[Run], list[Run]]:
    """Our runs and the bare script's, taking turns on one stack and one upstream that are both warm."""
    source, small = folder / "input.jsonl", folder / "small.jsonl"
    inputs.write_input(source, lines=lines, total_bytes=lines * LINE_BYTES, spread=SPREAD)
    inputs.write_input(small, lines=WARM_UP_LINES, total_bytes=WARM_UP_LINES * LINE_BYTES, spread=SPREAD)
    ours, bare = [], []
    with servers.upstream(folder) as upstream, servers.stack(folder, workers=workers, inference_url=upstream) as layout:
        api = client.connect(*servers.dev_env(layout))
        Bench(layout, api, small, WARM_UP_LINES, upstream).batch()
        bench, started = Bench(layout, api, source, lines, upstream), pids.read(layout.pids)
        for _ in range(runs):
            ours.append(bench.batch())
            bare.append(bench.bare())
        if pids.read(layout.pids) != started:
            raise RuntimeError(f"a process was started anew meanwhile; see {layout.log}")
    return ours, bare


def report(ours: list[Run], bare: list[Run], *, lines: int, workers: int) -> None:
    """Print the tables and whether the goal is met."""
    per_thousand = 1_000 / lines
    ratios = [run.total / least.total for run, least in zip(ours, bare, strict=True)]
    columns = ["", *machine.run_columns(len(ours))]
    print(f"{lines:,} lines of {LINE_BYTES} bytes, {workers} worker processes\n\n{machine.describe()}")
    rows = [
        [group, *machine.runs([run.cpu[group] * per_thousand for run in ours], 4)]
        for group in dict.fromkeys(GROUPS.values())
    ]
    rows += [
        ["all our processes", *machine.runs([run.total * per_thousand for run in ours], 4)],
        ["bare aiohttp + uvloop", *machine.runs([run.total * per_thousand for run in bare], 4)],
        ["ours / bare", *machine.runs(ratios, 2)],
    ]
    machine.print_table("CPU seconds per 1,000 lines, user + system", columns, rows)
    rows = [
        [f"{name}, {what}", *machine.runs(values, 1 if what == "seconds" else 0)]
        for name, all_runs in (("ours", ours), ("bare", bare))
        for what, values in (
            ("seconds", [run.wall for run in all_runs]),
            ("lines/s", [lines / run.wall for run in all_runs]),
        )
    ]
    machine.print_table("Wall time, upload to end; for orientation only, the machine is shared", columns, rows)
    met = machine.verdict(median(ratios) <= MOST_RATIO)
    print(f"\n- Each output file held all {lines:,} lines exactly once")
    print(f"- goal: at most {MOST_RATIO:g} × bare: {median(ratios):.2f}, {met}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--lines", type=int, default=50_000)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--workers", type=int, default=2)
    options = parser.parse_args()
    folder = throwaway.folder("zerobatch-bench-")
    ours, bare = measure(folder, lines=options.lines, runs=options.runs, workers=options.workers)
    report(ours, bare, lines=options.lines, workers=options.workers)


if __name__ == "__main__":
    main()
