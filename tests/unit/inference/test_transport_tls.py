"""Whom every transport trusts."""

import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import trustme

from apps.inference.errors import BrokenAnswer, UpstreamAway
from apps.inference.transport import Transport
from tests.fakes.raw import Connection, RawServer, holding, saying, serving
from tests.fakes.upstream import FakeUpstream
from tests.unit.inference.test_transport import OK
from tests.unit.inference.transports import Trial, fails_with


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture(scope="module")
def ca_file(authority: trustme.CA, tmp_path_factory: pytest.TempPathFactory) -> str:
    path: Path = tmp_path_factory.mktemp("ca") / "ca.pem"
    authority.cert_pem.write_to_path(str(path))
    return str(path)


@contextmanager
def serving_tls(authority: trustme.CA, name: str = "127.0.0.1", *replies: bytes) -> Iterator[RawServer]:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert(name).configure_cert(context)
    with serving(holding(*(replies or (OK,))), tls=context) as server:
        yield server


def test_the_authority_of_ones_own_is_trusted_and_the_connection_kept(
    trial: Trial, authority: trustme.CA, ca_file: str
) -> None:
    async def story(transport: Transport) -> list[bytes]:
        return [(await transport.send(f"https://127.0.0.1:{server.port}/v1", {}, b"{}")).body for _ in range(2)]

    with serving_tls(authority, "127.0.0.1", OK, OK) as server:
        assert trial.run(story, ca_file=ca_file) == [b"ok", b"ok"]
    assert server.connections == 1


def test_a_large_answer_comes_through_tls(trial: Trial, authority: trustme.CA, ca_file: str) -> None:
    body = b"x" * 20_000_000
    reply = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + body
    with serving_tls(authority, "127.0.0.1", reply) as server:
        url = f"https://127.0.0.1:{server.port}/v1"
        assert trial.ask(url, body, ca_file=ca_file).body == body
    assert server.requests[0].endswith(body)


def test_an_authority_that_nobody_knows_is_an_upstream_away(trial: Trial, authority: trustme.CA) -> None:
    with serving_tls(authority) as server:
        said = fails_with(UpstreamAway, lambda: trial.ask(f"https://127.0.0.1:{server.port}/v1"))
    assert "certificate" in said
    assert server.requests == []


def test_an_authority_of_ones_own_is_the_only_one_trusted(trial: Trial, ca_file: str) -> None:
    with serving_tls(trustme.CA()) as server:
        fails_with(UpstreamAway, lambda: trial.ask(f"https://127.0.0.1:{server.port}/v1", ca_file=ca_file))
    assert server.requests == []


@pytest.mark.parametrize("name", ["another.test", "127.0.0.2"])
def test_a_certificate_for_another_name_is_an_upstream_away(
    trial: Trial, authority: trustme.CA, ca_file: str, name: str
) -> None:
    with serving_tls(authority, name) as server:
        fails_with(UpstreamAway, lambda: trial.ask(f"https://127.0.0.1:{server.port}/v1", ca_file=ca_file))
    assert server.requests == []


def test_the_systems_authorities_are_those_that_python_trusts(
    trial: Trial, authority: trustme.CA, ca_file: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", ca_file)
    with serving_tls(authority) as server:
        assert trial.ask(f"https://127.0.0.1:{server.port}/v1").body == b"ok"


def test_a_server_that_speaks_no_tls_is_an_upstream_away(trial: Trial, fake: FakeUpstream) -> None:
    fails_with(UpstreamAway, lambda: trial.ask(f"https://127.0.0.1:{fake.port}/v1"))


def test_a_server_that_hangs_up_in_the_handshake_is_an_upstream_away(trial: Trial) -> None:
    async def hang_up(connection: Connection) -> None:
        await connection.reader.read(10)

    with serving(hang_up) as server:
        fails_with(UpstreamAway, lambda: trial.ask(f"https://127.0.0.1:{server.port}/v1"))


def test_a_handshake_that_never_ends_is_an_upstream_away(trial: Trial) -> None:
    with serving(Connection.until_the_client_is_gone) as server:
        url = f"https://127.0.0.1:{server.port}/v1"
        assert "within 0.1 s" in fails_with(UpstreamAway, lambda: trial.ask(url, connect_timeout=0.1))


def test_an_answer_cut_short_inside_tls_is_a_broken_answer(trial: Trial, authority: trustme.CA, ca_file: str) -> None:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    with serving(saying(OK[:-1]), tls=context) as server:
        fails_with(BrokenAnswer, lambda: trial.ask(f"https://127.0.0.1:{server.port}/v1", ca_file=ca_file))
