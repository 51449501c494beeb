"""The operator's drill of docs/operations.md, step by step in a real browser; and Flower."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import pytest
import requests
from playwright.sync_api import Page, expect

from apps.devstack import ports, sham
from tests.browser.conftest import Window
from tests.conftest import jsonl, line
from tests.fakes.upstream import FakeUpstream
from tests.stack import ROOT, WORKERS, Stack, finished, wait_until

PASSWORD = "correct horse battery"
PATIENCE = 30_000
"""Milliseconds; the board is fresh every five seconds, and heartbeats come every two."""
KNOWN_UPSTREAMS = "SELECT string_agg(report, ' ') FROM batches_worker WHERE seen_at > now() - interval '10 seconds'"


@pytest.fixture
def broken(stack: Stack) -> Iterator[dict[str, str]]:
    """Four things are wrong; afterwards the environment's upstream is everybody's again."""
    with sham.serving() as address:
        made = json.loads(manage(stack, "break_things", address, PASSWORD).splitlines()[-1])
        yield made | {"address": address}
        manage(stack, "shell", "--command", CLEAN)
        wait_until(lambda: '"good"' not in str(stack.ask_postgres(KNOWN_UPSTREAMS)), "no worker knows the drill's rows")


def manage(stack: Stack, *arguments: str) -> str:
    """What a management command prints, run as the web process is: with its storage and its secret."""
    command = [sys.executable, "manage.py", *arguments]
    done = subprocess.run(
        command, cwd=ROOT, env=stack.spec("web")["env"], stdout=subprocess.PIPE, text=True, check=True
    )
    return done.stdout.strip()


CLEAN = """
from apps.batches import lifecycle, tasks
from apps.batches.models import Batch
from apps.batches.states import UNFINISHED
from apps.upstreams.models import Upstream
PROJECTS = ["Reviews", "Summaries", "Invoices", "Crawler"]
for batch in Batch.objects.filter(status__in=UNFINISHED, project__name__in=PROJECTS):
    lifecycle.cancel(batch) and tasks.write_off.delay(batch.pk)
