"""How often a project does something in a minute: counted in Redis, so that all web processes count together."""

import math
import time
from functools import cache
from typing import Any, NamedTuple

import limits.storage
from django.conf import settings
from limits import RateLimitItemPerMinute
from limits.strategies import MovingWindowRateLimiter
from redis import RedisError

from apps.api.errors import RateLimited
from apps.observability.outage import Outage
from apps.projects.models import Project

GIVE_UP_SECONDS = 0.5
"""A request does not wait longer for Redis, and is then let through: a limit is not worth an outage."""

_outage = Outage("requests per minute in Redis")


class Window(NamedTuple):
    """How a project stands: `reset_seconds` until the oldest of the counted requests counts no more."""

    limit: int
    remaining: int
    reset_seconds: int

    @property
    def wait(self) -> int:
        """Seconds after which the next one may be allowed."""
        return max(self.reset_seconds, 1)


def hit(project: Project, what: str, per_minute: int) -> tuple[bool, Window] | None:
    """Counts one more if it is allowed, and says whether it was; None while Redis is away."""
    item = _item(what, per_minute)
    try:
        is_allowed = per_minute > 0 and limiter().hit(item, str(project.pk))
        window = _window(item, project)
    except RedisError:
        _outage.failed()
        return None
    _outage.worked()
    return is_allowed, window


def refuse_above(project: Project, what: str, per_minute: int) -> None:
    """Counts one more. Raises RateLimited if the project has done it that often in the last minute."""
    counted = hit(project, what, per_minute)
    if counted is not None and not counted[0]:
        message = f"At most {per_minute} {what} in a minute"
        raise RateLimited(message, headers={"Retry-After": str(counted[1].wait)})


def look(project: Project, what: str, per_minute: int) -> Window | None:
    """How it stands, without counting; None while Redis is away."""
    try:
        return _window(_item(what, per_minute), project)
    except RedisError:
        return None


def _window(item: RateLimitItemPerMinute, project: Project) -> Window:
    stats = limiter().get_window_stats(item, str(project.pk))
    return Window(item.amount, max(stats.remaining, 0), math.ceil(max(stats.reset_time - time.time(), 0)))


def _item(what: str, per_minute: int) -> RateLimitItemPerMinute:
    """Its key names the limit too: a window that is longer than a new limit would confuse it."""
    return RateLimitItemPerMinute(per_minute, namespace=what)


@cache
def limiter() -> MovingWindowRateLimiter:
    patience: dict[str, Any] = {"socket_timeout": GIVE_UP_SECONDS, "socket_connect_timeout": GIVE_UP_SECONDS}
    return MovingWindowRateLimiter(limits.storage.RedisStorage(settings.REDIS_URL, key_prefix="rate", **patience))
