"""A batch as the server shows it, with what other servers may leave out made up for."""

from dataclasses import dataclass
from typing import Any

TERMINAL = frozenset({"completed", "failed", "expired", "cancelled"})


@dataclass(frozen=True)
class Batch:
    """`raw` is the server's own JSON (wire.md §7)."""

    raw: dict[str, Any]

    @property
    def id(self) -> str:
        return str(self.raw["id"])

    @property
    def status(self) -> str:
        return str(self.raw.get("status"))

    @property
    def is_terminal(self) -> bool:
        return self.status in TERMINAL

    @property
    def reason(self) -> str | None:
        """Why it waits, in words; ZeroBatch's extension."""
        reason = self.raw.get("status_reason")
        return str(reason).replace("_", " ") if reason else None

    @property
    def total(self) -> int:
        return self._count("total")

    @property
    def completed(self) -> int:
        return self._count("completed")

    @property
    def failed(self) -> int:
        return self._count("failed")

    @property
    def done(self) -> int:
        return self.completed + self.failed

    @property
    def tokens(self) -> int:
        usage = self.raw.get("usage") or {}
        return int(usage.get("total_tokens") or 0)

    @property
    def files(self) -> tuple[str | None, str | None]:
        """The ids of the output and the error file."""
        return self.raw.get("output_file_id"), self.raw.get("error_file_id")

    @property
    def input_file_id(self) -> str:
        return str(self.raw.get("input_file_id"))

    @property
    def server_retries(self) -> bool:
        """Its server can retry lines by itself; ZeroBatch's extension."""
        return "retry_of" in self.raw

    @property
    def endpoint(self) -> str:
        return str(self.raw.get("endpoint"))

    @property
    def problems(self) -> list[str]:
        """What the server found wrong with the input."""
        listed = (self.raw.get("errors") or {}).get("data") or []
        return [str(problem.get("message")) for problem in listed]

    def _count(self, name: str) -> int:
        return int((self.raw.get("request_counts") or {}).get(name) or 0)
