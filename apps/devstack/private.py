"""Small files that only their owner may read: passwords, keys and `KEY=value` lists."""

import os
import secrets
from collections.abc import Mapping
from pathlib import Path


def write(path: Path, text: str) -> None:
    """Replace `path` in one step, mode 0600 from the first byte on."""
    fresh = path.with_name(f".{path.name}.{os.getpid()}")
    fresh.unlink(missing_ok=True)
    with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(text)
    fresh.replace(path)


def secret(path: Path) -> str:
    """The secret kept in `path`, made up at the first call."""
    if not path.exists():
        write(path, secrets.token_urlsafe(32))
    return path.read_text().strip()


def write_env(path: Path, values: Mapping[str, str]) -> None:
    """Replace `path` by `KEY=value` lines."""
    write(path, "".join(f"{key}={value}\n" for key, value in values.items()))


def read_env(path: Path) -> dict[str, str]:
    """The `KEY=value` lines of `path`; empty when there is no such file."""
    if not path.exists():
        return {}
    pairs = (line.partition("=") for line in path.read_text().splitlines() if "=" in line)
    return {key: value for key, _, value in pairs}
