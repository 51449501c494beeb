"""Small files that only their owner may read: passwords, keys and `KEY=value` lists."""

import os
import secrets
from collections.abc import Mapping
from pathlib import Path

from apps.devstack.errors import DevstackError


def write(path: Path, text: str) -> None:
    """Replace `path` in one step, mode 0600 from the first byte on."""
    fresh = path.with_name(f".{path.name}.{os.getpid()}")
    fresh.unlink(missing_ok=True)
    with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(text)
    fresh.replace(path)


def secret(path: Path) -> str:
    """The secret kept in `path`, made up at the first call, and anew when the file is empty or damaged."""
    if kept := _read(path).strip():
        return kept
    write(path, secrets.token_urlsafe(32))
    return path.read_text().strip()


def write_env(path: Path, values: Mapping[str, str]) -> None:
    """Replace `path` by `KEY=value` lines."""
    write(path, "".join(f"{key}={value}\n" for key, value in values.items()))


def read_env(path: Path) -> dict[str, str]:
    """The `KEY=value` lines of `path`; empty when there is no such file, or it is damaged."""
    pairs = (line.partition("=") for line in _read(path).splitlines() if "=" in line)
    return {key: value for key, _, value in pairs}


def _read(path: Path) -> str:
    """The text of `path`: all we write is ASCII, and what is not was not written by us. Raises DevstackError."""
    try:
        return path.read_text(encoding="ascii")
    except (FileNotFoundError, UnicodeDecodeError):
        return ""
    except OSError as error:
        raise DevstackError(f"cannot read {path}: {error.strerror}; remove it, or set VAR_DIR") from None
