"""The fake itself, where other tests lean on it: recording, holding back, outages."""

import asyncio
import threading

import pytest

from apps.inference.curl import CurlTransport
from apps.inference.errors import BrokenAnswer, UpstreamAway
from apps.inference.transport import Answer
from tests.fakes.upstream import FakeUpstream


def ask(fake: FakeUpstream, body: bytes = b"{}") -> Answer:
    async def story() -> Answer:
        transport = CurlTransport(read_timeout=10.0)
        try:
            return await transport.send(f"{fake.base_url}/chat/completions", {"x-request-id": "r1"}, body)
        finally:
            await transport.close()

    return asyncio.run(story())


def test_it_records_what_it_saw(fake: FakeUpstream) -> None:
    ask(fake)
    ask(fake)
    assert [seen.request_id for seen in fake.requests] == ["r1", "r1"]
    assert fake.count_by_request_id == {"r1": 2}
    assert fake.max_in_flight == 1


def test_an_unknown_model_is_echoed(fake: FakeUpstream) -> None:
    assert ask(fake, b'{"model": "gpt-4o-mini-2024", "messages": [{"role": "user", "content": "hi"}]}').status == 200


def test_waiting_for_requests_that_never_come_times_out(fake: FakeUpstream) -> None:
    with pytest.raises(TimeoutError, match="0 of 1 requests"):
        fake.wait_for_requests(1, timeout=0.01)


def test_an_outage_breaks_what_is_open_and_ends_on_the_same_port(fake: FakeUpstream) -> None:
    def break_connection() -> None:
        with pytest.raises(BrokenAnswer):
            ask(fake, b'{"model": "hang"}')

    hanging = threading.Thread(target=break_connection)
    hanging.start()
    fake.wait_for_requests(1)
    port = fake.port
    assert fake.stop() == 1
    hanging.join(10)
    with pytest.raises(UpstreamAway):
        ask(fake)
    fake.start()
    assert fake.port == port
    fake.release()
    assert ask(fake, b'{"model": "hang"}').status == 200
    assert fake.request_count == 2
