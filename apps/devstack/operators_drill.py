"""The operator's drill: a stack of its own in which four things are wrong, until Ctrl-C."""

import os
import secrets
import shutil
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

from apps.devstack import announce, postgres, private, sham, spawn, tenant
from apps.devstack.demo import NOT_FOR_THE_DEMO, STOP_SECONDS
from apps.devstack.errors import DevstackError
from apps.devstack.layout import PROJECT_ROOT, Layout

READY = """
Four things are wrong. Find and mend them from the admin alone; docs/operations.md, "The operator's drill", shows how.

  Admin:  {admin}   (user {user}, password {password})
  Flower: {flower}   (user {flower_user}, password {flower_password})

  The upstream that is gone has moved to {moved}
  The one that throttles has {slots} slots.

Ctrl-C ends it and removes everything.
"""


def run(environ: Mapping[str, str]) -> None:
    """Serve the broken stack until it is stopped; raises DevstackError when it cannot come up."""
    folder = Path(tempfile.mkdtemp(prefix="zerobatch-drill-"))
    folder.chmod(0o711)  # PostgreSQL's user, who is not root, must pass
    layout = Layout.of(str(folder))
    try:
        with sham.serving() as address:
            _serve(layout, address, environ)
    finally:
        postgres.discard(folder)
        shutil.rmtree(folder, ignore_errors=True)


def _serve(layout: Layout, address: str, environ: Mapping[str, str]) -> None:
    log = layout.root / "devstack.log"
    env = {name: value for name, value in environ.items() if name.removesuffix("_FILE") not in NOT_FOR_THE_DEMO}
    env |= {"VAR_DIR": str(layout.root), "INFERENCE_BASE_URL": f"{address}/good/v1"}
    command: list[str | Path] = [sys.executable, PROJECT_ROOT / "manage.py", "devstack", "--die-with-parent"]
    with log.open("wb") as output:
        running = spawn.spawn(command, output=output, env=env)
    try:
        announce.say("Starting a stack ...")
        while not layout.dev_env.exists():
            if running.poll() is not None:
                raise DevstackError(f"the stack did not come up:{announce.tail(log, 20)}")
            time.sleep(0.05)
        _break(layout, address)
        running.wait()
    finally:
        announce.say("Stopping ...")
        spawn.end(running, seconds=STOP_SECONDS)


def _break(layout: Layout, address: str) -> None:
    dev = private.read_env(layout.dev_env)
    secret_key = private.secret(layout.root / "secret_key")
    env = {**os.environ, **dev, "SECRET_KEY": secret_key, "STORAGE_DIR": str(layout.root / "storage")}
    password = secrets.token_urlsafe(9)
    tenant.manage("break_things", address, password, env=env)
    announce.say(
        READY.format(
            admin=dev["ZEROBATCH_BASE_URL"].removesuffix("/v1") + "/admin/",
            user="operator",
            password=password,
            flower=dev.get("FLOWER_URL", "off"),
            flower_user=dev.get("FLOWER_USER", ""),
            flower_password=dev.get("FLOWER_PASSWORD", ""),
            moved=f"{address}/good/v1",
            slots=sham.HOT_SLOTS,
        )
    )
