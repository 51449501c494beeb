"""Asks a filled database what the product asks: `python -m benchmarks.queries times REPEATS` or `… plans`."""

import json
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import django
import psycopg

EXPLAIN = "EXPLAIN (ANALYZE, BUFFERS, COSTS OFF, TIMING OFF) "
Execute = Callable[[str, Any, bool, dict[str, Any]], Any]


class Stopwatch:
    """Counts the seconds that Postgres takes to answer."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def __call__(self, execute: Execute, sql: str, params: Any, many: bool, context: dict[str, Any]) -> Any:
        start = time.perf_counter()
        try:
            return execute(sql, params, many, context)
        finally:
            if "SAVEPOINT" not in sql:
                self.seconds += time.perf_counter() - start


class Explainer:
    """Notes the plan of each query, which is run once for it and once for who asked."""

    def __init__(self) -> None:
        self.plans: list[str] = []

    def __call__(self, execute: Execute, sql: str, params: Any, many: bool, context: dict[str, Any]) -> Any:
        if "SAVEPOINT" not in sql:
            raw = context["connection"].connection
            with raw.transaction(force_rollback=True):
                rows = psycopg.ClientCursor(raw).execute(EXPLAIN + sql, params).fetchall()
            self.plans.append("\n".join(line for (line,) in rows))
        return execute(sql, params, many, context)


def main(way: str, repeats: str = "1") -> None:
    """Print for each look of benchmarks/looks.py its seconds, one for each repeat, or the plans of its queries."""
    django.setup()
    from benchmarks.looks import LOOKS, Facts  # noqa: PLC0415  needs django.setup

    facts = Facts.find()
    found = []
    for look in LOOKS:
        seconds, plans = [], []
        for _ in range(int(repeats)):
            with _watched(watch := Stopwatch() if way == "times" else Explainer()):
                look.ask(facts)
            if isinstance(watch, Stopwatch):
                seconds.append(watch.seconds)
            else:
                plans += watch.plans
        found.append({**look._asdict(), "ask": None, "seconds": seconds, "plans": plans})
    print(json.dumps(found))


@contextmanager
def _watched(watch: Stopwatch | Explainer) -> Iterator[None]:
    """Everything that is asked in the block passes the watch, and is undone."""
    from django.db import connection, transaction  # noqa: PLC0415  needs django.setup

    with transaction.atomic(), connection.execute_wrapper(watch):
        yield
        transaction.set_rollback(True)


if __name__ == "__main__":
    main(*sys.argv[1:])
