"""The programs that a benchmark measures or talks to; each ends with its `with` block, or with this process."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from apps.devstack import announce, ports, postgres, private, procfile, services, spawn, tenant, throwaway
from apps.devstack.errors import DevstackError
from apps.devstack.layout import PROJECT_ROOT, Layout
from apps.devstack.waiting import until

READY_SECONDS = 120
STOP_SECONDS = 60


@dataclass(frozen=True)
class Web:
    """A running web server: its address, a key, gunicorn's pid, and the environment it was started with."""

    url: str
    api_key: str
    pid: int
    env: dict[str, str]


@contextmanager
def web(folder: Path, extra: Mapping[str, str]) -> Iterator[Web]:
    """The Procfile's web process with one worker, on a new PostgreSQL and Valkey in `folder`; nothing runs batches."""
    port = ports.claim_any()
    servers = {"DATABASE_URL": throwaway.start_postgres(folder), "REDIS_URL": throwaway.start_valkey(folder)}
    env = _environment(
        {**servers, "PORT": str(port), "WEB_PROCESSES": "1", "STORAGE_DIR": str(folder / "storage"), **extra}
    )
    tenant.manage("migrate", "--noinput", env=env)
    key = tenant.manage("create_api_key", tenant.manage("create_project", "benchmark", env=env), env=env)
    line = procfile.parse((PROJECT_ROOT / "Procfile").read_text())["web"]
    log = folder / "web.log"
    with _running(["/bin/sh", "-c", f"exec {line}"], log=log, env=env) as server:
        _await(server, lambda: services.answers(port, "/readyz"), log)
        yield Web(f"http://127.0.0.1:{port}/v1", key, server.pid, env)


@contextmanager
def stack(folder: Path, *, workers: int, inference_url: str) -> Iterator[Layout]:
    """The whole dev stack, as `make up` starts it, in `folder`, once it is ready."""
    layout, log = Layout.of(str(folder)), folder / "devstack.log"
    port = ports.claim_any()
    ports.release(port)  # for the stack to claim
    env = _environment(
        {"VAR_DIR": str(folder), "PORT": str(port), "WORKERS": str(workers), "INFERENCE_BASE_URL": inference_url}
    )
    command: list[str | Path] = [sys.executable, PROJECT_ROOT / "manage.py", "devstack", "--die-with-parent"]
    try:
        with _running(command, log=log, env=env) as running:
            _await(running, layout.dev_env.exists, log)
            yield layout
    finally:
        postgres.discard(folder)


@contextmanager
def upstream(folder: Path) -> Iterator[str]:
    """The benchmarks' inference server, in a process of its own; its base URL."""
    log = folder / "upstream.log"
    with _running([sys.executable, "-m", "benchmarks.upstream"], log=log, env=_environment({})) as server:
        _await(server, lambda: log.read_text().endswith("\n"), log)
        yield log.read_text().strip()


def dev_env(layout: Layout) -> tuple[str, str]:
    """Base URL and API key of a running stack."""
    values = private.read_env(layout.dev_env)
    return values["ZEROBATCH_BASE_URL"], values["ZEROBATCH_API_KEY"]


def _environment(extra: Mapping[str, str]) -> dict[str, str]:
    """Nothing of the caller's but where programs are: the figures must not depend on somebody's settings."""
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG", "TMPDIR") if name in os.environ}
    needed = {"SECRET_KEY": "only-for-benchmarks", "DJANGO_SETTINGS_MODULE": "zerobatch.settings"}
    return procfile.environment(kept, {**needed, **extra})


@contextmanager
def _running(argv: list[str | Path], *, log: Path, env: Mapping[str, str]) -> Iterator[subprocess.Popen[bytes]]:
    with log.open("wb") as output:
        process = spawn.spawn(argv, output=output, cwd=PROJECT_ROOT, env=env, death_signal=signal.SIGTERM)
    try:
        yield process
    finally:
        spawn.end(process, seconds=STOP_SECONDS)


def _await(process: subprocess.Popen[bytes], ready: Callable[[], bool], log: Path) -> None:
    def is_ready() -> bool:
        if process.poll() is not None:
            raise DevstackError(f"{log.stem} ended:{announce.tail(log)}")
        return ready()

    until(is_ready, seconds=READY_SECONDS, what=f"{log.stem} did not get ready; see {log}")
