"""CPU of the HTTP transports behind the seam, side by side: `make bench-transports`."""

import argparse
import json
import subprocess
import sys
from collections import defaultdict

from apps.devstack import spawn, throwaway
from apps.devstack.layout import PROJECT_ROOT
from benchmarks import machine, sends, servers

WAYS = {"send": "the seam alone", "client": "through the client"}


def measure(*, requests: int, runs: int) -> dict[tuple[str, str], list[float]]:
    """Milliseconds of CPU per 1,000 requests by way and transport, each in a fresh process, taking turns."""
    found = defaultdict(list)
    with servers.upstream(throwaway.folder("zerobatch-bench-")) as url:
        for _ in range(runs):
            for way in WAYS:
                for kind in sends.TRANSPORTS:
                    found[way, kind].append(_cpu(way, kind, url, requests) / requests * 1e6)
    return found


def _cpu(way: str, kind: str, url: str, requests: int) -> float:
    command = [sys.executable, "-m", "benchmarks.sends", way, kind, url, str(requests)]
    done = spawn.run(command, cwd=PROJECT_ROOT)
    if done.returncode != 0:
        raise subprocess.CalledProcessError(done.returncode, command, done.stdout, done.stderr)
    cpu: float = json.loads(done.stdout)["cpu"]
    return cpu


def report(found: dict[tuple[str, str], list[float]], *, requests: int) -> None:
    runs = len(next(iter(found.values())))
    print(f"{requests:,} requests a run, {sends.IN_FLIGHT} in flight, {sends.BODY_BYTES} bytes out and back, kept")
    print(f"connections, an upstream that answers at once\n\n{machine.describe()}")
    rows = []
    for way, title in WAYS.items():
        rows += [[f"{kind}, {title}", *machine.runs(found[way, kind], 1)] for kind in sends.TRANSPORTS]
        ratios = [slow / fast for slow, fast in zip(found[way, "aiohttp"], found[way, "curl"], strict=True)]
        rows.append([f"aiohttp / curl, {title}", *machine.runs(ratios, 2)])
    machine.print_table("CPU milliseconds per 1,000 requests, user + system", ["", *machine.run_columns(runs)], rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--requests", type=int, default=20_000)
    parser.add_argument("--runs", type=int, default=7)
    options = parser.parse_args()
    report(measure(requests=options.requests, runs=options.runs), requests=options.requests)


if __name__ == "__main__":
    main()
