import socket

from apps.devstack import ports


def test_a_claimed_port_cannot_be_claimed_again_until_it_is_released() -> None:
    port = ports.claim_any()
    assert not ports.claim(port)
    ports.release(port)
    assert ports.claim(port)
    ports.release(port)


def test_a_port_somebody_listens_on_cannot_be_claimed() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        assert not ports.claim(listener.getsockname()[1])


def test_the_next_free_port_is_past_the_taken_ones() -> None:
    first = ports.claim_any()
    after = ports.claim_next(first)
    assert after > first
    ports.release(first)
    ports.release(after)
