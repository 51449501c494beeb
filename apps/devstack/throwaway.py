"""Servers for a test run: fast, never durable, gone with the process that started them."""

import atexit
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path

import redis

from apps.devstack import ports, postgres, seaweed, spawn, valkey
from apps.devstack.waiting import until

NOT_DURABLE = {"fsync": "off", "full_page_writes": "off", "synchronous_commit": "off"}
PATIENCE = 30.0


def folder(prefix: str) -> Path:
    """A new temporary folder that PostgreSQL's user may pass; removed when this process exits."""
    path = Path(tempfile.mkdtemp(prefix=prefix))
    path.chmod(0o711)
    atexit.register(shutil.rmtree, path, ignore_errors=True)
    return path


def start_postgres(var_dir: Path) -> str:
    """Start a PostgreSQL with its data in `var_dir`; the URL of its database, ready to be used."""
    cluster, port = postgres.prepare(var_dir), ports.claim_any()
    atexit.register(postgres.discard, var_dir)
    _start(
        cluster.argv(port, **NOT_DURABLE),
        log=var_dir / "postgres.log",
        cwd=cluster.data.parent,
        account=cluster.account,
        stop_signal=signal.SIGINT,
    )
    until(lambda: postgres.accepts(cluster.url(port, "postgres")), seconds=PATIENCE, what="PostgreSQL did not start")
    postgres.create_database(cluster, port)
    return cluster.url(port)


def start_valkey(var_dir: Path) -> str:
    """Start a Valkey with its data in `var_dir`; its URL, ready to be used."""
    data = var_dir / "redis"
    argv, url = valkey.configure(data, ports.claim_any(), valkey.THROW_AWAY)
    _start(argv, log=var_dir / "redis.log", cwd=data, account=None, stop_signal=signal.SIGTERM)
    until(lambda: _answers(url), seconds=PATIENCE, what="Valkey did not start")
    return url


def start_s3(var_dir: Path) -> dict[str, str]:
    """Start an S3 server with its data in `var_dir`; the variables that lead to its bucket, ready to be used."""
    server = seaweed.prepare(var_dir / "s3")
    _start(
        server.argv(),
        log=var_dir / "s3.log",
        cwd=server.folder,
        env={**postgres.MINIMAL_ENV, **server.env()},
        account=None,
        stop_signal=signal.SIGTERM,
    )
    variables = server.variables()
    until(lambda: seaweed.answers(variables), seconds=PATIENCE, what="SeaweedFS did not start")
    return variables


def _start(
    argv: list[str],
    *,
    log: Path,
    cwd: Path,
    account: tuple[int, int] | None,
    stop_signal: signal.Signals,
    env: Mapping[str, str] | None = None,
) -> subprocess.Popen[bytes]:
    with log.open("wb") as output:
        # The same signal when the test run is killed, so that no shared memory stays behind.
        server = spawn.spawn(argv, output=output, cwd=cwd, env=env, account=account, death_signal=stop_signal)
    atexit.register(spawn.end, server, stop_signal=stop_signal)
    return server


def _answers(url: str) -> bool:
    with redis.Redis.from_url(url) as client:
        try:
            return bool(client.ping())
        except redis.ConnectionError:
            return False
