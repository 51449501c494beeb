"""What we know about one inference server: where it is, how to be let in, how hard to lean on it."""

import re
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from functools import cached_property

MODELS_PATH = "/v1/models"
"""What an upstream is asked when nothing but its being there is of interest."""


@dataclass(frozen=True)
class Upstream:
    """One inference server. Two are equal when nothing about them differs, so a change is seen by comparing.

    Timeouts are in seconds; `max_in_flight` is in requests of all processes together; `max_attempts` includes the
    first; `models` are glob patterns as of `fnmatch`.
    """

    name: str
    base_url: str
    api_key: str | None = field(default=None, repr=False)
    max_in_flight: int = 128
    connect_timeout: float = 10.0
    read_timeout: float = 600.0
    max_attempts: int = 4
    models: tuple[str, ...] = ("*",)
    enabled: bool = True

    def url(self, path: str) -> str:
        """The full URL of `path` (`/v1/chat/completions`), whether `base_url` ends in `/v1`, `/`, both or neither."""
        return self._root + path

    def serves(self, model: str | None) -> bool:
        """Whether a pattern matches the line's model, upper and lower case apart.

        A line without a model goes where the empty text is matched: to `*`, whose server has a model of its own choice.
        """
        return any(fnmatchcase(model or "", pattern) for pattern in self.models)

    @property
    def connection(self) -> tuple[object, ...]:
        """What connections are made of: when it changes, new ones are needed."""
        return self.name, self.base_url, self.api_key, self.connect_timeout, self.read_timeout

    @cached_property
    def _root(self) -> str:
        # The slash before `/v1` must not be that of `http://v1`, a host of this name.
        return re.sub(r"(?<!/)/v1$", "", self.base_url.strip().rstrip("/")).rstrip("/")
