"""What every transport takes for a sign of life."""

import pytest

from apps.inference.errors import BrokenAnswer, NoAnswer, UpstreamAway
from apps.inference.transport import Transport
from tests.fakes.raw import Connection, holding, serving
from tests.fakes.upstream import FakeUpstream
from tests.unit.inference.transports import Trial, fails_with


def test_a_probe_finds_an_upstream_and_is_not_taken_for_a_line(trial: Trial, fake: FakeUpstream) -> None:
    trial.probe(f"{fake.base_url}/models")
    assert (fake.probes, fake.request_count, fake.requests) == (1, 0, [])


def test_any_path_and_a_closed_gate_will_do_for_a_probe(trial: Trial, fake: FakeUpstream) -> None:
    fake.gate.close()
    trial.probe(f"{fake.base_url}/nothing-here")
    assert (fake.probes, fake.request_count) == (0, 0)


@pytest.mark.parametrize("status", [200, 204, 302, 401, 404, 429, 500, 503])
def test_any_status_is_an_answer_to_a_probe_and_the_body_is_not_waited_for(trial: Trial, status: int) -> None:
    reply = b"HTTP/1.1 %d Any\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 1000\r\n\r\n" % status
    with serving(holding(reply)) as server:
        trial.probe(server.url, headers={"authorization": "Bearer sk-1"})
    assert server.requests[0].startswith(b"GET /v1 HTTP/1.1\r\n")
    assert b"authorization: Bearer sk-1\r\n" in server.requests[0]


def test_the_connection_of_a_probe_is_not_left_open(trial: Trial) -> None:
    ended: list[bool] = []

    async def script(connection: Connection) -> None:
        await holding(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")(connection)
        ended.append(True)

    async def story(transport: Transport) -> None:
        await transport.probe(server.url, {})

    with serving(script) as server:
        trial.run(story)
    assert ended == [True]


def test_a_probe_refused_is_an_upstream_away(trial: Trial, fake: FakeUpstream) -> None:
    fake.stop()
    assert "cannot connect" in fails_with(UpstreamAway, lambda: trial.probe(f"{fake.base_url}/models"))


def test_a_probe_does_not_wait_as_long_as_a_line(trial: Trial) -> None:
    with serving(holding(b"")) as server:
        said = fails_with(NoAnswer, lambda: trial.probe(server.url, connect_timeout=0.1))
    assert said == "no answer within 0.1 s"


def test_a_probe_answered_with_something_else_is_a_broken_answer(trial: Trial) -> None:
    with serving(holding(b"SSH-2.0-OpenSSH_9.6\r\n\r\n")) as server:
        assert "not HTTP" in fails_with(BrokenAnswer, lambda: trial.probe(server.url))
