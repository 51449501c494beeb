"""Back-off: exponential, capped, jittered."""

from apps.inference.retry import back_off, busy_wait


def whole() -> float:
    return 1.0


def nothing() -> float:
    return 0.0


def test_it_doubles_from_half_a_second_to_thirty() -> None:
    assert [back_off(step, whole) for step in range(8)] == [0.5, 1, 2, 4, 8, 16, 30, 30]


def test_it_is_still_thirty_after_days_of_waiting() -> None:
    assert back_off(100_000, whole) == 30


def test_jitter_is_full() -> None:
    assert back_off(5, nothing) == 0
    assert back_off(5, lambda: 0.5) == 8


def test_a_busy_upstream_that_names_no_time_gets_the_same_back_off() -> None:
    assert busy_wait(3, None, whole) == 4


def test_it_never_comes_back_before_the_time_that_was_asked_for() -> None:
    assert busy_wait(0, 20.0, nothing) == 20


def test_at_most_it_doubles_the_time_that_was_asked_for() -> None:
    assert busy_wait(10, 20.0, whole) == 40
    assert busy_wait(0, 20.0, whole) == 20.5


def test_retry_after_zero_is_no_busy_loop() -> None:
    assert busy_wait(10, 0.0, whole) == 1
