"""An embedded Valkey, which speaks Redis: its configuration and the command that serves it."""

from pathlib import Path

from apps.devstack import private
from apps.devstack.programs import valkey_binary

DURABLE = {"appendonly": "yes"}
THROW_AWAY = {"appendonly": "no", "save": '""'}


def configure(folder: Path, port: int, settings: dict[str, str] = DURABLE) -> tuple[list[str], str]:
    """(command line, URL) of a server whose data lies in `folder`; run it there: paths in its file are relative."""
    folder.mkdir(parents=True, exist_ok=True)
    password = private.secret(folder / "password")
    options = {"bind": "127.0.0.1", "port": str(port), "requirepass": password, "dir": "./", **settings}
    # A file and not arguments: those are there for every user of the machine to see.
    private.write(folder / "valkey.conf", "".join(f"{name} {value}\n" for name, value in options.items()))
    return [str(valkey_binary()), "valkey.conf"], f"redis://:{password}@127.0.0.1:{port}/0"
