"""What a measurement took place on, and how its figures are printed."""

import os
import platform
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from statistics import median

from rich import box
from rich.console import Console
from rich.table import Table

WIDTH = 140


def describe() -> str:
    """Date, CPU model, cores and Python; no host name."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    models = (line.partition(":")[2].strip() for line in lines if line.startswith(("model name", "CPU part")))
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    today = datetime.now(UTC).date().isoformat()
    cpu, cores = next(models, platform.machine()), os.cpu_count()
    return f"{today}: {cpu}, {cores} cores, {memory:.0f} GiB, Python {platform.python_version()}"


def print_table(title: str, columns: Iterable[str], rows: Iterable[Iterable[str]]) -> None:
    """A Markdown table, ready for the docs; the first column is text, the others are numbers."""
    console = Console(width=WIDTH, highlight=False, markup=False)
    table = Table(box=box.MARKDOWN)
    for number, column in enumerate(columns):
        table.add_column(column, justify="right" if number else "left")
    for row in rows:
        table.add_row(*row)
    console.print(f"\n{title}\n", table)


def runs(values: list[float], digits: int) -> list[str]:
    """Cells for each run's value, then their median."""
    return [f"{value:.{digits}f}" for value in [*values, median(values)]]


def run_columns(count: int) -> list[str]:
    """The headings that go with `runs`."""
    return [*(f"run {number}" for number in range(1, count + 1)), "median"]


def verdict(is_met: bool) -> str:
    return "met" if is_met else "MISSED"
