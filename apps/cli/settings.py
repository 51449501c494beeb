"""Which server to talk to, and with which key: from options, the environment, a file, or a `make up` in this folder."""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from apps.cli.exits import CliError, Exit

NAMES = ("base_url", "api_key", "project_id")
NO_SERVER = (
    "no server is set: give --base-url, set ZEROBATCH_BASE_URL and ZEROBATCH_API_KEY, or write both to {file} "
    "(base_url, api_key); in a checkout, `make up` sets them"
)
NO_KEY = "no API key for {url}: give --api-key, or set ZEROBATCH_API_KEY"


@dataclass(frozen=True)
class Settings:
    """`source` says where the address came from, for people."""

    base_url: str
    api_key: str
    project_id: str | None
    source: str


def load(given: Mapping[str, str | None], environ: Mapping[str, str], config: Path | None = None) -> Settings:
    """The settings: options over ZEROBATCH_* over the file over `var/dev.env` over OPENAI_*. Raises CliError.

    A key goes only to an address that comes from the same place or a later one: the file's key is for the file's
    address, and nothing of OPENAI_* ever goes elsewhere.
    """
    file = config or config_file(environ)
    places = (
        ("the options", {name: value for name, value in given.items() if value}),
        ("ZEROBATCH_BASE_URL", _of_environment(environ, "ZEROBATCH")),
        (str(file), _of_toml(file, must_exist=config is not None)),
        (str(_dev_env(environ)), _of_dev_env(_dev_env(environ))),
        ("OPENAI_BASE_URL", _of_environment(environ, "OPENAI")),
    )
    found: dict[str, str] = {}
    for source, values in places:
        # Options and ZEROBATCH_* are both said to this very command.
        is_explicit = source in {"the options", "ZEROBATCH_BASE_URL"}
        if "base_url" in found and not is_explicit:
            break
        if "base_url" not in found and values.get("base_url"):
            found["source"] = source
        found = {**values, **found}
    if "base_url" not in found:
        raise CliError(NO_SERVER.format(file=file), Exit.USAGE)
    return _checked(found)


def config_file(environ: Mapping[str, str]) -> Path:
    """ZEROBATCH_CONFIG, or `zerobatch/config.toml` where the user's configuration lives."""
    if named := environ.get("ZEROBATCH_CONFIG"):
        return Path(named).expanduser()
    root = environ.get("XDG_CONFIG_HOME")
    return (Path(root) if root else Path("~/.config").expanduser()) / "zerobatch" / "config.toml"


def _checked(found: Mapping[str, str]) -> Settings:
    url = urlsplit(found["base_url"])
    if url.scheme not in {"http", "https"} or not url.hostname:
        raise CliError(f"the base URL must be like https://batch.example.com/v1, not {found['base_url']!r}", Exit.USAGE)
    base_url = found["base_url"].rstrip("/") + ("" if url.path.strip("/") else "/v1")
    key = found.get("api_key")
    if not key:
        raise CliError(NO_KEY.format(url=base_url), Exit.USAGE)
    if not key.isascii() or not key.isprintable() or " " in key:
        raise CliError("the API key holds a character that no key can have: was it pasted whole?", Exit.USAGE)
    return Settings(base_url, key, found.get("project_id"), found["source"])


def _of_environment(environ: Mapping[str, str], prefix: str) -> dict[str, str]:
    values = {name: environ.get(f"{prefix}_{name.upper()}", "").strip() for name in NAMES}
    return {name: value for name, value in values.items() if value}


def _of_toml(path: Path, *, must_exist: bool) -> dict[str, str]:
    try:
        document: dict[str, Any] = tomllib.loads(path.read_text())
    except FileNotFoundError:
        if must_exist:
            raise CliError(f"there is no file {path}", Exit.USAGE) from None
        return {}
    except (OSError, ValueError) as error:
        raise CliError(f"cannot read the settings in {path}: {error}", Exit.USAGE) from None
    for name, value in document.items():
        if name not in NAMES or not isinstance(value, str):
            raise CliError(f"{path}: {name} is not a setting; there are {', '.join(NAMES)}, all texts", Exit.USAGE)
    return document


def _dev_env(environ: Mapping[str, str]) -> Path:
    return Path(environ.get("VAR_DIR") or "var") / "dev.env"


def _of_dev_env(path: Path) -> dict[str, str]:
    """What a running `make up` wrote; empty when there is none."""
    try:
        pairs = (line.partition("=") for line in path.read_text().splitlines())
    except (OSError, ValueError):
        return {}
    return _of_environment({name: value for name, _, value in pairs}, "ZEROBATCH")
