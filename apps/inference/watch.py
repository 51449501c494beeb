"""Waiting for libcurl's sockets on an event loop."""

import asyncio
import contextlib
import select
from collections.abc import Callable, Iterable
from typing import Protocol

import pycurl

Happened = Callable[[Iterable[tuple[int, int]]], None]
"""Takes the sockets that are ready, each with the CSELECT_ bits of what it is ready for."""

_READS = (pycurl.POLL_IN, pycurl.POLL_INOUT)
_WRITES = (pycurl.POLL_OUT, pycurl.POLL_INOUT)


class Watch(Protocol):
    """Follows what libcurl wants to know of its sockets, all of them on one loop."""

    def __init__(self, loop: asyncio.AbstractEventLoop, happened: Happened) -> None: ...

    def want(self, what: int, fd: int, *_: object) -> None:
        """libcurl's M_SOCKETFUNCTION: `what` is a POLL_ constant, and replaces what was wanted of `fd` before."""
        ...

    def close(self) -> None:
        """Watch nothing any more."""
        ...


class LoopWatch:
    """Readers and writers of the loop's own: works everywhere."""

    def __init__(self, loop: asyncio.AbstractEventLoop, happened: Happened) -> None:
        self._loop = loop
        self._happened = happened
        self._wanted: dict[int, int] = {}

    def want(self, what: int, fd: int, *_: object) -> None:
        before = self._wanted.pop(fd, pycurl.POLL_REMOVE)
        if what != pycurl.POLL_REMOVE:
            self._wanted[fd] = what
        if what in _READS:
            self._loop.add_reader(fd, self._happened, ((fd, pycurl.CSELECT_IN),))
        elif before in _READS:
            self._loop.remove_reader(fd)
        if what in _WRITES:
            self._loop.add_writer(fd, self._happened, ((fd, pycurl.CSELECT_OUT),))
        elif before in _WRITES:
            self._loop.remove_writer(fd)

    def close(self) -> None:
        for fd in list(self._wanted):
            self.want(pycurl.POLL_REMOVE, fd)


class EpollWatch:
    """An epoll set of libcurl's own, of which the loop watches the one descriptor.

    libcurl wants a socket and lets go of it once for each request. This makes the first cheap and the second free.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, happened: Happened) -> None:
        self._loop = loop
        self._happened = happened
        self._wanted: set[int] = set()
        self._epoll = select.epoll()
        self._events = {
            pycurl.POLL_IN: select.EPOLLIN,
            pycurl.POLL_OUT: select.EPOLLOUT,
            pycurl.POLL_INOUT: select.EPOLLIN | select.EPOLLOUT,
        }
        loop.add_reader(self._epoll.fileno(), self._on_ready)

    def want(self, what: int, fd: int, *_: object) -> None:
        # The kernel keeps the books: it forgets a socket that is closed, and its number may come again.
        if what == pycurl.POLL_REMOVE:
            self._wanted.discard(fd)  # it stays in the set: as a rule the next request wants it again
            return
        self._wanted.add(fd)
        try:
            self._epoll.modify(fd, self._events[what])
        except FileNotFoundError:
            self._epoll.register(fd, self._events[what])

    def close(self) -> None:
        self._loop.remove_reader(self._epoll.fileno())
        self._epoll.close()

    def _on_ready(self) -> None:
        ready = self._epoll.poll(0)
        self._happened([(fd, _BITS.get(events) or _bits(events)) for fd, events in ready if self._is_wanted(fd)])

    def _is_wanted(self, fd: int) -> bool:
        """A kept connection that nobody uses just now is ready when the server hangs up. libcurl finds out later."""
        if fd in self._wanted:
            return True
        with contextlib.suppress(OSError):
            self._epoll.unregister(fd)
        return False


_BITS = {select.EPOLLIN: pycurl.CSELECT_IN, select.EPOLLOUT: pycurl.CSELECT_OUT} if hasattr(select, "epoll") else {}


def _bits(events: int) -> int:
    """A socket that broke is ready for both: libcurl finds out by using it."""
    reads = pycurl.CSELECT_IN if events & ~select.EPOLLOUT else 0
    return reads | (pycurl.CSELECT_OUT if events & (select.EPOLLOUT | select.EPOLLERR | select.EPOLLHUP) else 0)


BEST_WATCH: type[Watch] = EpollWatch if hasattr(select, "epoll") else LoopWatch
