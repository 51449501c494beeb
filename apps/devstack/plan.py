"""Decides what a stack consists of: port, environment, services and the Procfile's processes."""

from collections.abc import Mapping
from dataclasses import dataclass

from apps.devstack import ports, private, procfile, services
from apps.devstack.errors import DevstackError
from apps.devstack.layout import PROJECT_ROOT, Layout
from apps.devstack.services import Service
from apps.devstack.supervision import DRAIN_SECONDS, Process

DEFAULT_PORT = 8000
DEFAULT_WORKERS = 2
FLOWER_USER = "operator"
OFF = {"0", "no", "off", "false"}


@dataclass(frozen=True)
class Plan:
    """What to start; `pinged` names the processes that answer a Celery ping, `metrics` who tells them on which port."""

    port: int
    env: dict[str, str]
    services: list[Service]
    app: list[Process]
    pinged: list[str]
    metrics: dict[str, int]

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"

    @property
    def processes(self) -> list[Process]:
        return [service.process for service in self.services] + self.app


def make(layout: Layout, environ: Mapping[str, str]) -> Plan:
    """Choose the ports and prepare the services' data; raises DevstackError."""
    port, workers = _port(environ), _number("WORKERS", environ, most=64) or DEFAULT_WORKERS
    needed = services.missing(layout, environ)
    env = procfile.environment(environ, _extra(layout, environ, port) | _merged(needed))
    text = (PROJECT_ROOT / "Procfile").read_text()
    if environ.get("FLOWER", "").lower() in OFF:
        text, env = procfile.without("flower", text), {**env, "FLOWER_URL": ""}
    pinged = procfile.pinged(text, workers=workers)
    metrics = {name: ports.claim_any() for name in pinged}
    app = procfile.processes(text, workers=workers, env=env, metrics=metrics, layout=layout)
    return Plan(port, env, needed, app, pinged, {"web": port, **metrics})


def _extra(layout: Layout, environ: Mapping[str, str], port: int) -> dict[str, str]:
    storage = services.given("STORAGE_DIR", environ) or layout.root / "storage"
    flower_port = _number("FLOWER_PORT", environ, most=65_535) or ports.claim_any()
    secret_key = services.given("SECRET_KEY", environ) or private.secret(layout.root / "secret_key")
    return {
        "PORT": str(port),
        "VAR_DIR": str(layout.root),
        "STORAGE_DIR": str(storage),
        "SECRET_KEY": secret_key,
        "FLOWER_PORT": str(flower_port),
        "FLOWER_URL": f"http://127.0.0.1:{flower_port}",
        "FLOWER_USER": environ.get("FLOWER_USER") or FLOWER_USER,
        "FLOWER_PASSWORD": services.given("FLOWER_PASSWORD", environ)
        or private.secret(layout.root / "flower_password"),
        "DRAIN_SECONDS": str(DRAIN_SECONDS),
        "METRICS_TOKEN": services.given("METRICS_TOKEN", environ) or private.secret(layout.root / "metrics_token"),
        "DJANGO_SETTINGS_MODULE": "zerobatch.settings",
        **{name: services.given(name, environ) for name in services.NAMES},
    }


def _merged(needed: list[Service]) -> dict[str, str]:
    return {name: value for service in needed for name, value in service.env.items()}


def _port(environ: Mapping[str, str]) -> int:
    port = _number("PORT", environ, most=65_535)
    if port is None:
        return ports.claim_next(DEFAULT_PORT)
    if not ports.claim(port):
        raise DevstackError(f"port {port} is taken or not ours to use: set PORT to another, or leave it unset")
    return port


def _number(name: str, environ: Mapping[str, str], *, most: int) -> int | None:
    text = environ.get(name)
    if not text:
        return None
    if not text.isascii() or not text.isdigit() or not 1 <= int(text) <= most:
        raise DevstackError(f"{name} must be a whole number from 1 to {most}, not {text!r}")
    return int(text)
