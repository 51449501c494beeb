"""Limits and usage as the wire shows them (wire.md §10), and the days that a client asks for."""

from collections.abc import Iterable
from contextlib import suppress
from datetime import date
from typing import Any

from django.utils import timezone

from apps.api.errors import InvalidRequest
from apps.batches.models import DailyUsage
from apps.batches.serializers import tokens_json
from apps.batches.standing import Standing

DAYS_UNLESS_TOLD = 30
MOST_DAYS = 366


def limits_json(standings: Iterable[Standing]) -> dict[str, Any]:
    rows = {
        standing.limit.value: {"used": standing.used, "limit": standing.most, "remaining": standing.remaining}
        for standing in standings
    }
    return {"object": "limits", **rows}


def usage_json(page: DailyUsage) -> dict[str, Any]:
    return {
        "object": "usage",
        "date": page.day.isoformat(),
        "model": page.model or None,
        "requests": page.requests,
        **tokens_json(page),
    }


def parse_days(start: str | None, end: str | None) -> tuple[date, date]:
    """The first and the last day (UTC), both included; the last 30 days unless told. Raises InvalidRequest."""
    last = timezone.now().date() if end is None else _day(end, "end_date")
    first = _day(start, "start_date") if start is not None else _before(last, DAYS_UNLESS_TOLD - 1)
    if first > last:
        raise InvalidRequest("start_date must not be after end_date", param="start_date")
    if (last - first).days >= MOST_DAYS:
        raise InvalidRequest(f"start_date and end_date must span at most {MOST_DAYS} days", param="start_date")
    return first, last


def _before(day: date, days: int) -> date:
    """So many days earlier; the first of all days is none too early."""
    return date.fromordinal(max(day.toordinal() - days, 1))


def _day(text: str, param: str) -> date:
    """Written in this one way of those that ISO 8601 has."""
    with suppress(ValueError):
        if (day := date.fromisoformat(text)).isoformat() == text:
            return day
    raise InvalidRequest(f"{param} must be a date such as 2026-01-31", param=param)
