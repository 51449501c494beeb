"""EventLoopThread: coroutines for plain threads."""

import asyncio
import threading
from collections.abc import Iterator

import pytest
import uvloop

from apps.inference.loop import EventLoopThread, shared_loop


@pytest.fixture
def loop() -> Iterator[EventLoopThread]:
    thread = EventLoopThread()
    yield thread
    thread.stop()


async def where() -> tuple[str, bool]:
    return threading.current_thread().name, isinstance(asyncio.get_running_loop(), uvloop.Loop)


def test_it_runs_coroutines_on_uvloop_in_its_own_thread(loop: EventLoopThread) -> None:
    assert loop.run(where()) == ("inference-loop", True)


def test_it_starts_no_thread_before_first_use() -> None:
    loop = EventLoopThread("not yet")
    assert "not yet" not in {thread.name for thread in threading.enumerate()}
    loop.stop()


def test_it_re_raises(loop: EventLoopThread) -> None:
    async def fail() -> None:
        raise LookupError("nothing there")

    with pytest.raises(LookupError, match="nothing there"):
        loop.run(fail())


def test_many_threads_share_one_loop(loop: EventLoopThread) -> None:
    meeting = threading.Barrier(8)
    loops: set[int] = set()

    async def loop_id() -> int:
        return id(asyncio.get_running_loop())

    def meet() -> None:
        meeting.wait()
        loops.add(loop.run(loop_id()))

    threads = [threading.Thread(target=meet) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(loops) == 1


def test_call_soon_runs_a_function_on_the_loop(loop: EventLoopThread) -> None:
    called = threading.Event()
    names: list[str] = []

    def note(name: str) -> None:
        names.append(f"{name} on {threading.current_thread().name}")
        called.set()

    loop.call_soon(note, "beat")
    assert called.wait(10)
    assert names == ["beat on inference-loop"]


def test_running_from_its_own_thread_is_an_error_not_a_deadlock(loop: EventLoopThread) -> None:
    async def nested() -> None:
        loop.run(where())

    with pytest.raises(RuntimeError, match="wait for itself"):
        loop.run(nested())


def test_stop_cancels_what_runs_and_may_be_repeated(loop: EventLoopThread) -> None:
    started, cancelled = threading.Event(), threading.Event()
    tasks: list[asyncio.Task[None]] = []

    async def endless() -> None:
        started.set()
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()

    loop.call_soon(lambda: tasks.append(asyncio.create_task(endless())))
    assert started.wait(10)
    loop.stop()
    loop.stop()
    assert cancelled.is_set()


def test_it_starts_again_after_a_stop(loop: EventLoopThread) -> None:
    loop.run(where())
    loop.stop()
    assert loop.run(where()) == ("inference-loop", True)


def test_the_shared_loop_is_one_per_process() -> None:
    assert shared_loop() is shared_loop()
