"""The upstreams as this process uses them: a pool on its event loop, which follows the rows."""

import threading
from collections.abc import Callable
from functools import cache
from uuid import uuid4

from django.conf import settings

from apps.inference.blocks import SlotBlocks
from apps.inference.client import Client
from apps.inference.curl import CurlTransport
from apps.inference.endpoint import Endpoint
from apps.inference.loop import shared_loop
from apps.inference.pool import Pool
from apps.inference.upstream import Upstream
from apps.upstreams.watch import Watch

_lock = threading.Lock()


@cache
def client() -> Client:
    """The client of this process; it lives as long as the process. For the event loop's thread."""
    return Client(Pool(_endpoint, _shares()))


def follow() -> None:
    """Has the pool do as the rows say: at first before a run begins, then with every heartbeat. From any other thread.

    While Postgres is away the pool goes on with what it knows.
    """
    with _lock:
        upstreams = _watch().look()
        if upstreams is not None:
            shared_loop().run(_configure(upstreams))


def ensure() -> None:
    """Follows if nobody has yet. Raises RuntimeError if that fails: a pool without upstreams would fail every line."""
    if not _watch().has_found:
        follow()
    if not _watch().has_found:
        raise RuntimeError("the upstreams are not known yet")


async def _configure(upstreams: list[Upstream]) -> None:
    client().pool.configure(upstreams)


@cache
def _watch() -> Watch:
    return Watch()


@cache
def _shares() -> SlotBlocks:
    blocks = SlotBlocks(settings.REDIS_URL, uuid4().hex)
    blocks.start()
    return blocks


def _endpoint(upstream: Upstream, on_room: Callable[[Endpoint], object]) -> Endpoint:
    return Endpoint(upstream, CurlTransport(upstream.connect_timeout, upstream.read_timeout), on_room=on_room)
