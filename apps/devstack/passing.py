"""A dev stack in a folder of its own, for as long as somebody needs it; nothing of it is left behind."""

import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from subprocess import Popen
from typing import NamedTuple

from apps.devstack import announce, postgres, spawn
from apps.devstack.errors import DevstackError
from apps.devstack.layout import PROJECT_ROOT, Layout

# What would make it work on data of somebody's own.
SOMEBODYS_OWN = {"DATABASE_URL", "REDIS_URL", "STORAGE_DIR", "SECRET_KEY", "PORT", "VAR_DIR"}
STOP_SECONDS = 60


class Passing(NamedTuple):
    """The stack, ready to serve."""

    layout: Layout
    process: "Popen[bytes]"


@contextmanager
def stack(
    prefix: str, env: Mapping[str, str], *, starting: str, during: Callable[[str], AbstractContextManager[None]]
) -> Iterator[Passing]:
    """Stopped and removed at the end, whatever happens. Raises DevstackError if it does not come up.

    `during` says to people what goes on while its block lasts: `starting`, or that it stops.
    """
    folder = Path(tempfile.mkdtemp(prefix=prefix))
    folder.chmod(0o711)  # PostgreSQL's user, who is not root, must pass
    layout, log = Layout.of(str(folder)), folder / "devstack.log"
    command: list[str | Path] = [sys.executable, PROJECT_ROOT / "manage.py", "devstack", "--die-with-parent"]
    try:
        with log.open("wb") as output:
            running = spawn.spawn(command, output=output, env={**env, "VAR_DIR": str(folder)})
        try:
            with during(starting):
                while not layout.dev_env.exists():
                    if running.poll() is not None:
                        raise DevstackError(f"the stack did not come up:{announce.tail(log, 20)}")
                    time.sleep(0.05)
            yield Passing(layout, running)
        finally:
            with during("Stopping ..."):
                spawn.end(running, seconds=STOP_SECONDS)
    finally:
        postgres.discard(folder)
        shutil.rmtree(folder, ignore_errors=True)


def without_somebodys_own(environ: Mapping[str, str]) -> dict[str, str]:
    """The environment, without what leads to data that somebody needs. STORAGE stays: the bucket will be another."""
    return {
        name: value
        for name, value in environ.items()
        if name.removesuffix("_FILE") not in SOMEBODYS_OWN and not name.startswith("S3_")
    }
