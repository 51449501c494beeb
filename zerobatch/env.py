"""Typed reads of environment variables; every name read here must stand in docs/configuration.md."""

import os
from collections.abc import Collection
from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path
from urllib.parse import urlsplit

defaults: dict[str, str] = {}
"""Every variable the settings have asked for, and its default; a guard compares them with docs/configuration.md."""


class ImproperlySetError(Exception):
    """An environment variable has a value that cannot be used."""


def text(name: str, default: str = "") -> str:
    """The variable's text; `NAME_FILE` may name a file that holds it instead (container secrets)."""
    defaults.setdefault(name, default)
    if path := os.environ.get(f"{name}_FILE"):
        return Path(path).read_text().strip()
    return os.environ.get(name) or default


def number(name: str, default: int, *, least: int = 0) -> int:
    """The variable as a whole number of at least `least`; raises ImproperlySetError with the variable's name."""
    value = text(name, str(default))
    try:
        parsed = int(value)
    except ValueError:
        raise ImproperlySetError(f"{name} must be a whole number, not {value!r}") from None
    if parsed < least:
        raise ImproperlySetError(f"{name} must be at least {least}, not {parsed}")
    return parsed


def limit(name: str) -> int | None:
    """The variable as a whole number, None if it is not set: no limit; raises ImproperlySetError."""
    return number(name, 0) if text(name) else None


def flag(name: str, *, default: bool) -> bool:
    """The variable as true/false; raises ImproperlySetError with the variable's name."""
    value = text(name, "true" if default else "false").lower()
    if value not in {"true", "false", "1", "0", "yes", "no", "on", "off"}:
        raise ImproperlySetError(f"{name} must be true or false, not {value!r}")
    return value in {"true", "1", "yes", "on"}


def words(name: str, default: str = "") -> list[str]:
    """The variable split at commas, blanks removed."""
    return [word.strip() for word in text(name, default).split(",") if word.strip()]


def networks(name: str, default: str = "") -> list[IPv4Network | IPv6Network]:
    """The variable as networks in CIDR form, split at commas; raises ImproperlySetError with the variable's name."""
    try:
        return [ip_network(word) for word in words(name, default)]
    except ValueError as error:
        raise ImproperlySetError(f"{name} must be networks such as 10.0.0.0/8,fd00::/8: {error}") from None


def choice(name: str, default: str, choices: Collection[str]) -> str:
    """The variable if it is one of `choices`; raises ImproperlySetError with the variable's name."""
    value = text(name, default)
    if value not in choices:
        raise ImproperlySetError(f"{name} must be one of {', '.join(choices)}, not {value!r}")
    return value


def url(name: str, default: str, schemes: Collection[str]) -> str:
    """The variable if it is a URL with a host; the error never shows it, because it may hold a password.

    Without a default it may be left out, and is an empty text then.
    """
    value = text(name, default)
    if not value:
        return value
    try:
        parts = urlsplit(value)
        usable = parts.scheme in schemes and (bool(parts.hostname) or parts.scheme == "unix")
        _ = parts.port
    except ValueError:
        usable = False
    if not usable:
        raise ImproperlySetError(f"{name} must be a URL such as {default or 'http://host:1234'}")
    return value
