"""Brings a whole stack up in the right order, keeps it running and stops it."""

import json
import re
from collections.abc import Callable, Mapping
from functools import partial

from celery import Celery
from kombu.exceptions import OperationalError

from apps.devstack import announce, pids, plan, private, seaweed, services, tenant
from apps.devstack.errors import DevstackError
from apps.devstack.layout import Layout
from apps.devstack.plan import Plan
from apps.devstack.stopping import Stopped, stop_on_signals
from apps.devstack.supervision import Supervisor
from apps.devstack.waiting import until

READY_SECONDS = 120
PING_SECONDS = 1.0


def run(environ: Mapping[str, str]) -> None:
    """Run a stack until SIGINT, SIGTERM or SIGHUP; raises DevstackError when it cannot come up or falls over."""
    layout = Layout.of(environ.get("VAR_DIR"))
    try:
        stop_on_signals()
        layout.make()
        with layout.lock() as lock:
            layout.clear()
            announce.say("ZeroBatch is starting ...")
            _say_what_is_given(environ)
            _serve(plan.make(layout, environ), layout, lock)
    except Stopped:
        announce.say("Stopped.")


def _say_what_is_given(environ: Mapping[str, str]) -> None:
    """A terminal may hold the variables of another stack. A database or queue that is not there is an error at once."""
    for name in services.NAMES:
        if url := services.given(name, environ):
            announce.say(f"  using {name} of the environment ({services.host(url)})")
            if name != "INFERENCE_BASE_URL" and not services.listens(url):
                raise DevstackError(f"nobody listens at {services.host(url)}: start it, or unset {name}")
    if services.given("STORAGE", environ) == "s3" and (bucket := services.given("S3_BUCKET", environ)):
        announce.say(f"  using S3_BUCKET of the environment ({bucket})")


def _serve(stack: Plan, layout: Layout, lock: int) -> None:
    supervisor = Supervisor.start(layout, stack.processes, lock=lock)
    try:
        dev = _Start(stack, layout, supervisor).bring_up()
        _write_targets(layout, stack)
        _write_dev_env(layout, stack, dev)
        names = [process.name for process in stack.processes]
        announce.ready(layout, stack=stack, tenant=dev, names=names)
        if not services.listens(upstream := stack.env["INFERENCE_BASE_URL"]):
            announce.say(f"Nobody listens at {services.host(upstream)} (INFERENCE_BASE_URL): batches will wait for it.")
        supervisor.wait()
    finally:
        announce.say("Stopping ...")
        layout.dev_env.unlink(missing_ok=True)
        supervisor.stop()
        layout.clear()


class _Start:
    """The steps from running services to an API that serves."""

    def __init__(self, stack: Plan, layout: Layout, supervisor: Supervisor) -> None:
        self._stack = stack
        self._layout = layout
        self._supervisor = supervisor
        self._answered: set[int] = set()

    def bring_up(self) -> tenant.Tenant:
        self._await_services(first=True)
        announce.say("  migrating the database")
        tenant.manage("migrate", "--noinput", env=self._stack.env)
        self._layout.migrated.touch()
        announce.say(f"  starting {', '.join(process.name for process in self._stack.app)}")
        dev = tenant.stored(self._layout) or tenant.create(self._layout, self._stack.env)
        self._await_services(first=False)
        self._await("web", lambda: services.answers(self._stack.port, "/readyz"))
        for name in self._stack.pinged:
            self._await(name, partial(self._answers_ping, name))
        return dev if tenant.works(dev, self._stack.port) else tenant.create(self._layout, self._stack.env)

    def _await_services(self, *, first: bool) -> None:
        for service in self._stack.services:
            if service.first == first:
                announce.say(f"  starting {service.process.name}")
                self._await(service.process.name, service.ready)
                service.prepare()

    def _await(self, name: str, ready: Callable[[], bool]) -> None:
        """Wait for the process; when it does not come up, its last words are the error's."""

        def holds() -> bool:
            self._supervisor.check()
            return ready()

        log = self._layout.log / f"{name}.log"
        try:
            until(holds, seconds=READY_SECONDS, what=f"{name} did not get ready in {READY_SECONDS} s")
        except DevstackError as error:
            raise DevstackError(f"{error}; the end of {log}:{announce.tail(log)}") from None

    def _answers_ping(self, name: str) -> bool:
        if pids.read(self._layout.pids).get(name) not in self._answered:
            self._answered |= _pinged(self._stack.env["REDIS_URL"], count=len(self._stack.pinged))
        return pids.read(self._layout.pids).get(name) in self._answered


def _pinged(redis_url: str, *, count: int) -> set[int]:
    """The pids of the Celery workers that answer; each worker's name ends in its pid (see the Procfile)."""
    with Celery(broker=redis_url, set_as_current=False) as app:
        try:
            replies = app.control.ping(timeout=PING_SECONDS, limit=count) or []
        except OperationalError:
            return set()
    names = (name for reply in replies for name in reply)
    return {int(match[1]) for name in names if (match := re.search(r"-(\d+)@", name))}


def _write_targets(layout: Layout, stack: Plan) -> None:
    targets = [{"targets": [f"127.0.0.1:{port}"], "labels": {"process": name}} for name, port in stack.metrics.items()]
    layout.metrics.write_text(json.dumps(targets, indent=1))


def _write_dev_env(layout: Layout, stack: Plan, dev: tenant.Tenant) -> None:
    values = {
        "ZEROBATCH_BASE_URL": stack.url,
        "ZEROBATCH_API_KEY": dev.api_key,
        "ZEROBATCH_PROJECT_ID": dev.project_id,
        "DATABASE_URL": stack.env["DATABASE_URL"],
        "REDIS_URL": stack.env["REDIS_URL"],
        "METRICS_TOKEN": stack.env["METRICS_TOKEN"],
    }
    if stack.env.get("STORAGE") == "s3":
        values |= {name: stack.env[name] for name in seaweed.VARIABLES if stack.env.get(name)}
    if stack.env["FLOWER_URL"]:
        values |= {name: stack.env[name] for name in ("FLOWER_URL", "FLOWER_USER", "FLOWER_PASSWORD")}
    private.write_env(layout.dev_env, values)
