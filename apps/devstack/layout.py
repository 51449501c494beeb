"""Where things lie under VAR_DIR, and the lock that makes it one stack's."""

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from apps.devstack import pids
from apps.devstack.errors import DevstackError

PROJECT_ROOT = Path(__file__).resolve().parents[2]
# A supervisord whose devstack was killed keeps the lock until it has stopped its processes.
TAKEOVER_SECONDS = 40


@dataclass(frozen=True)
class Layout:
    """The files of one stack; `root` is VAR_DIR, absolute."""

    root: Path

    @classmethod
    def of(cls, var_dir: str | None) -> "Layout":
        """`var_dir` is relative to the current folder; without it, `var` in the project."""
        return cls(Path(var_dir).absolute() if var_dir else PROJECT_ROOT / "var")

    @property
    def log(self) -> Path:
        return self.root / "log"

    @property
    def pids(self) -> Path:
        return self.root / "pids"

    @property
    def run(self) -> Path:
        return self.root / "run"

    @property
    def migrated(self) -> Path:
        return self.run / "migrated"

    @property
    def dev_env(self) -> Path:
        return self.root / "dev.env"

    @property
    def metrics(self) -> Path:
        """Who tells metrics where, as Prometheus' `file_sd_configs` reads it."""
        return self.root / "metrics.json"

    @property
    def dev_key(self) -> Path:
        return self.root / "dev.key"

    def make(self) -> None:
        """Create the folders; raises DevstackError when another user's files are in the way."""
        try:
            for folder in (self.root, self.log, self.pids, self.run):
                folder.mkdir(parents=True, exist_ok=True)
            (self.root / "lock").open("a").close()
        except OSError as error:
            raise DevstackError(f"cannot write in VAR_DIR: {error}") from None

    def clear(self) -> None:
        """Remove what tells of a running stack."""
        for path in (self.dev_env, self.metrics, self.migrated, *self.pids.glob("*.pid")):
            path.unlink(missing_ok=True)

    @contextmanager
    def lock(self) -> Iterator[int]:
        """Hold VAR_DIR; gives the descriptor, which supervisord inherits. Raises DevstackError when it is taken."""
        with (self.root / "lock").open("r+") as file:
            deadline = time.monotonic() + TAKEOVER_SECONDS
            while not _locked(file.fileno()):
                holder = file.read().strip()
                pid = int(holder) if holder.isdecimal() else 0
                file.seek(0)
                if pids.alive(pid) or time.monotonic() > deadline:
                    raise DevstackError(
                        f"another stack runs in {self.root} (pid {holder[:20]}): stop it or set VAR_DIR"
                    )
                time.sleep(0.1)
            file.truncate()
            file.write(f"{os.getpid()}\n")
            file.flush()
            yield file.fileno()


def _locked(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
