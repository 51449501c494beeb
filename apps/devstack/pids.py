"""The pid files of the stack's processes, and whether those still run."""

import contextlib
import os
import signal
import time
from pathlib import Path


def read(folder: Path) -> dict[str, int]:
    """Process name → pid, of every pid file in `folder` that is complete."""
    found: dict[str, int] = {}
    for path in folder.glob("*.pid"):
        with contextlib.suppress(OSError, ValueError):
            found[path.stem] = int(path.read_text())
    return found


def alive(pid: int) -> bool:
    """Does this process run? One that ended and waits to be reaped does not."""
    if pid <= 0:
        return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return True


def outlast(processes: list[int], *, seconds: float) -> None:
    """Wait until none of `processes` runs; those left after `seconds` are killed."""
    deadline = time.monotonic() + seconds
    while (left := [pid for pid in processes if alive(pid)]) and time.monotonic() < deadline:
        time.sleep(0.1)
    for pid in left:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
