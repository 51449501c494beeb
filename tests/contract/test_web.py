"""The web process against clients and proxies that mean no good, by plain sockets: no SDK would send this."""

import http.client
import json
import os
import socket
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from apps.devstack import ports, procfile, services, spawn
from apps.devstack.waiting import until
from tests.stack import ROOT

LINE = procfile.parse((ROOT / "Procfile").read_text())["web"]
PATH = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
THREADS = 2
SETTINGS = {
    "WEB_PROCESSES": "1",
    "WEB_THREADS": str(THREADS),
    "WEB_CLIENT_TIMEOUT": "1",
    "PROXY_SSL_HEADER": "X-Forwarded-Proto",
    "SSL_REDIRECT": "true",
    "TRUSTED_PROXIES": "127.0.0.2/32",
}
PROXY, STRANGER = "127.0.0.2", "127.0.0.1"
PATIENCE = 20.0


class Web(NamedTuple):
    port: int
    log: Path

    def connect(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), timeout=PATIENCE, source_address=(PROXY, 0))

    def say(self, request: bytes) -> bytes:
        """Everything that comes back until the connection is closed."""
        with self.connect() as connection:
            connection.sendall(request)
            return b"".join(iter(lambda: connection.recv(65_536), b""))

    def status_for(self, sender: str, **headers: str) -> int:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE, source_address=(sender, 0))
        try:
            connection.request("GET", "/docs/openapi.json", headers=headers)
            return connection.getresponse().status
        finally:
            connection.close()


@pytest.fixture(scope="module")
def web(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Web]:
    """The Procfile's line, with little patience and two threads."""
    web = Web(ports.claim_any(), tmp_path_factory.mktemp("web") / "web.log")
    with web.log.open("wb") as output:
        process = spawn.spawn(
            ["/bin/sh", "-c", f"exec {LINE}"],
            output=output,
            cwd=ROOT,
            env={**os.environ, **SETTINGS, "PATH": PATH, "PORT": str(web.port)},
        )
    try:
        until(lambda: services.answers(web.port, "/healthz"), seconds=60, what="the web did not start")
        yield web
    finally:
        spawn.end(process)


def test_a_web_that_may_not_start_ends(tmp_path: Path) -> None:
    """As every other process does, and does not try for ever: whoever runs it can see that."""
    with (tmp_path / "web.log").open("wb") as output:
        environ = {**os.environ, "PATH": PATH, "PORT": str(ports.claim_any()), "SECRET_KEY": ""}
        process = spawn.spawn(["/bin/sh", "-c", f"exec {LINE}"], output=output, cwd=ROOT, env=environ)

    try:
        assert process.wait(60) != 0
    finally:
        spawn.end(process)
    assert "zerobatch.E001" in (tmp_path / "web.log").read_text()


def test_a_request_line_that_is_too_long_gets_the_envelope(web: Web) -> None:
    head, _, body = web.say(b"GET /v1/files?after=" + b"x" * 9_000 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n").partition(
        b"\r\n\r\n"
    )

    assert head.startswith(b"HTTP/1.1 414 ")
    assert b"Content-Type: application/json" in head
    assert b"x-request-id: req_" in head
    assert json.loads(body)["error"]["code"] == "uri_too_long"


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (b"GET / HTTP/1.1\r\nHost: localhost\r\nx-long: " + b"x" * 9_000 + b"\r\n\r\n", b"431"),
        (b"GET / HTTP/1.1\r\nHost: localhost\r\n" + b"x: y\r\n" * 200 + b"\r\n", b"431"),
        (b"GET / HTTP/1.1\r\nHost : a\r\n\r\n", b"400"),
        (b"no request at all\r\n\r\n", b"400"),
    ],
)
def test_what_is_no_request_gets_the_envelope(web: Web, request_: bytes, status: bytes) -> None:
    head, _, body = web.say(request_).partition(b"\r\n\r\n")

    assert head.split()[1] == status
    assert json.loads(body)["error"]["type"] == "invalid_request_error"


@pytest.mark.parametrize(
    "beginning",
    [
        b"GET /healthz HTTP/1.1\r\nHos",
        b"POST /v1/files HTTP/1.1\r\nHost: localhost\r\nX-Forwarded-Proto: https\r\nContent-Length: 100\r\n\r\n{",
    ],
    ids=["headers", "body"],
)
def test_clients_that_stall_take_nobody_s_place(web: Web, beginning: bytes) -> None:
    stalling = [web.connect() for _ in range(2 * THREADS)]
    try:
        for connection in stalling:
            connection.sendall(beginning)

        assert web.say(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").startswith(
            b"HTTP/1.1 200"
        )
        for connection in stalling:
            while connection.recv(65_536):
                pass
    finally:
        for connection in stalling:
            connection.close()
    assert "Traceback" not in web.log.read_text()


def test_only_a_proxy_of_ours_says_that_a_client_spoke_tls(web: Web) -> None:
    assert web.status_for(PROXY, **{"X-Forwarded-Proto": "https"}) == 200
    assert web.status_for(PROXY, **{"X-Forwarded-Proto": "http"}) == 301
    assert web.status_for(STRANGER, **{"X-Forwarded-Proto": "https"}) == 301
