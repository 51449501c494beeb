"""The Procfile's lines as supervised processes."""

import os
import re
import shutil
import signal
import sys
from collections.abc import Mapping
from pathlib import Path

from apps.devstack.layout import PROJECT_ROOT, Layout
from apps.devstack.supervision import Process

SCALED = "worker"  # the one line that WORKERS multiplies


def parse(text: str) -> dict[str, str]:
    """Process type → command line."""
    matches = (re.match(r"([A-Za-z0-9_-]+):\s*(.+)", line) for line in text.splitlines())
    return {match[1]: match[2] for match in matches if match}


def without(kind: str, text: str) -> str:
    """The Procfile without one of its lines."""
    return "".join(line for line in text.splitlines(keepends=True) if not line.startswith(f"{kind}:"))


def processes(
    text: str, *, workers: int, env: Mapping[str, str], metrics: Mapping[str, int], layout: Layout
) -> list[Process]:
    """One process for each line, `workers` for the worker line; they start once the database is migrated.

    `metrics` has the port on which a process tells its own, if it does.
    """
    return [
        Process(
            name=name,
            group="app",
            argv=[shutil.which("sh") or "/bin/sh", "-c", f"exec {line}"],
            env={**env, "METRICS_PORT": str(metrics.get(name, 0))},
            cwd=str(PROJECT_ROOT),
            # A supervisor that was killed has been followed by the database: there is nothing left to finish.
            death_signal=signal.SIGINT if kind == "web" else signal.SIGKILL,
            wait_for=str(layout.migrated),
        )
        for kind, line in parse(text).items()
        for name in _names(kind, workers)
    ]


def pinged(text: str, *, workers: int) -> list[str]:
    """The processes that answer a Celery ping."""
    lines = parse(text).items()
    return [
        name for kind, line in lines if re.search(r"\bcelery\b.*\sworker\b", line) for name in _names(kind, workers)
    ]


def environment(environ: Mapping[str, str], extra: Mapping[str, str]) -> dict[str, str]:
    """`environ` with this Python's programs first on PATH, and `extra`."""
    path = os.pathsep.join(filter(None, [str(Path(sys.executable).parent), environ.get("PATH", os.defpath)]))
    return {**environ, "PATH": path, "PYTHONUNBUFFERED": "1", **extra}


def _names(kind: str, workers: int) -> list[str]:
    return [f"{kind}-{number}" for number in range(1, workers + 1)] if kind == SCALED else [kind]
