"""A connection to Postgres that can be asked for a sign of life."""

from typing import Any

import psycopg
from psycopg_pool import ConnectionPool

CHECK_SECONDS = 5.0


class Connection(psycopg.Connection[Any]):
    """A connection that can be asked for a sign of life with a time limit."""

    _most_seconds: float | None = None

    def check(self) -> None:
        """Raises psycopg.OperationalError if the server does not answer within CHECK_SECONDS."""
        self._most_seconds = CHECK_SECONDS
        try:
            ConnectionPool.check_connection(self)
        finally:
            self._most_seconds = None

    def wait(self, *arguments: Any, **options: Any) -> Any:
        if self._most_seconds is None:
            return super().wait(*arguments, **options)
        try:
            return super().wait(*arguments, **{**options, "timeout": self._most_seconds})
        except psycopg.OperationalError:
            raise
        except Exception as error:  # psycopg has no public name for the end of its waiting
            self.pgconn.finish()
            raise psycopg.OperationalError(f"no answer within {CHECK_SECONDS:g} s") from error
