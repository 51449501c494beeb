"""The admin's pages with 100,000 batches and 2,000,000 chunks, beside the same on an almost empty database."""

import http.client
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from urllib.parse import urlsplit

import psycopg

from apps.devstack import tenant, throwaway
from benchmarks import fill, machine, servers, table
from benchmarks.fill import LARGE, SMALL, Size
from benchmarks.table import Row

LOOKS = 40
"""At each page of each side, in turns."""
MOST_SECONDS = 0.3
MOST_LISTED, PER_PAGE = 10_000, 50
"""As apps/api/admin.py, which needs Django."""
BOARD = "/admin/board/"
BOARD_LOOKS, BOARD_PAUSE = 8, 3.1
"""The dashboard's figures are shared for three seconds; each of these looks reads them anew."""

SIGN_IN = """
from django.contrib.auth import BACKEND_SESSION_KEY, HASH_SESSION_KEY, SESSION_KEY
from django.contrib.auth.models import User
from django.contrib.sessions.backends.db import SessionStore
user = User.objects.create_superuser("benchmark")
session = SessionStore()
session[SESSION_KEY], session[HASH_SESSION_KEY] = str(user.pk), user.get_session_auth_hash()
session[BACKEND_SESSION_KEY] = "django.contrib.auth.backends.ModelBackend"
session.save()
print(session.session_key)
"""


@dataclass(frozen=True)
class Side:
    """A web process on a filled database, and a signed-in operator."""

    netloc: str
    session: str
    batch_id: str
    project_id: str
    last_page: int

    @property
    def pages(self) -> dict[str, str]:
        batches, chunks = "/admin/batches/batch/", "/admin/batches/chunk/"
        return {
            "batches": batches,
            "batches, the last page that can be reached": f"{batches}?p={self.last_page}",
            "batches, failed (none)": f"{batches}?status__exact=failed",
            "batches, not ended": f"{batches}?trouble=open",
            "batches, by id": f"{batches}?q={self.batch_id}",
            "one batch": f"{batches}{self.batch_id.replace('_', '_5F')}/change/",
            "chunks": chunks,
            "chunks of a batch": f"{chunks}?batch__id__exact={self.batch_id}",
            "chunks, running": f"{chunks}?state__exact=running",
            "chunks, broken": f"{chunks}?trouble=broken",
            "files": "/admin/files/file/",
            "projects": "/admin/projects/project/",
            "one project, with its usage": f"/admin/projects/project/{self.project_id}/change/",
        }

    def get(self, path: str) -> float:
        """Seconds until the whole page is here. Raises ValueError if it is not a 200."""
        connection = http.client.HTTPConnection(self.netloc, timeout=60)
        start = time.perf_counter()
        connection.request("GET", path, headers={"cookie": f"sessionid={self.session}"})
        response = connection.getresponse()
        response.read()
        seconds = time.perf_counter() - start
        connection.close()
        if response.status != 200:
            raise ValueError(f"{path} answered {response.status}")
        return seconds


def measure(folder: Path) -> list[Row]:
    with _side(folder / "small", SMALL) as beside, _side(folder / "large", LARGE) as ours:
        rows = [_row(f"admin: {what}", ours, beside, path) for what, path in ours.pages.items()]
        return [*rows, _board_row(ours, beside)]


@contextmanager
def _side(folder: Path, size: Size) -> Iterator[Side]:
    folder.mkdir()
    with servers.web(folder, {}) as web:
        print(f"Filling a database: {size}", flush=True)
        project = fill.fill(web.env["DATABASE_URL"], size)
        session = tenant.manage("shell", "--verbosity", "0", "--command", SIGN_IN, env=web.env).split()[-1]
        with psycopg.connect(web.env["DATABASE_URL"]) as connection:
            row = connection.execute("SELECT batch_id FROM batches_chunk WHERE state = 'running' LIMIT 1").fetchone()
        if row is None:
            raise LookupError("no batch runs")
        yield Side(urlsplit(web.url).netloc, session, row[0], project, min(size.batches, MOST_LISTED) // PER_PAGE)


def _row(what: str, ours: Side, beside: Side, path: str) -> Row:
    """`path` has ids of `ours`; the other side shows the page of its own row."""
    own = dict(zip(ours.pages.values(), beside.pages.values(), strict=True))[path]
    near, far = [], []
    for number in range(-2, LOOKS):
        times = beside.get(own), ours.get(path)
        if number >= 0:  # the first ones warm up
            near.append(times[0])
            far.append(times[1])
    return _as_row(what, far, near)


def _board_row(ours: Side, beside: Side) -> Row:
    near, far = [], []
    for _ in range(BOARD_LOOKS):
        near.append(beside.get(BOARD))
        far.append(ours.get(BOARD))
        time.sleep(BOARD_PAUSE)
    return _as_row("admin: the dashboard, read anew", far, near)


def _as_row(what: str, far: list[float], near: list[float]) -> Row:
    goal = table.at_most(max(far), MOST_SECONDS, f"slowest ≤ {MOST_SECONDS * 1e3:.0f} ms")
    return Row(f"{what}: slowest (median)", _times(far), _times(near), median(far) / median(near), goal)


def _times(seconds: list[float]) -> str:
    return f"{max(seconds) * 1e3:.0f} ms ({median(seconds) * 1e3:.0f})"


def main() -> None:
    print(f"Ours: {LARGE}. Beside: {SMALL}.\n\n{machine.describe()}\n", flush=True)
    table.show(measure(throwaway.folder("zerobatch-bench-")))


if __name__ == "__main__":
    main()
