"""Shows a batch while it runs: a live bar for who watches, now and then a line for a log."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Protocol

from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from apps.cli.batch import Batch
from apps.cli.pace import Pace
from apps.cli.terminal import Terminal, duration

SECONDS_BETWEEN_LINES = 10.0


class Display(Protocol):
    """What the watch over a batch tells."""

    def show(self, batch: Batch) -> None: ...

    def trouble(self, text: str) -> None:
        """The batch could not be seen just now."""


@contextmanager
def display(terminal: Terminal) -> Iterator[Display]:
    if not terminal.is_live:
        yield Lines(terminal.say)
        return
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=24),
        TextColumn("{task.fields[facts]}", markup=False),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=terminal.console, transient=True) as progress:
        yield Live(progress)


class Live:
    """One line that is drawn anew."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._pace = Pace()
        self._task = progress.add_task("", total=None, facts="")

    def show(self, batch: Batch) -> None:
        self._pace.note(batch.done)
        text = facts(batch, self._pace)
        total = batch.total or None
        self._progress.update(self._task, description=batch.status, completed=batch.done, total=total, facts=text)

    def trouble(self, text: str) -> None:
        self._progress.update(self._task, facts=text)


class Lines:
    """Plain lines: at once when the status changes, else when something moved, every ten seconds at most."""

    def __init__(self, say: Callable[[str], None], clock: Callable[[], float] = time.monotonic) -> None:
        self._say = say
        self._clock = clock
        self._pace = Pace(clock)
        self._status, self._said, self._said_at = "", "", 0.0

    def show(self, batch: Batch) -> None:
        self._pace.note(batch.done)
        is_due = batch.status != self._status or self._clock() >= self._said_at + SECONDS_BETWEEN_LINES
        text = f"{batch.status}: {facts(batch, self._pace)}"
        if is_due and text != self._said:
            self._tell(text)
        self._status = batch.status

    def trouble(self, text: str) -> None:
        if text != self._said:
            self._tell(text)

    def _tell(self, text: str) -> None:
        self._say(text)
        self._said, self._said_at = text, self._clock()


def facts(batch: Batch, pace: Pace) -> str:
    """Done, failed, rate, time left, tokens, and why it waits: those that there are."""
    parts = [f"{batch.done:,} of {batch.total:,} lines"]
    if batch.failed:
        parts.append(f"{batch.failed:,} failed")
    if pace.rate:
        parts.append(f"{pace.rate:,.1f}/s")
    left = pace.seconds_left(batch.total - batch.done)
    if left:
        parts.append(f"{duration(left)} left")
    if batch.tokens:
        parts.append(f"{batch.tokens:,} tokens")
    if batch.reason:
        parts.append(f"waits: {batch.reason}")
    return ", ".join(parts)
