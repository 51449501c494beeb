"""What has gone wrong with one line so far: how often it was tried, why it waits, and what to say if it gives up."""

from dataclasses import dataclass

from apps.inference.answers import Busy, Retry
from apps.inference.faults import MESSAGE_LIMIT
from apps.inference.results import Failed, Unsent
from apps.inference.retry import Jitter, back_off, busy_wait


@dataclass(slots=True)
class Setbacks:
    """`attempts` counts setbacks that count against the line, `waits` how often the upstream was busy."""

    attempts: int = 0
    waits: int = 0
    only_timeouts: bool = True
    last: Retry | Busy | None = None

    def note(self, setback: Retry | Busy, max_attempts: int) -> Failed | None:
        """Remember a setback. The line's error if it was one too many, else None: ask again."""
        self.last = setback
        if isinstance(setback, Busy):
            self.waits += 1
            return None
        self.attempts += 1
        self.only_timeouts = self.only_timeouts and setback.code == "timeout"
        return self._give_up(setback) if self.attempts >= max_attempts else None

    def seconds_to_wait(self, jitter: Jitter) -> float:
        """How long to back off after the last one."""
        if isinstance(self.last, Busy):
            return busy_wait(self.waits - 1, self.last.retry_after, jitter)
        return back_off(self.attempts - 1, jitter)

    def unsent(self) -> Unsent:
        """The result of a line that was halted."""
        if self.last is None:
            return Unsent()
        throttled = isinstance(self.last, Busy) and self.last.throttled
        failed = Failed("rate_limit_exceeded", f"Still throttled; last: {self.last.cause}"[:MESSAGE_LIMIT])
        return Unsent(failed if throttled else None, self.last.cause)

    def _give_up(self, setback: Retry) -> Failed:
        """`timeout` is only for a line that never got anything else (wire.md §8)."""
        code = "internal_error" if setback.code == "timeout" and not self.only_timeouts else setback.code
        attempts = "1 attempt" if self.attempts == 1 else f"{self.attempts} attempts"
        message = f"No usable answer after {attempts}; last: {setback.cause}"
        return Failed(code, message[:MESSAGE_LIMIT], setback.param)
