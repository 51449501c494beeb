"""Django's Postgres backend, with a pool that is soon right again after Postgres was restarted, away or hanging.

psycopg's pool is made for a server that is there. Each dead connection costs its own failed check and a growing pause,
and one that cannot be made is tried again after up to half a minute: the API went on answering 503 for as long.
"""

from collections.abc import Callable
from typing import Any

import psycopg
from django.db.backends.postgresql import base
from psycopg_pool import ConnectionPool

from zerobatch.postgres.connection import Connection


class DatabaseWrapper(base.DatabaseWrapper):
    """What `DATABASES["default"]["ENGINE"]` stands for."""

    @property
    def pool(self) -> Any:
        """The process's pool; one connection found dead means that all are. Django leaves no public way to say so."""
        pool = super().pool
        if pool is not None and pool._check is ConnectionPool.check_connection:
            pool._check = _check_and_drain(pool)
        return pool


def _check_and_drain(pool: "ConnectionPool[Connection]") -> Callable[[Connection], None]:
    def check(connection: Connection) -> None:
        try:
            connection.check()
        except psycopg.OperationalError:
            pool.drain()
            raise

    return check
