"""The project and API key that come with a dev stack."""

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from apps.devstack import private, services, spawn
from apps.devstack.errors import DevstackError
from apps.devstack.layout import PROJECT_ROOT, Layout

PROJECT_NAME = "dev"


@dataclass(frozen=True)
class Tenant:
    """Who a developer is to the API."""

    project_id: str
    api_key: str


def manage(*arguments: str, env: Mapping[str, str]) -> str:
    """Run a management command; its stdout, or DevstackError with it."""
    script: Path = PROJECT_ROOT / "manage.py"
    done = spawn.run([sys.executable, script, *arguments], cwd=PROJECT_ROOT, env=env)
    if done.returncode != 0:
        raise DevstackError(f"manage.py {' '.join(arguments)} failed:\n{done.stderr or done.stdout}")
    return done.stdout


def stored(layout: Layout) -> Tenant | None:
    """The tenant of a former start."""
    kept = private.read_env(layout.dev_key)
    if not kept:
        return None
    return Tenant(kept.get("ZEROBATCH_PROJECT_ID", ""), kept.get("ZEROBATCH_API_KEY", ""))


def create(layout: Layout, env: Mapping[str, str]) -> Tenant:
    """A new project and key, stored for the next start."""
    tenant = new(PROJECT_NAME, env)
    private.write_env(layout.dev_key, {"ZEROBATCH_PROJECT_ID": tenant.project_id, "ZEROBATCH_API_KEY": tenant.api_key})
    return tenant


def new(name: str, env: Mapping[str, str]) -> Tenant:
    """A project of this name, and a key to it."""
    project_id, api_key = manage("create_project", name, "--with-key", env=env).split()
    return Tenant(project_id, api_key)


def works(tenant: Tenant, port: int) -> bool:
    """Does the API take this key? DevstackError when it says neither yes nor no."""
    status = services.status(port, "/v1/batches", {"x-api-key": tenant.api_key})
    if status not in {200, 401, 403}:
        raise DevstackError(f"GET /v1/batches answered {status or 'nothing'}; see the log of web")
    return status == 200