Upstream.objects.all().delete()
"""


def sign_in(window: Window) -> Page:
    page = window.go("/admin/")
    page.get_by_label("Username").fill("operator")
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Log in").click()
    return page


def wrong(page: Page, text: str) -> Any:
    """The sentence on the dashboard that says so."""
    return page.get_by_label("What is wrong").get_by_role("listitem").filter(has_text=text)


def test_the_operators_drill(
    new_window: Callable[..., Window], stack: Stack, broken: dict[str, str], picture: Callable[[Window, str], None]
) -> None:
    window = new_window()
    window.page.set_default_timeout(PATIENCE)
    page = sign_in(window)
    for sign in ("“gone”: away", "“hot”", "1 chunk is broken by hand", "Project “Crawler” has"):
        expect(wrong(page, sign)).to_be_visible(timeout=2 * PATIENCE)
    picture(window, "admin-light-1280")
    page.emulate_media(color_scheme="dark")
    picture(window, "admin-dark-1280")
    page.emulate_media(color_scheme="light")
    assert window.grave_faults() == []

    # The upstream that is gone: it has moved.
    wrong(page, "“gone”").get_by_role("link").click()
    page.get_by_label("Base URL").fill(f"{broken['address']}/good/v1")
    page.get_by_role("button", name="Save and continue editing").click()
    page.get_by_role("button", name="Test what is saved now").click()
    expect(page.get_by_text("answered 200")).to_be_visible()

    # The one that throttles: no more than it has slots.
    window.go("/admin/")
    page.get_by_role("link", name="hot", exact=True).click()
    page.get_by_label("Max in flight").fill(str(sham.HOT_SLOTS))
    page.get_by_role("button", name="Save", exact=True).click()

    # The chunk that somebody broke by hand: its batch is resumed.
    window.go("/admin/")
    wrong(page, "broken by hand").get_by_role("link").click()
    page.get_by_role("link", name=broken["invoices"]).click()
    page.get_by_role("button", name="Resume").click()
    expect(page.get_by_text("go back to pending: 1 broken")).to_be_visible()
    page.get_by_role("button", name="Resume").click()
    expect(page.get_by_text("taken back: 1")).to_be_visible()

    # The project over its share: what it has open is cancelled.
    window.go("/admin/")
    wrong(page, "Crawler").get_by_role("link").click()
    page.get_by_role("button", name="Cancel every open batch").click()
    expect(page.get_by_text("lines have a result")).to_be_visible()
    page.get_by_role("button", name="Cancel all of them").click()
    expect(page.get_by_text("batches are being cancelled")).to_be_visible()

    for name in ("invoices", "reviews"):
        wait_until(partial(has_completed, stack, broken[name]), f"{name} is completed")
    window.go("/admin/")
    for sign in ("“gone”", "“hot”", "broken by hand", "Crawler"):
        expect(wrong(page, sign)).to_have_count(0, timeout=2 * PATIENCE)
    logged = stack.all_of_postgres("SELECT change_message FROM django_admin_log")
    assert {"Tested.", "Resumed; chunks taken back: 1.", "Cancelled 6 open batches."} <= set(logged)
    assert window.strangers == []
    assert window.complaints == []


def has_completed(stack: Stack, batch_id: str) -> bool:
    return bool(stack.ask_postgres("SELECT status FROM batches_batch WHERE id = %s", batch_id) == "completed")


@pytest.fixture
def flower(stack: Stack) -> Iterator[str]:
    """Flower's address, on the stack's broker."""
    port = str(ports.claim_any())
    env = {**os.environ, **stack.env, "SECRET_KEY": "x" * 50, "FLOWER_PORT": port, "FLOWER_PASSWORD": PASSWORD}
    command = [sys.executable, "manage.py", "flower"]
    running = subprocess.Popen(command, cwd=ROOT, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    url = f"http://127.0.0.1:{port}"
    try:
        wait_until(lambda: answers(url), "Flower serves")
        yield url
    finally:
        running.terminate()
        running.wait(30)


def answers(url: str) -> bool:
    try:
        return requests.get(url, timeout=5).status_code == 401
    except requests.ConnectionError:
        return False


def test_flower_shows_the_running_chunks_of_a_batch_and_asks_for_a_password(
    new_window: Callable[..., Window], stack: Stack, witness: FakeUpstream, flower: str
) -> None:
    stranger = new_window()
    stranger.base = flower
    assert stranger.page.request.get(f"{flower}/tasks").status == 401
    window = new_window(http_credentials={"username": "operator", "password": PASSWORD})
    window.base = flower
    page = window.go("/workers")
    expect(page.get_by_role("link", name="worker-").first).to_be_visible(timeout=PATIENCE)
    wait_until(lambda: all(tells_of_tasks(stack, name) for name in WORKERS), "Flower has asked for events of tasks")

    witness.gate.close()
    try:
        sdk = stack.sdk()
        stored = sdk.files.create(file=("input.jsonl", jsonl([line(f"line-{n}") for n in range(150)])), purpose="batch")
        batch = sdk.batches.create(input_file_id=stored.id, endpoint="/v1/chat/completions", completion_window="24h")
        wait_until(lambda: len(shown_chunks(flower, batch.id)) == 2, "Flower knows both chunks")
        window.go(f"/tasks?search={batch.id}")
        row = page.get_by_role("row").filter(has_text=f"({batch.id}, chunk 1, 50 lines, epoch 1)")
        expect(row.filter(has_text="STARTED")).to_be_visible(timeout=PATIENCE)
    finally:
        witness.gate.open()
    assert finished(sdk, batch).status == "completed"


def tells_of_tasks(stack: Stack, name: str) -> bool:
    """From when Flower asks it to, seconds after it is first seen there."""
    since_it_started = (stack.var_dir / "log" / f"{name}.log").read_text().rpartition(" ready.")[2]
    return "Events of group {task} enabled" in since_it_started


def shown_chunks(flower: str, batch_id: str) -> list[str]:
    tasks = requests.get(f"{flower}/api/tasks", auth=("operator", PASSWORD), timeout=10).json()
    return [task["args"] for task in tasks.values() if batch_id in str(task["args"]) and task["state"] == "STARTED"]
