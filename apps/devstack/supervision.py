"""supervisord: its configuration, written from a list of processes, and its life."""

import json
import os
import shlex
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from apps.devstack import child, packages, pids, private, spawn
from apps.devstack.errors import DevstackError
from apps.devstack.layout import Layout

DRAIN_SECONDS = 10  # for lines in flight; a developer at Ctrl-C will not wait for a minute
STOP_SECONDS = DRAIN_SECONDS + 5
ALL_STOPPED_SECONDS = 3 * STOP_SECONDS

HEAD = """\
[supervisord]
nodaemon=true
silent=true
logfile=log/supervisord.log
logfile_maxbytes=10MB
logfile_backups=1
pidfile=pids/supervisor.pid
childlogdir=log
"""

# ENV_DEVSTACK_CHILD comes from the environment because a path in this file would need quoting against `%` and ` ;`.
PROGRAM = """
[program:{name}]
command=%(ENV_DEVSTACK_CHILD)s {name}
autorestart=true
startsecs=2
startretries=1000000
stopsignal={stop_signal}
stopwaitsecs={stop_seconds}
killasgroup=true
redirect_stderr=true
stdout_logfile=log/{name}.log
stdout_logfile_maxbytes=10MB
stdout_logfile_backups=1
"""

# Groups stop one after the other, the highest priority first; the programs of a group stop together.
GROUP = """
[group:{name}]
programs={programs}
priority={priority}
"""
PRIORITIES = {"services": 1, "app": 2}


@dataclass(frozen=True)
class Process:
    """One supervised process.

    `death_signal` reaches it when supervisord dies; `account` is (uid, gid); it starts once the file `wait_for` exists.
    """

    name: str
    group: str
    argv: list[str]
    env: dict[str, str]
    cwd: str
    stop_signal: str = "TERM"
    death_signal: int = signal.SIGTERM
    account: tuple[int, int] | None = None
    wait_for: str | None = None


class Supervisor:
    """A running supervisord."""

    def __init__(self, layout: Layout, running: subprocess.Popen[bytes]) -> None:
        self._layout = layout
        self._running = running

    @classmethod
    def start(cls, layout: Layout, processes: Sequence[Process], *, lock: int) -> "Supervisor":
        """Write the configuration and start; supervisord keeps the lock's descriptor until it ends."""
        packages.folder_of("supervisor", instead="run the lines of the Procfile yourself")
        specs = layout.run / "processes.json"
        private.write(specs, json.dumps({process.name: asdict(process) for process in processes}))
        private.write(layout.run / "supervisord.conf", configuration(processes))
        command = [sys.executable, "-m", "supervisor.supervisord", "-n", "-c", "run/supervisord.conf"]
        with (layout.log / "supervisord.log").open("ab") as output:
            running = spawn.spawn(
                command, output=output, cwd=layout.root, env=_environment(os.environ, specs), pass_fds=[lock]
            )
        return cls(layout, running)

    def check(self) -> None:
        """Raises DevstackError if supervisord has ended."""
        if (code := self._running.poll()) is not None:
            raise DevstackError(f"supervisord ended ({code}); see {self._layout.log / 'supervisord.log'}")

    def wait(self) -> None:
        """Block until supervisord ends, which it does unasked only when something is wrong: raises DevstackError."""
        self._running.wait()
        self.check()

    def stop(self) -> None:
        """Stop every process; after a supervisord that was killed, wait for those it left to end."""
        left = list(pids.read(self._layout.pids).values())
        if spawn.end(self._running, seconds=ALL_STOPPED_SECONDS) != 0:
            pids.outlast(left, seconds=STOP_SECONDS)


def configuration(processes: Sequence[Process]) -> str:
    """The text of supervisord.conf."""
    head = HEAD + ("user=root\n" if os.geteuid() == 0 else "")  # said aloud, or it warns
    programs = (
        PROGRAM.format(name=process.name, stop_signal=process.stop_signal, stop_seconds=STOP_SECONDS)
        for process in processes
    )
    members = {group: [p.name for p in processes if p.group == group] for group in PRIORITIES}
    groups = (
        GROUP.format(name=group, programs=",".join(names), priority=PRIORITIES[group])
        for group, names in members.items()
        if names
    )
    return "".join([head, *programs, *groups])


def _environment(environ: Mapping[str, str], specs: Path) -> dict[str, str]:
    command = [sys.executable, "-I", child.__file__, str(specs)]
    return {**environ, "DEVSTACK_CHILD": shlex.join(command)}
