"""How to look at the whole installation without getting in its way: answers that are kept, questions that end."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Generic, TypeVar

from django.db import connection, transaction

T = TypeVar("T")

MOST_SECONDS = 2
"""For a question to Postgres: who only looks shall not add to its troubles."""


class Kept(Generic[T]):
    """The last answer, good for so many seconds. Who comes while it is asked for anew waits for the same answer."""

    def __init__(self, ask: Callable[[], T], seconds: float) -> None:
        self._ask = ask
        self._seconds = seconds
        self._lock = threading.Lock()
        self._answer: T
        self._good_until = 0.0

    def __call__(self) -> T:
        with self._lock:
            if time.monotonic() >= self._good_until:
                self._answer = self._ask()
                self._good_until = time.monotonic() + self._seconds
            return self._answer

    def forget(self) -> None:
        """The next answer is a new one."""
        with self._lock:
            self._good_until = 0.0


@contextmanager
def hasty() -> Iterator[None]:
    """Postgres gives up on a question in the block after MOST_SECONDS, with a DatabaseError."""
    with transaction.atomic():
        with connection.cursor() as cursor:
            cursor.execute("SELECT set_config('statement_timeout', %s, true)", [f"{MOST_SECONDS}s"])
        yield
