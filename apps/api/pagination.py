"""Lists as the SDKs page them: newest first, `after` an id, `has_more` (wire.md §4, §7)."""

import re
from collections.abc import Sequence
from typing import Any, TypeVar

from django.db.models import Model, Q, QuerySet

from apps.api.errors import InvalidRequest

Row = TypeVar("Row", bound=Model)

_INTEGER = re.compile(r"-?[0-9]{1,1000}")


def parse_limit(raw: str | None, *, default: int, most: int, clamp_below: bool = False) -> int:
    """The page size: `default` when absent, never above `most`.

    Raises InvalidRequest `invalid_limit` when it is not a positive integer; with `clamp_below`, one under 1 is 1.
    """
    if raw is None or raw == "":
        return default
    number = int(raw) if _INTEGER.fullmatch(raw) else 0
    if clamp_below and _INTEGER.fullmatch(raw):
        number = max(number, 1)
    if number < 1:
        raise InvalidRequest("limit must be a positive integer", code="invalid_limit", param="limit")
    return min(number, most)


def parse_order(raw: str | None) -> str:
    """`desc` (default) or `asc`; raises InvalidRequest."""
    if raw not in {None, "", "asc", "desc"}:
        raise InvalidRequest('order must be "asc" or "desc"', param="order")
    return raw or "desc"


def page(rows: QuerySet[Row], *, after: Any, limit: int, order: str = "desc") -> tuple[list[Row], bool]:
    """One page of `rows` by (created_at, id), and whether there are more.

    `after` is the row that the previous page ended with, or None. It need not be in `rows` itself: a file deleted
    between two pages must not end the paging.
    """
    sign = "" if order == "asc" else "-"
    if after is not None:
        step = "gt" if order == "asc" else "lt"
        later = Q(**{f"created_at__{step}": after.created_at})
        same_moment = Q(created_at=after.created_at, **{f"id__{step}": after.pk})
        # Implied by the others, but only this one tells Postgres where in the index the page begins.
        rows = rows.filter(later | same_moment, **{f"created_at__{step}e": after.created_at})
    found = list(rows.order_by(f"{sign}created_at", f"{sign}id")[: limit + 1])
    return found[:limit], len(found) > limit


def counted(rows: "QuerySet[Any]", most: int) -> int:
    """How many rows there are, at most `most`: an index is read that far and no further."""
    return rows.order_by().values("pk")[:most].count()


def list_body(data: Sequence[dict[str, Any]], *, has_more: bool) -> dict[str, Any]:
    """The list object of the wire."""
    return {
        "object": "list",
        "data": data,
        "first_id": data[0]["id"] if data else None,
        "last_id": data[-1]["id"] if data else None,
        "has_more": has_more,
    }
