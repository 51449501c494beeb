"""When a transport goes through a proxy, and when not."""

import asyncio
import ssl
from pathlib import Path

import pytest
import trustme

from apps.inference.errors import UpstreamAway
from tests.fakes.raw import Connection, holding, saying, serving
from tests.unit.inference.test_transport import OK
from tests.unit.inference.transports import Trial, fails_with

PROXY_VARIABLES = ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY")


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while block := await reader.read(65536):
        writer.write(block)
    writer.close()


async def tunnel(connection: Connection) -> None:
    """A proxy that does as CONNECT asks."""
    host, _, port = (await connection.request()).split()[1].decode().partition(":")
    await connection.say(b"HTTP/1.1 200 Connected\r\nx-request-id: proxy\r\n\r\n")
    reader, writer = await asyncio.open_connection(host, int(port))
    await asyncio.gather(_pump(connection.reader, writer), _pump(reader, connection.writer))


def test_a_plain_request_goes_to_the_proxy_with_its_whole_url(trial: Trial) -> None:
    with serving(saying(OK)) as proxy:
        url = "http://upstream.invalid:8000/v1/chat/completions"
        assert trial.ask(url, b'{"a": 1}', proxy=f"http://127.0.0.1:{proxy.port}").body == b"ok"
    assert proxy.requests[0].startswith(b"POST http://upstream.invalid:8000/v1/chat/completions HTTP/1.1\r\n")
    assert proxy.requests[0].endswith(b'\r\n\r\n{"a": 1}')


def test_a_name_and_password_for_the_proxy_are_sent(trial: Trial) -> None:
    with serving(saying(OK)) as proxy:
        trial.ask("http://upstream.invalid/v1", proxy=f"http://me:secret@127.0.0.1:{proxy.port}")
    assert b"proxy-authorization: basic bwu6c2vjcmv0\r\n" in proxy.requests[0].lower()


def test_tls_goes_through_a_tunnel_that_learns_nothing(trial: Trial, tmp_path: Path) -> None:
    authority, context = trustme.CA(), ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    authority.issue_cert("127.0.0.1").configure_cert(context)
    with serving(holding(OK), tls=context) as server, serving(tunnel) as proxy:
        url, through = f"https://127.0.0.1:{server.port}/v1", f"http://127.0.0.1:{proxy.port}"
        headers = {"authorization": "Bearer sk-1"}
        answer = trial.ask(url, headers=headers, proxy=through, ca_file=str(tmp_path / "ca.pem"))
    assert (answer.body, answer.headers.get("x-request-id")) == (b"ok", None)
    assert proxy.requests[0].startswith(f"CONNECT 127.0.0.1:{server.port} HTTP/1.1\r\n".encode())
    assert b"authorization" not in proxy.requests[0].lower()
    assert b"authorization: Bearer sk-1\r\n" in server.requests[0]


def test_a_tunnel_refused_is_an_upstream_away(trial: Trial) -> None:
    reply = b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n"
    with serving(saying(reply)) as proxy:
        url, through = "https://127.0.0.1:1/v1", f"http://127.0.0.1:{proxy.port}"
        fails_with(UpstreamAway, lambda: trial.ask(url, proxy=through))
        fails_with(UpstreamAway, lambda: trial.probe(url, proxy=through))


@pytest.mark.parametrize("proxy", ["http://127.0.0.1:1", "http://no-such-host.invalid:3128"])
def test_a_proxy_that_is_not_there_is_an_upstream_away(trial: Trial, proxy: str) -> None:
    fails_with(UpstreamAway, lambda: trial.ask("http://127.0.0.1:1/v1", proxy=proxy))


def test_the_environments_proxies_are_not_used(trial: Trial, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in PROXY_VARIABLES:
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    with serving(saying(OK)) as server:
        assert trial.ask(server.url).body == b"ok"


@pytest.mark.parametrize("name", ["no_proxy", "NO_PROXY"])
def test_the_environments_exceptions_are_not_made(trial: Trial, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv(name, "*")
    with serving(saying(OK)) as proxy:
        assert trial.ask("http://127.0.0.1:1/v1", proxy=f"http://127.0.0.1:{proxy.port}").body == b"ok"
