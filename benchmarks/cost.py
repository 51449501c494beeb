"""CPU seconds per 1,000 lines of a whole batch, over all processes, beside what people run: `make bench-cost`."""

import argparse
import json
import subprocess
import sys
from pathlib import Path
from statistics import median

from apps.devstack import spawn, throwaway
from apps.devstack.layout import PROJECT_ROOT
from benchmarks import inputs, machine, running, table
from benchmarks.running import GROUPS, LINE_BYTES, WORKERS, Run, Running, Source
from benchmarks.table import Row

IN_FLIGHT = 128  # of the bare script and the peers: the default INFERENCE_MAX_IN_FLIGHT, which all workers share
LINES, RUNS = 50_000, 3
PEER_LINES = 5_000
"""Enough for what costs seconds per 1,000."""
MOST_BY_TRANSPORT = {"aiohttp": 1.35, "curl": 0.7}
PEERS = {
    "script": "an asyncio script with semaphore, retries, append",
    "threads": "requests + threads",
    "openai": "openai SDK, async",
}


def measure(folder: Path) -> list[Row]:
    """Ours over each transport and the bare script, taking turns; then each peer, on fewer lines."""
    rows, source, few = [], running.source(folder, LINES), running.source(folder, PEER_LINES)
    for transport, most in MOST_BY_TRANSPORT.items():
        with running.started(folder / transport, {"INFERENCE_TRANSPORT": transport}) as stack:
            ours, bare = take_turns(stack, source, RUNS)
            rows.append(_bare_row(transport, ours, bare, most))
            if transport == "curl":
                rows += [_peer_row(name, ours, peer(name, few, stack.upstream)) for name in PEERS]
    return rows


def _bare_row(transport: str, ours: list[Run], bare: list[Run], most: float) -> Row:
    ratio = median(run.total / least.total for run, least in zip(ours, bare, strict=True))
    what = f"cost of {LINES:,} lines of 1 KB over {transport}, all our processes"
    return Row(what, _cost(ours, LINES), f"{_cost(bare, LINES)} bare aiohttp", ratio, table.at_most(ratio, most))


def _peer_row(name: str, ours: list[Run], theirs: Run) -> Row:
    ratio = (median(run.total for run in ours) / LINES) / (theirs.total / PEER_LINES)
    beside = f"{_cost([theirs], PEER_LINES)} {PEERS[name]}"
    return Row("the same", _cost(ours, LINES), beside, ratio, table.at_most(ratio, 1.0, "< 1"))


def _cost(runs: list[Run], lines: int) -> str:
    return f"{median(run.total for run in runs) / lines * 1000:.3f} CPU s/1,000"


def take_turns(stack: Running, source: Source, runs: int) -> tuple[list[Run], list[Run]]:
    """Our runs and the bare script's, on one stack and one upstream that are both warm."""
    ours, bare = [], []
    for _ in range(runs):
        ours.append(stack.batch(source))
        bare.append(_run("benchmarks.bare", [], source, stack.upstream.removesuffix("/v1") + inputs.ENDPOINT))
    return ours, bare


def peer(name: str, source: Source, upstream: str) -> Run:
    """One run of what people use."""
    return _run("benchmarks.peers", [name], source, upstream.removesuffix("/v1"))


def _run(module: str, arguments: list[str], source: Source, url: str) -> Run:
    target = source.path.with_suffix(".out")
    command = [sys.executable, "-m", module, *arguments, str(source.path), str(target), url, str(IN_FLIGHT)]
    done = spawn.run(command, cwd=PROJECT_ROOT)
    if done.returncode != 0:
        raise subprocess.CalledProcessError(done.returncode, command, done.stdout, done.stderr)
    with target.open("rb") as answers:
        if (found := sum(1 for _ in answers)) != source.lines:
            raise ValueError(f"{module}: {found} answers for {source.lines} lines")
    measured = json.loads(done.stdout)
    return Run({module: measured["cpu"]}, measured["wall"])


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
    most = MOST_BY_TRANSPORT["curl"]
    met = machine.verdict(median(ratios) <= most)
    print(f"\n- Each output file held all {lines:,} lines exactly once")
    print(f"- goal: at most {most:g} × bare: {median(ratios):.2f}, {met}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--lines", type=int, default=LINES)
    parser.add_argument("--runs", type=int, default=RUNS)
    parser.add_argument("--workers", type=int, default=WORKERS)
    options = parser.parse_args()
    folder = throwaway.folder("zerobatch-bench-")
    source = running.source(folder, options.lines)
    with running.started(folder / "stack", workers=options.workers) as stack:
        ours, bare = take_turns(stack, source, options.runs)
    report(ours, bare, lines=options.lines, workers=options.workers)


if __name__ == "__main__":
    main()
