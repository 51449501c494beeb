"""What we know about one inference server: where it is, how to be let in, how hard to lean on it."""

import re
from dataclasses import dataclass, field
from functools import cached_property


@dataclass(frozen=True)
class Upstream:
    """One inference server. Timeouts are in seconds, `max_in_flight` in requests; `max_attempts` includes the first."""

    name: str
    base_url: str
    api_key: str | None = field(default=None, repr=False)
    max_in_flight: int = 64
    connect_timeout: float = 10.0
    read_timeout: float = 600.0
    max_attempts: int = 4

    def url(self, path: str) -> str:
        """The full URL of `path` (`/v1/chat/completions`), whether `base_url` ends in `/v1`, `/`, both or neither."""
        return self._root + path

    @cached_property
    def _root(self) -> str:
        # The slash before `/v1` must not be that of `http://v1`, a host of this name.
        return re.sub(r"(?<!/)/v1$", "", self.base_url.strip().rstrip("/")).rstrip("/")
