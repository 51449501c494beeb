"""The embedded services a stack needs: one for each of DATABASE_URL, REDIS_URL and INFERENCE_BASE_URL not given.

With STORAGE=s3, and no S3_BUCKET given, one more.
"""

import http.client
import os
import signal
import socket
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from apps.devstack import packages, ports, postgres, seaweed, valkey
from apps.devstack.layout import PROJECT_ROOT, Layout
from apps.devstack.supervision import Process

NAMES = ("DATABASE_URL", "REDIS_URL", "INFERENCE_BASE_URL")
PORTS = {"https": 443, "postgres": 5432, "postgresql": 5432, "redis": 6379, "rediss": 6379}
MODEL_SLOTS = "8"  # as apps.devstack.model


@dataclass(frozen=True)
class Service:
    """A supervised service: the variables it adds to everybody's environment, and when it can be used.

    The one that is `first` is needed by the migrations; `prepare` is called once it is ready.
    """

    process: Process
    env: dict[str, str]
    ready: Callable[[], bool] = field(default=lambda: True)
    prepare: Callable[[], None] = field(default=lambda: None)
    first: bool = False


def given(name: str, environ: Mapping[str, str]) -> str:
    """The variable's text, or that of the file `NAME_FILE` names, as the settings read it; empty when not given."""
    if path := environ.get(f"{name}_FILE"):
        return Path(path).read_text().strip()
    return environ.get(name, "")


def host(url: str) -> str:
    """Host and port of a URL, without the password that may stand in it."""
    return urlsplit(url).netloc.rpartition("@")[2] or url


def listens(url: str) -> bool:
    """Does anybody take connections at this URL?"""
    parts = urlsplit(url)
    try:
        port = parts.port or PORTS.get(parts.scheme, 80)
        with socket.create_connection((parts.hostname or "", port), timeout=2):
            return True
    except (OSError, ValueError):
        return False


def missing(layout: Layout, environ: Mapping[str, str]) -> list[Service]:
    """The services to start, each on a port of its own."""
    makers = zip(NAMES, (_postgres, _redis, _model), strict=True)
    found = [maker(layout, environ) for name, maker in makers if not given(name, environ)]
    if given("STORAGE", environ) == "s3" and not given("S3_BUCKET", environ):
        found.append(_s3(layout))
    return found


def answers(port: int, path: str) -> bool:
    """Does `GET path` on 127.0.0.1 say 200?"""
    return status(port, path) == 200


def status(port: int, path: str, headers: Mapping[str, str] | None = None) -> int:
    """The status of `GET path` on 127.0.0.1; 0 without an answer."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", path, headers=dict(headers or {}))
        return connection.getresponse().status
    except (OSError, http.client.HTTPException):
        return 0
    finally:
        connection.close()


def _postgres(layout: Layout, _: Mapping[str, str]) -> Service:
    cluster, port = postgres.prepare(layout.root), ports.claim_any()
    process = Process(
        name="postgres",
        group="services",
        argv=cluster.argv(port),
        env=postgres.MINIMAL_ENV,
        cwd=str(cluster.data.parent),
        stop_signal="INT",  # fast shutdown: does not wait for clients
        death_signal=signal.SIGINT,
        account=cluster.account,
    )
    return Service(
        process,
        env={"DATABASE_URL": cluster.url(port)},
        ready=lambda: postgres.accepts(cluster.url(port, "postgres")),
        prepare=lambda: postgres.create_database(cluster, port),
        first=True,
    )


def _redis(layout: Layout, _: Mapping[str, str]) -> Service:
    folder = layout.root / "redis"
    argv, url = valkey.configure(folder, ports.claim_any())
    process = Process(name="redis", group="services", argv=argv, env=postgres.MINIMAL_ENV, cwd=str(folder))
    return Service(process, env={"REDIS_URL": url})


def _s3(layout: Layout) -> Service:
    server = seaweed.prepare(layout.root / "s3")
    process = Process(
        name="s3",
        group="services",
        argv=server.argv(),
        env={**postgres.MINIMAL_ENV, **server.env()},
        cwd=str(server.folder),
    )
    variables = server.variables()
    return Service(process, env=variables, ready=lambda: seaweed.answers(variables))


def _model(_: Layout, environ: Mapping[str, str]) -> Service:
    packages.folder_of("xllamacpp", instead="set INFERENCE_BASE_URL")
    packages.weights()
    port = ports.claim_any()
    process = Process(
        name="model",
        group="services",
        argv=[sys.executable, "-m", "apps.devstack.model", "--port", str(port)],
        env={**os.environ},
        cwd=str(PROJECT_ROOT),
    )
    in_flight = environ.get("INFERENCE_MAX_IN_FLIGHT", MODEL_SLOTS)
    env = {"INFERENCE_BASE_URL": f"http://127.0.0.1:{port}/v1", "INFERENCE_MAX_IN_FLIGHT": in_flight}
    return Service(process, env=env, ready=lambda: answers(port, "/health"))
