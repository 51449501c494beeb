"""A real browser in front of the live stack: the system's Chromium, which may ask this server and nobody else."""

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from axe_playwright_python.sync_playwright import Axe
from openai import OpenAI
from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Page, Route, expect, sync_playwright

from tests.stack import ROOT, Stack

ARGUMENTS = (
    "--no-sandbox",  # we may be root
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
CHROMIUMS = ("chromium", "chromium-browser", "google-chrome")
PICTURES = ROOT / "docs" / "img"
PASSWORD = "correct horse battery"
GRAVE = {"serious", "critical"}


class Somebody(NamedTuple):
    """A member of a project of their own, and a key of it."""

    name: str
    project_id: str
    key: str
    sdk: OpenAI


class Window:
    """A browser window that is signed in to nothing yet; what it was refused or complained of is remembered."""

    def __init__(self, context: BrowserContext, base: str) -> None:
        self.base = base
        self.strangers: list[str] = []
        self.complaints: list[str] = []
        context.route("**/*", self._only_this_server)
        context.set_default_timeout(15_000)
        self.page: Page = context.new_page()
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("console", self._note)

    def _note(self, message: ConsoleMessage) -> None:
        if message.type == "error":
            self.complaints.append(message.text)

    def _only_this_server(self, route: Route) -> None:
        if route.request.url.startswith((self.base, "blob:", "data:")):
            route.continue_()
        else:
            self.strangers.append(route.request.url)
            route.abort()

    def go(self, path: str) -> Page:
        self.page.goto(self.base + path)
        return self.page

    def sign_in(self, who: Somebody) -> Page:
        page = self.go("/")
        page.get_by_label("User name").fill(who.name)
        page.get_by_label("Password").fill(PASSWORD)
        page.get_by_role("button", name="Sign in").click()
        expect(page.get_by_role("heading", name="Batches", exact=True)).to_be_visible()
        return page

    def grave_faults(self) -> list[str]:
        """What axe finds that keeps people out."""
        found = Axe().run(self.page).response["violations"]
        return [f"{each['id']}: {each['nodes'][0]['html']}" for each in found if each["impact"] in GRAVE]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Closed before other tests come: Playwright's loop would make Django refuse their queries."""
    path = next(filter(None, map(shutil.which, CHROMIUMS)), None)
    if path is None:
        pytest.skip("no Chromium: install your system's (Debian: apt-get install chromium) to run the browser tests")
    with sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=path, args=list(ARGUMENTS))
        yield running
        running.close()


@pytest.fixture
def new_window(browser: Browser, stack: Stack) -> Iterator[Callable[..., Window]]:
    """Opens windows of a width, a colour scheme or whatever else a browser context has."""
    contexts: list[BrowserContext] = []

    def opened(*, width: int = 1280, **options: Any) -> Window:
        context = browser.new_context(viewport={"width": width, "height": 900}, accept_downloads=True, **options)
        contexts.append(context)
        return Window(context, stack.base_url.removesuffix("/v1"))

    yield opened
    for context in contexts:
        context.close()


@pytest.fixture
def window(new_window: Callable[..., Window]) -> Iterator[Window]:
    """One that must see nothing of other servers, and of which no script or policy may complain."""
    opened = new_window()
    yield opened
    assert opened.strangers == []
    assert opened.complaints == []


@pytest.fixture(scope="module")
def people(stack: Stack) -> Iterator[Somebody]:
    """Members of a project each, made by one command, which costs more than all that it does."""
    made = json.loads(stack.manage("shell", "--verbosity", "0", "--command", NEW_MEMBERS).splitlines()[-1])
    return iter([Somebody(name, project_id, key, stack.sdk(key)) for name, project_id, key in made])


@pytest.fixture
def ada(people: Iterator[Somebody]) -> Somebody:
    """Somebody whose project is empty."""
    return next(people)


NEW_MEMBERS = f"""
import json
from uuid import uuid4
from django.contrib.auth.hashers import make_password
from django.contrib.auth.models import User
from apps.projects.models import ApiKey, Project

made, password = [], make_password("{PASSWORD}")
for _ in range(20):
    user = User.objects.create(username="ada-" + uuid4().hex[:6], password=password)
    project = Project.objects.create(name="Reviews")
    project.members.add(user)
    made.append([user.username, str(project.pk), ApiKey.objects.create_for(project, "first key")[1]])
print(json.dumps(made))
"""


@pytest.fixture
def picture(request: pytest.FixtureRequest) -> Callable[[Window, str], None]:
    """Draws docs/img/NAME.png anew, when pytest is asked to with --screenshots."""

    def draw(window: Window, name: str) -> None:
        if request.config.getoption("--screenshots"):
            PICTURES.mkdir(exist_ok=True)
            window.page.screenshot(path=Path(PICTURES / f"{name}.png"), animations="disabled")

    return draw
