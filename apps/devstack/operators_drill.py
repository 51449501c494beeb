"""The operator's drill: a stack of its own in which four things are wrong, until Ctrl-C."""

import os
import secrets
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from apps.devstack import announce, passing, private, sham, tenant
from apps.devstack.layout import Layout

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
    with sham.serving() as address:
        env = {**passing.without_somebodys_own(environ), "INFERENCE_BASE_URL": f"{address}/good/v1"}
        with passing.stack("zerobatch-drill-", env, starting="Starting a stack ...", during=_said) as stack:
            _break(stack.layout, address)
            stack.process.wait()


@contextmanager
def _said(text: str) -> Iterator[None]:
    announce.say(text)
    yield


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
