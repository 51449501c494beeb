"""What Postgres is asked with ten days' traffic in its tables: `python -m benchmarks.scale --plot docs/img/scale.svg`.

From 10,000 batches to 1,000,000, with 20 chunks each; all other areas stop at 100,000. Half an hour and 15 GB.
"""

import argparse
import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median

import pygal
from pygal.style import Style

from apps.devstack import throwaway
from benchmarks import machine, sweeps
from benchmarks.fill import CHUNKS, Size

TEN_DAYS_MINUTES = 10 * 24 * 60
SIZES = tuple(Size(ended, 1_000, TEN_DAYS_MINUTES) for ended in (9_000, 99_000, 299_000, 999_000))
ROUNDS, REPEATS = 3, 10
PLOTTED = 8
"""Looks that grow most; the others are flat, and would hide these."""
COLORS = ("#1f77b4", "#ff7f0e", "#2ca02c", "#d62728", "#9467bd", "#8c564b", "#e377c2", "#17becf")


def measure(sizes: Sequence[Size]) -> dict[str, list[float]]:
    """Look → median milliseconds at each size; in a process each, with which its database ends."""
    found: dict[str, list[float]] = {}
    for size in sizes:
        print(f"Measuring: {size}", file=sys.stderr, flush=True)
        command = [sys.executable, "-m", "benchmarks.scale", "--only", str(size.batches)]
        done = subprocess.run(command, stdout=subprocess.PIPE, check=True)
        for name, milliseconds in json.loads(done.stdout.splitlines()[-1]).items():
            found.setdefault(name, []).append(milliseconds)
    return found


def _measure_one(size: Size) -> dict[str, float]:
    env = sweeps.database(throwaway.folder("zerobatch-bench-") / "only", size)
    rounds = [sweeps.ask(env, "times", str(REPEATS)) for _ in range(ROUNDS)]
    return {look.name: median(sweeps.of(rounds, at)) * 1e3 for at, look in enumerate(rounds[0])}


def show(found: Mapping[str, Sequence[float]], sizes: Sequence[Size]) -> None:
    """A table in Markdown; the last column is the last size by the first."""
    columns = " | ".join(f"{size.batches * CHUNKS:,}" for size in sizes)
    print(f"| milliseconds, with so many chunk rows | {columns} | grew |")
    print(f"|---|{'---|' * (len(sizes) + 1)}")
    for name, times in found.items():
        print(f"| {name} | {' | '.join(f'{time:.2f}' for time in times)} | {times[-1] / times[0]:.1f} x |")


def plot(found: Mapping[str, Sequence[float]], sizes: Sequence[Size], page: Path) -> None:
    """Both axes are logarithmic; a straight line from corner to corner would grow as the rows do."""
    grown = sorted(found, key=lambda name: found[name][-1] / found[name][0], reverse=True)[:PLOTTED]
    rows = [size.batches * CHUNKS for size in sizes]
    chart = pygal.XY(
        style=Style(colors=COLORS, background="white", plot_background="white"),
        logarithmic=True,
        xrange=(rows[0], rows[-1]),
        range=(0.1, 1_000),
        x_title="chunk rows",
        y_title="milliseconds",
        legend_at_bottom=True,
        legend_at_bottom_columns=1,
        truncate_legend=-1,
        js=(),
    )
    chart.x_labels, chart.y_labels = rows, [0.1, 1, 10, 100, 1_000]
    chart.x_value_formatter, chart.value_formatter = "{:,}".format, "{:g}".format
    for name in grown:
        chart.add(name, list(zip(rows, found[name], strict=True)))
    page.write_bytes(chart.render(is_unicode=False))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--plot", type=Path, metavar="PAGE", help="draw the curves there, as SVG")
    parser.add_argument("--most", type=int, default=SIZES[-1].batches, help="the most batches; fewer are faster")
    parser.add_argument("--only", type=int, help="this size alone, as JSON")
    options = parser.parse_args()
    if options.only:
        print(json.dumps(_measure_one(next(size for size in SIZES if size.batches == options.only))))
        return
    sizes = [size for size in SIZES if size.batches <= options.most]
    found = measure(sizes)
    print(f"\n{machine.describe()}\n")
    show(found, sizes)
    if options.plot:
        plot(found, sizes, options.plot)


if __name__ == "__main__":
    main()
