"""What is said of a batch while it runs, where nobody watches live."""

from apps.cli.batch import Batch
from apps.cli.display import Lines


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def batch(status: str, done: int = 0, **members: object) -> Batch:
    counts = {"total": 1000, "completed": done, "failed": 0}
    return Batch({"id": "batch_1", "status": status, "request_counts": counts, **members})


def test_a_log_gets_a_line_when_the_status_changes_and_else_now_and_then() -> None:
    said: list[str] = []
    clock = Clock()
    lines = Lines(said.append, clock)
    for second in range(31):
        clock.now = second
        lines.show(batch("in_progress", 10 * second))
    lines.show(batch("finalizing", 300))

    assert said == [
        "in_progress: 0 of 1,000 lines",
        "in_progress: 100 of 1,000 lines, 10.0/s, 1:30 left",
        "in_progress: 200 of 1,000 lines, 10.0/s, 1:20 left",
        "in_progress: 300 of 1,000 lines, 10.0/s, 1:10 left",
        "finalizing: 300 of 1,000 lines, 10.0/s, 1:10 left",
    ]


def test_trouble_is_said_once() -> None:
    said: list[str] = []
    lines = Lines(said.append, Clock())
    for _ in range(3):
        lines.trouble("the server is away; trying again")

    assert said == ["the server is away; trying again"]


def test_failures_tokens_and_why_it_waits_are_told() -> None:
    said: list[str] = []
    counts = {"total": 10, "completed": 3, "failed": 2}
    waiting = batch("in_progress", request_counts=counts, usage={"total_tokens": 1234}, status_reason="upstream_away")
    Lines(said.append, Clock()).show(waiting)

    assert said == ["in_progress: 5 of 10 lines, 2 failed, 1,234 tokens, waits: upstream away"]


def test_the_rate_is_that_of_the_last_half_minute() -> None:
    said: list[str] = []
    clock = Clock()
    lines = Lines(said.append, clock)
    for second, done in [(0, 0), (10, 500), (20, 500), (30, 500), (41, 500), (50, 500)]:
        clock.now = second
        lines.show(batch("in_progress", done))

    assert said[1] == "in_progress: 500 of 1,000 lines, 50.0/s, 0:10 left"
    assert said[-1] == "in_progress: 500 of 1,000 lines"
