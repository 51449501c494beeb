"""What supervisord starts: becomes one process of `run/processes.json`, tied to supervisord's life."""

import ctypes
import json
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

PR_SET_PDEATHSIG = 1  # <linux/prctl.h>


def die_with_parent(death_signal: int, parent: int) -> None:
    """Have the kernel send `death_signal` when `parent` ends; exits if that has happened already.

    Elsewhere than on Linux there is no such call, and a parent killed with -9 leaves its children running.
    Must follow a change of user, which clears the setting.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, death_signal)
    if os.getppid() != parent:
        os._exit(1)


def tie_to_parent() -> None:
    """Have this process asked to stop when the one that started it ends."""
    die_with_parent(signal.SIGTERM, os.getppid())


def _write_pid(path: Path) -> None:
    fresh = path.with_suffix(".new")
    fresh.write_text(f"{os.getpid()}\n")
    fresh.replace(path)


def _default_signals() -> None:
    # Python ignores these two and catches SIGINT; a program started by exec would inherit that.
    for number in (signal.SIGPIPE, signal.SIGXFSZ, signal.SIGINT):
        signal.signal(number, signal.SIG_DFL)


def _become(account: list[int] | None) -> None:
    if account is not None:
        uid, gid = account
        os.setgroups([])
        os.setgid(gid)
        os.setuid(uid)


def _wait_for(path: str | None) -> None:
    while path is not None and not Path(path).exists():
        time.sleep(0.05)


def main(processes: str, name: str) -> None:
    """Replace this program by the process `name`; `processes` is the path of processes.json."""
    var_dir = Path(processes).parent.parent
    supervisor = int((var_dir / "pids" / "supervisor.pid").read_text())
    spec: dict[str, Any] = json.loads(Path(processes).read_text())[name]
    _default_signals()
    die_with_parent(spec["death_signal"], supervisor)
    _write_pid(var_dir / "pids" / f"{name}.pid")
    _wait_for(spec["wait_for"])
    os.chdir(spec["cwd"])
    _become(spec["account"])
    die_with_parent(spec["death_signal"], supervisor)
    os.execve(spec["argv"][0], spec["argv"], spec["env"])  # noqa: S606  no shell is wanted


if __name__ == "__main__":
    main(*sys.argv[1:])
