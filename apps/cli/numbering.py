"""Which custom_id belongs to which row: `make` gives it, `merge` finds it again."""

from collections.abc import Callable, Sequence
from typing import Any

from apps.cli.exits import CliError, Exit
from apps.cli.rows import text_of

IdOf = Callable[[int, dict[str, Any]], str]


def ids(column: str | None, columns: Sequence[str]) -> IdOf:
    """(row's number from 1, row) → custom_id: the column's value, or `row-N` without a column. Raises CliError."""
    if column is None:
        return lambda number, _: f"row-{number}"
    if column not in columns:
        raise CliError(f"there is no column {column!r}; there are {', '.join(columns)}", Exit.USAGE)
    return lambda _, row: text_of(row.get(column))
