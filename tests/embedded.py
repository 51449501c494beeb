"""Starts the PostgreSQL and the Valkey that the environment does not name; pytest loads it before Django's settings."""

import os

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


start_what_is_missing()
