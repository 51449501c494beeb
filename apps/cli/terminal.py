"""What a command says: results on stdout, all that happens on the way on stderr."""

import sys
from collections.abc import Sequence
from typing import Any

import orjson
import typer
from rich.console import Console


class Terminal:
    """With `as_json`, stdout gets one JSON document and nothing else; with `quiet_stdout` it is left to the answers."""

    def __init__(self, *, as_json: bool = False, quiet_stdout: bool = False) -> None:
        self.as_json = as_json
        self._results_to_stderr = quiet_stdout
        self.console = Console(stderr=True, highlight=False, soft_wrap=True)

    @property
    def is_live(self) -> bool:
        """Somebody watches, and lines can be drawn over."""
        return self.console.is_terminal and not self.console.is_dumb_terminal

    @property
    def can_ask(self) -> bool:
        return self.is_live and sys.stdin.isatty()

    def say(self, text: str) -> None:
        typer.echo(text, err=True)

    def result(self, text: str, document: Any) -> None:
        """The outcome: `text` for people, or the document."""
        if self.as_json:
            typer.echo(orjson.dumps(document, option=orjson.OPT_INDENT_2))
        else:
            typer.echo(text, err=self._results_to_stderr)


def table(rows: Sequence[Sequence[str]]) -> str:
    """Columns side by side, for eyes and for awk."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    )


def count(number: int, noun: str) -> str:
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def size(number: float) -> str:
    """Bytes as people read them."""
    for unit in ("B", "kB"):
        if number < 1000:
            return f"{number:.0f} {unit}"
        number /= 1000
    return f"{number:,.1f} MB"


def duration(seconds: float) -> str:
    """Whole seconds as h:mm:ss, or m:ss."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
