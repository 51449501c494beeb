"""The bar of an upload or a download; nothing where nobody watches."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

from apps.cli.terminal import Terminal


@contextmanager
def bar(terminal: Terminal, title: str, total: int | None) -> Iterator[Callable[[int], None]]:
    """Gives what is told how many bytes of `total` have passed so far."""
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=terminal.console, disable=not terminal.is_live, transient=True) as progress:
        task = progress.add_task(title, total=total)
        yield lambda passed: progress.update(task, completed=passed)
