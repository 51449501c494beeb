"""What Postgres is asked all the time, with many chunks beside an almost empty database; writes docs/explain.md."""

import argparse
import json
import re
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from apps.devstack import spawn, throwaway
from apps.devstack.layout import PROJECT_ROOT
from benchmarks import fill, machine, servers, table
from benchmarks.fill import LARGE, SMALL, Size
from benchmarks.table import Row

ROUNDS, REPEATS = 5, 10
MOST_SHARE = 0.01
"""Of the time between two times that it is asked."""
WIDTH = 160
NOISE = re.compile(r"^\s*(Planning:|Planning Time|Index Searches|Recheck Cond|Heap Fetches|Storage:|Buckets:)")


@dataclass(frozen=True)
class Answer:
    """What benchmarks/queries.py prints of one look."""

    name: str
    every: float | None
    because: str
    seconds: list[float]
    plans: list[str]


def measure(folder: Path) -> list[Row]:
    """A round of each side in turn, each in a fresh process whose first answers are not counted."""
    beside, ours = database(folder / "small", SMALL), database(folder / "large", LARGE)
    rounds = []
    for number in range(1, ROUNDS + 1):
        print(f"Asking: round {number} of {ROUNDS}", flush=True)
        rounds.append((ask(beside, "times", str(REPEATS)), ask(ours, "times", str(REPEATS))))
    small, large = ([median(of(side, at)) for at in range(len(rounds[0][0]))] for side in zip(*rounds, strict=True))
    return [_row(look, *times) for look, *times in zip(rounds[0][0], large, small, strict=True)]


def database(folder: Path, size: Size) -> Mapping[str, str]:
    """The environment of our programs on a database of this size."""
    folder.mkdir()
    env = servers.database(folder)
    print(f"Filling a database: {size}", flush=True)
    fill.fill(env["DATABASE_URL"], size)
    return env


def ask(env: Mapping[str, str], *arguments: str) -> list[Answer]:
    """What benchmarks/queries.py says of each look, in a fresh process."""
    command = [sys.executable, "-m", "benchmarks.queries", *arguments]
    done = spawn.run(command, cwd=PROJECT_ROOT, env=env)
    if done.returncode != 0:
        raise subprocess.CalledProcessError(done.returncode, command, done.stdout, done.stderr)
    return [Answer(**{name: look[name] for name in Answer.__annotations__}) for look in json.loads(done.stdout)]


def of(rounds: Sequence[list[Answer]], at: int) -> list[float]:
    """All seconds of one look, without each process's first."""
    return [seconds for answers in rounds for seconds in answers[at].seconds[1:]]


def _row(look: Answer, ours: float, beside: float) -> Row:
    goal = None
    if look.every:
        goal = table.at_most(ours / look.every, MOST_SHARE, f"≤ {MOST_SHARE:.0%} of its {look.every:g} s")
    return Row(look.name, f"{ours * 1e3:.2f} ms", f"{beside * 1e3:.2f} ms", ours / beside, goal)


def explain(folder: Path, page: Path) -> None:
    """Write the plans of all queries at the large size to `page`."""
    parts = [PREFACE.format(size=LARGE, machine=machine.describe())]
    for look in ask(database(folder / "explained", LARGE), "plans"):
        plans = "\n\n".join(_readable(plan) for plan in look.plans)
        parts.append(f"## {look.name}\n\n{look.because}\n\n```\n{plans}\n```\n")
    page.write_text("\n".join(parts))


PREFACE = """# Query plans

What Postgres does for the questions that are asked all the time, with {size}:
`python -m benchmarks.sweeps --explain docs/explain.md` wrote this page. Most batches ended within the hour, 1,000 are
unfinished, in 20 projects ([fill.py](../benchmarks/fill.py)). Left out are branches that were never executed and
details that say nothing here; `Buffers` are pages of 8 KB, those of the whole query. How long the same questions take
beside an almost empty database is in [benchmarks.md](benchmarks.md).

{machine}
"""


def _readable(plan: str) -> str:
    """Without what was never executed and what says nothing here, each line cut to WIDTH."""
    kept: list[str] = []
    skipped_from: int | None = None
    for line in plan.splitlines():
        indent = len(line) - len(line.lstrip())
        if skipped_from is not None and indent > skipped_from:
            continue
        skipped_from = indent if "(never executed)" in line else None
        is_known = "Buffers: " in line and any("Buffers: " in above for above in kept)  # the first is of the whole
        if skipped_from is None and not NOISE.match(line) and not is_known:
            kept.append(line if len(line) <= WIDTH else f"{line[: WIDTH - 1]}…")
    return "\n".join(line for line, after in zip(kept, [*kept[1:], ""], strict=True) if not _is_empty(line, after))


def _is_empty(line: str, after: str) -> bool:
    """The title of a subplan with nothing under it."""
    is_title = re.match(r"^\s*(SubPlan|InitPlan) \d+$", line)
    return bool(is_title) and len(after) - len(after.lstrip()) <= len(line) - len(line.lstrip())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--explain", type=Path, metavar="PAGE", help="write the plans there and measure nothing")
    options = parser.parse_args()
    folder = throwaway.folder("zerobatch-bench-")
    if options.explain:
        explain(folder, options.explain)
        return
    print(f"Ours: {LARGE}. Beside: {SMALL}.\n\n{machine.describe()}\n", flush=True)
    table.show(measure(folder))


if __name__ == "__main__":
    main()
