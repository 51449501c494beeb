"""What the dev stack says on the terminal."""

import contextlib
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from apps.devstack.layout import PROJECT_ROOT, Layout
from apps.devstack.tenant import Tenant

if TYPE_CHECKING:
    from apps.devstack.plan import Plan

READY = """
ZeroBatch is ready: {url}   (project {project})
Console: {console}   (sign in with the key below)
Admin:   {console}admin/   (make manage ARGS="createsuperuser" makes you a user)
Flower:  {flower}

A first batch, ready to paste:

  URL={url} KEY={key}
  FILE=$(curl -s $URL/files -H "x-api-key: $KEY" -F purpose=batch -F file=@{example} | grep -o 'file-[^"]*' | head -n 1)
  curl -s $URL/batches -H "x-api-key: $KEY" -H 'content-type: application/json' \\
    -d '{{"input_file_id": "'$FILE'", "endpoint": "/v1/chat/completions"}}'; echo
  curl -s "$URL/batches?limit=1" -H "x-api-key: $KEY"; echo   # again, until it is completed

Address, key and connection URLs: {dev_env}
Logs: {log}/<name>.log for {names}
Ctrl-C stops everything; the data stays in {root}.
"""


def say(text: str) -> None:
    """Print now; a reader that went away (`make up | head`) must not stop the stack."""
    with contextlib.suppress(BrokenPipeError):
        print(text, flush=True)


def ready(layout: Layout, *, stack: "Plan", tenant: Tenant, names: list[str]) -> None:
    """Print the address, a first request, and where things are."""
    example = shlex.quote(_short(PROJECT_ROOT / "examples" / "reviews.jsonl"))
    say(
        READY.format(
            url=stack.url,
            console=stack.url.removesuffix("/v1") + "/",
            flower=_flower(stack.env),
            project=tenant.project_id,
            key=tenant.api_key,
            example=example,
            dev_env=_short(layout.dev_env),
            log=_short(layout.log),
            names=", ".join(names),
            root=_short(layout.root),
        )
    )


def _flower(env: Mapping[str, str]) -> str:
    if not env["FLOWER_URL"]:
        return "off (FLOWER)"
    return f"{env['FLOWER_URL']}/   (user {env['FLOWER_USER']}, password {env['FLOWER_PASSWORD']})"


def tail(log: Path, lines: int = 12) -> str:
    """The last lines of `log`, indented; empty when there are none."""
    if not log.exists():
        return ""
    return "".join(f"\n    {line}" for line in log.read_text(errors="replace").splitlines()[-lines:])


def _short(path: Path) -> str:
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else str(path)
