"""Slows down who guesses passwords: after some failures a name is refused to an address, and an address altogether.

Counted in Redis, for all web processes together; while it is away nobody is refused. A name alone is never refused, or
anybody could lock an operator out. Keys are not counted: 256 random bits are not guessed.
"""

import hashlib
from ipaddress import IPv6Address, ip_address, ip_network
from typing import Any

import structlog
from django.contrib.auth.signals import user_login_failed
from django.core.exceptions import PermissionDenied
from django.dispatch import receiver
from django.http import HttpRequest
from limits import RateLimitItemPerMinute
from redis import RedisError

from apps.observability.outage import Outage
from apps.projects.rates import limiter

log = structlog.get_logger(__name__)

WINDOW_MINUTES = 15
OF_A_NAME = RateLimitItemPerMinute(10, WINDOW_MINUTES, namespace="sign-ins of a name from an address")
OF_AN_ADDRESS = RateLimitItemPerMinute(100, WINDOW_MINUTES, namespace="sign-ins from an address")

_outage = Outage("failed sign-ins in Redis")


class Throttle:
    """An authentication backend that knows nobody, and stops the others when there were too many failures.

    Django then says what it says of any wrong password. The console and the admin both ask the backends.
    """

    def authenticate(self, request: HttpRequest | None, username: str | None = None, **_: Any) -> None:
        """Raises PermissionDenied, which ends the search."""
        if request is not None and username is not None and _has_failed_too_often(request, username):
            log.warning("sign-in refused: too many failures", address=client_address(request))
            raise PermissionDenied


@receiver(user_login_failed, dispatch_uid="count failed sign-ins")
def count(credentials: dict[str, Any], request: HttpRequest | None = None, **_: Any) -> None:
    """What is over a limit is not counted, so that waiting helps whoever goes on trying."""
    if request is None:
        return
    try:
        for item, who in _counted(request, str(credentials.get("username"))):
            limiter().hit(item, who)
    except RedisError:
        _outage.failed()


def client_address(request: HttpRequest) -> str:
    """Who speaks, as the proxy has it; from anybody but a proxy of ours no such header gets here (apps/api/wsgi.py).

    The last entry is the one that the proxy has added. Of an IPv6 address the network, of which one client has all.
    """
    told = request.headers.get("X-Forwarded-For", "").rpartition(",")[2].strip()
    try:
        address = ip_address(told or request.META.get("REMOTE_ADDR", ""))
    except ValueError:
        return ""
    return str(ip_network((address, 64), strict=False)) if isinstance(address, IPv6Address) else str(address)


def _has_failed_too_often(request: HttpRequest, username: str) -> bool:
    try:
        return not all(limiter().test(item, who) for item, who in _counted(request, username))
    except RedisError:
        _outage.failed()
        return False


def _counted(request: HttpRequest, username: str) -> list[tuple[RateLimitItemPerMinute, str]]:
    """What counts against which key; a name may be anything, so its digest is the key."""
    address = client_address(request)
    name = hashlib.sha256(username.encode(errors="replace")).hexdigest()[:32]
    return [(OF_A_NAME, f"{address} {name}"), (OF_AN_ADDRESS, address)]
