"""Starts the PostgreSQL and the Valkey that the environment does not name; pytest loads it before Django's settings.

With several test processes (xdist) the first one starts both; pytest-django gives each process a database of its own
there, and each one takes a logical database of its own in Valkey here.
"""

import os
import re
from urllib.parse import urlsplit

from apps.devstack import throwaway


def start_what_is_missing() -> None:
    """Set DATABASE_URL, REDIS_URL, SECRET_KEY and STORAGE_DIR where they are not set; all is removed at exit."""
    folder = throwaway.folder("zerobatch-tests-")
    if "DATABASE_URL" not in os.environ:
        os.environ["DATABASE_URL"] = throwaway.start_postgres(folder)
    if "REDIS_URL" not in os.environ:
        os.environ["REDIS_URL"] = throwaway.start_valkey(folder)
    os.environ.setdefault("SECRET_KEY", "only-for-tests")
    os.environ.setdefault("STORAGE_DIR", str(folder / "storage"))


def take_own_redis_database() -> None:
    """xdist's process `gw0` takes database 1, `gw1` 2, and so on; 0 is for whoever runs without xdist."""
    if worker := re.fullmatch(r"gw(\d+)", os.environ.get("PYTEST_XDIST_WORKER", "")):
        os.environ["REDIS_URL"] = urlsplit(os.environ["REDIS_URL"])._replace(path=f"/{int(worker[1]) + 1}").geturl()


start_what_is_missing()
take_own_redis_database()
