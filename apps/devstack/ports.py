"""Ports on 127.0.0.1, claimed so that two stacks starting at once never choose the same one."""

import atexit
import contextlib
import random
import socket
import sys

# Below Linux's range for outgoing connections, so that no client's own port gets in the way of a restart.
EMBEDDED = range(20_000, 32_000)
ATTEMPTS = 1_000

_claims: dict[int, socket.socket] = {}


def claim(port: int) -> bool:
    """Keep `port` for this process until it ends; false when somebody listens there or has claimed it."""
    mark = socket.socket(socket.AF_UNIX)
    try:
        if sys.platform == "linux":  # an abstract name: freed by the kernel, seen by every user
            mark.bind(f"\0zerobatch-port-{port}")
        _listen_for_a_moment(port)
    except OSError:
        mark.close()
        return False
    _claims[port] = mark
    return True


def release(port: int) -> None:
    """Let others claim `port`."""
    if mark := _claims.pop(port, None):
        mark.close()


def claim_next(first: int) -> int:
    """Claim the first free port from `first` on."""
    return next(port for port in range(first, 65_536) if claim(port))


def claim_any() -> int:
    """Claim a free port for an embedded service."""
    return next(port for port in random.choices(EMBEDDED, k=ATTEMPTS) if claim(port))


@atexit.register
def _release_all() -> None:
    for port in list(_claims):
        release(port)


def _listen_for_a_moment(port: int) -> None:
    with contextlib.closing(socket.socket()) as probe:
        # As the servers do: connections closed a moment ago (TIME_WAIT) do not keep the port.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind(("127.0.0.1", port))
        probe.listen(1)
