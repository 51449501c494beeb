"""What an area of `make bench` gives: rows of one table, each a figure of ours beside something run with it."""

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import NamedTuple

from benchmarks import machine


class Goal(NamedTuple):
    """What was promised of a row, in words, and whether it holds."""

    text: str
    is_met: bool


class Row(NamedTuple):
    """`ratio` is our figure by that of `beside`, which was measured or computed in the same minutes."""

    what: str
    ours: str
    beside: str
    ratio: float
    goal: Goal | None = None


Area = Callable[[Path], list[Row]]
"""Measures in an empty folder, which is removed afterwards; says on the way what it does."""


def at_most(value: float, limit: float, text: str = "") -> Goal:
    """`text` is the goal in words, where `≤ limit` does not say it."""
    return Goal(text or f"≤ {limit:g}", value <= limit)


def at_least(value: float, limit: float, text: str = "") -> Goal:
    return Goal(text or f"≥ {limit:g}", value >= limit)


def show(rows: Iterable[Row]) -> None:
    """Print them as Markdown, ready for docs/benchmarks.md."""
    cells = [[row.what, row.ours, row.beside, f"{row.ratio:.2f}", *_goal_cells(row.goal)] for row in rows]
    machine.print_table("", ["", "ours", "beside", "ratio", "goal", ""], cells)


def _goal_cells(goal: Goal | None) -> list[str]:
    return [goal.text, machine.verdict(goal.is_met)] if goal else ["", ""]
