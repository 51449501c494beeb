"""CPU seconds per 1,000 lines of a whole batch, over all processes, beside a bare script: `make bench-cost`."""

import argparse
import json
import subprocess
import sys
from pathlib import Path
from statistics import median

from apps.devstack import spawn, throwaway
from apps.devstack.layout import PROJECT_ROOT
from benchmarks import inputs, machine, running
from benchmarks.running import GROUPS, LINE_BYTES, Run

IN_FLIGHT = 128  # of the bare script: the default INFERENCE_MAX_IN_FLIGHT, which all workers share
MOST_RATIO = 2.0


def measure(folder: Path, *, lines: int, runs: int, workers: int) -> tuple[list[Run], list[Run]]:
    """Our runs and the bare script's, taking turns on one stack and one upstream that are both warm."""
    ours, bare, source = [], [], running.source(folder, lines)
    with running.started(folder, workers=workers) as stack:
        for _ in range(runs):
            ours.append(stack.batch(source))
            bare.append(_bare(source.path, stack.upstream))
    return ours, bare


def _bare(source: Path, upstream: str) -> Run:
    target, url = source.with_suffix(".out"), f"{upstream.removesuffix('/v1')}{inputs.ENDPOINT}"
    command = [sys.executable, "-m", "benchmarks.bare", str(source), str(target), url, str(IN_FLIGHT)]
    done = spawn.run(command, cwd=PROJECT_ROOT)
    if done.returncode != 0:
        raise subprocess.CalledProcessError(done.returncode, command, done.stdout, done.stderr)
    measured = json.loads(done.stdout)
    return Run({"bare": measured["cpu"]}, measured["wall"])


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
