"""What people do in the console, in a real browser."""

import json
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from openai import ConflictError
from openai.types import Batch, BatchRequestCounts
from playwright.sync_api import Page, expect

from tests.browser.conftest import Somebody, Window
from tests.conftest import jsonl, line
from tests.fakes.upstream import FakeUpstream
from tests.stack import Stack, finished, submit, wait_until

QUESTIONS = (
    "Is this review positive or negative? The sound is wonderful and the battery lasts for days.",
    "Summarise in one sentence: the kettle leaks, and the handle fell off after a week.",
    "Translate into French: I could not put this book down.",
)
DROP = """([selector, name, text]) => {
  const data = new DataTransfer();
  data.items.add(new File([text], name));
  const dropped = new DragEvent("drop", {dataTransfer: data, bubbles: true, cancelable: true});
  document.querySelector(selector).dispatchEvent(dropped);
}"""
Picture = Callable[[Window, str], None]


def question(number: int, model: str = "gpt-oss") -> dict[str, Any]:
    content = QUESTIONS[number % len(QUESTIONS)]
    return line(f"review-{number:04}", body={"model": model, "messages": [{"role": "user", "content": content}]})


def drop(page: Page, name: str, text: str) -> None:
    page.wait_for_url("**/console/batches/new")
    page.evaluate(DROP, ["#drop", name, text])


def started_batch(page: Page) -> str:
    """The id of the batch whose page has come up."""
    page.wait_for_url("**/console/batches/batch_*")
    return page.url.rpartition("/")[2]


@pytest.fixture
def closed_gate(witness: FakeUpstream) -> Any:
    """No answer comes before `open()`; at the end they come again."""
    witness.gate.close()
    yield witness.gate
    witness.gate.open()


def test_a_file_with_a_bad_line_is_mended_run_and_read(
    window: Window, ada: Somebody, closed_gate: Any, picture: Picture
) -> None:
    page = window.sign_in(ada)
    page.get_by_role("link", name="New batch").first.click()
    rows = [json.dumps(question(number)) for number in range(6)]
    rows[2] = rows[2].replace('"POST"', '"GET"')
    drop(page, "reviews.jsonl", "\n".join(rows))

    bad = page.get_by_label("Line 3", exact=True)
    expect(bad).to_have_value(rows[2])
    expect(page.get_by_text('method must be "POST"')).to_be_visible()
    expect(page.get_by_role("button", name="Start the batch")).to_be_disabled()
    picture(window, "new-batch")
    assert window.grave_faults() == []
    bad.fill(rows[2].replace('"GET"', '"POST"'))
    page.get_by_role("button", name="Start the batch of 6 lines").click()

    batch_id = started_batch(page)
    bar = page.get_by_role("progressbar")
    expect(bar).to_have_attribute("aria-valuenow", "0")
    closed_gate.open()
    expect(bar).to_have_attribute("aria-valuenow", "100")
    expect(page.get_by_role("status").get_by_text("Completed")).to_be_visible()
    expect(page.locator(".answer").first).to_contain_text(QUESTIONS[0])
    with page.expect_download() as downloading:
        page.get_by_role("link", name="Results").first.click()
    answers = Path(downloading.value.path()).read_text().splitlines()
    assert [json.loads(row)["custom_id"] for row in answers] == [f"review-{number:04}" for number in range(6)]
    assert ada.sdk.batches.retrieve(batch_id).status == "completed"


def test_answers_show_while_it_runs_and_it_is_cancelled(window: Window, ada: Somebody, witness: FakeUpstream) -> None:
    witness.hold()
    batch = submit(ada.sdk, jsonl([question(0), *(question(number, "hang") for number in range(1, 9))]))
    page = window.sign_in(ada)
    page.get_by_role("link", name="input.jsonl").click()

    expect(page.locator(".answer")).to_contain_text(QUESTIONS[0])
    expect(page.get_by_role("progressbar")).to_have_attribute("aria-valuetext", "1 of 9 lines")
    page.get_by_text("Cancel", exact=True).click()
    page.get_by_role("button", name="Cancel the batch").click()

    expect(page.get_by_text("Cancelling: lines in flight finish")).to_be_visible()
    witness.release()
    expect(page.get_by_role("status").get_by_text("Cancelled")).to_be_visible()
    assert ada.sdk.batches.retrieve(batch.id).status == "cancelled"


def test_a_table_becomes_requests(window: Window, ada: Somebody) -> None:
    page = window.sign_in(ada)
    window.go("/console/batches/new")
    drop(page, "shop.csv", 'name,review\r\nkettle,"It leaks, and\nsmells ""odd"""\r\nlamp,Bright\r\n')

    page.get_by_label("Prompt", exact=True).fill("What about the {{name}}: {{review}}")
    expect(page.locator("#csv-preview li").first).to_have_text('What about the kettle: It leaks, and\nsmells "odd"')
    page.get_by_label("Model").fill("gpt-oss")
    page.get_by_label("Named by").select_option("name")
    assert window.grave_faults() == []
    page.get_by_role("button", name="Make the requests").click()
    page.get_by_role("button", name="Start the batch of 2 lines").click()

    ended = finished(ada.sdk, ada.sdk.batches.retrieve(started_batch(page)))
    assert ended.output_file_id is not None
    rows = [json.loads(row) for row in ada.sdk.files.content(ended.output_file_id).text.splitlines()]
    assert {row["custom_id"]: row["response"]["body"]["choices"][0]["message"]["content"] for row in rows} == {
        "kettle": 'What about the kettle: It leaks, and\nsmells "odd"',
        "lamp": "What about the lamp: Bright",
    }


def test_what_the_browser_lets_pass_the_server_still_judges(window: Window, ada: Somebody) -> None:
    page = window.sign_in(ada)
    window.go("/console/batches/new")
    too_large = json.dumps(question(0)).replace('"model"', '"temperature": 1e999, "model"')  # JSON.parse takes it
    drop(page, "strange.jsonl", too_large)
    page.get_by_role("button", name="Start the batch of 1 line").click()

    started_batch(page)
    expect(page.get_by_text("Line 1 is not valid JSON")).to_be_visible()


def test_a_key_opens_its_project_until_it_is_revoked(window: Window, ada: Somebody, stack: Stack) -> None:
    page = window.go("/console/keys")
    page.get_by_label("API key", exact=True).fill(ada.key)
    page.get_by_role("button", name="Use this key").click()

    expect(page.get_by_text("first key")).to_be_visible()
    expect(page.get_by_role("button", name="Create key")).to_have_count(0)
    stack.execute("UPDATE projects_apikey SET revoked_at = now() WHERE project_id = %s", ada.project_id)
    page.get_by_role("link", name="Batches").click()
    expect(page.get_by_role("heading", name="Sign in")).to_be_visible()


def test_keys_by_keyboard_alone(window: Window, ada: Somebody) -> None:
    page = window.sign_in(ada)
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Skip to the content")).to_be_focused()
    for _ in range(10):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.textContent") == "API keys":
            break
    page.keyboard.press("Enter")
    page.get_by_label("What it is for").focus()
    page.keyboard.type("nightly")
    page.keyboard.press("Enter")

    secret = page.locator("#secret")
    expect(secret).to_contain_text("zb_")
    assert ada.sdk.with_options(api_key=secret.inner_text()).batches.list().data == []
    page.get_by_label("Revoke nightly").focus()
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    expect(page.get_by_text("The key is revoked")).to_be_visible()


def test_a_hidden_page_asks_for_nothing(window: Window, ada: Somebody, closed_gate: Any) -> None:
    batch = submit(ada.sdk, jsonl([question(0)]))
    page = window.sign_in(ada)
    window.go(f"/console/batches/{batch.id}")
    with page.expect_request(f"**/{batch.id}"):
        pass  # it is fetched anew while it can be seen
    page.evaluate("""() => {
        Object.defineProperty(document, "visibilityState", {value: "hidden", configurable: true});
    }""")
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.wait_for_timeout(2_500)  # longer than its pause: nothing else tells that nothing happens
    assert len(asked) <= 1  # one may have been on its way
    page.evaluate("""() => {
        delete document.visibilityState;
        document.dispatchEvent(new Event("visibilitychange"));
    }""")
    closed_gate.open()
    expect(page.get_by_role("progressbar")).to_have_attribute("aria-valuenow", "100")


def named(ada: Somebody, name: str, lines: list[dict[str, Any]]) -> Batch:
    stored = ada.sdk.files.create(file=("input.jsonl", jsonl(lines)), purpose="batch")
    return ada.sdk.batches.create(
        input_file_id=stored.id, endpoint="/v1/chat/completions", completion_window="24h", metadata={"name": name}
    )


def counts_of(ada: Somebody, batch: Batch) -> BatchRequestCounts:
    counts = ada.sdk.batches.retrieve(batch.id).request_counts
    assert counts is not None
    return counts


PAGES = {
    "batches": "/",
    "batch": "/console/batches/{batch}",
    "refused": "/console/batches/{refused}",
    "new": "/console/batches/new",
    "files": "/console/files",
    "keys": "/console/keys",
    "webhooks": "/console/webhooks",
    "first-request": "/console/first-request",
    "not-found": "/console/batches/batch_unknown",
}
DRAWN = {"batches", "batch"}


@pytest.fixture
def history(ada: Somebody, request: pytest.FixtureRequest) -> Iterator[dict[str, str]]:
    """What a project looks like after a while."""
    mixed = [question(number, "slow-300") for number in range(240)]
    for number in range(7, 240, 40):
        mixed[number] = question(number, "context" if number % 3 else "status-400")
    ended = named(ada, "Support tickets, week 46", mixed)
    stored = ada.sdk.files.create(file=("tickets.jsonl", jsonl([question(0), question(0)])), purpose="batch")
    with pytest.raises(Exception, match="duplicates") as refused:
        ada.sdk.batches.create(input_file_id=stored.id, endpoint="/v1/chat/completions", completion_window="24h")
    finished(ada.sdk, ended)
    running = named(ada, "Catalogue descriptions", [question(number, "slow-900") for number in range(900)])
    if request.config.getoption("--screenshots"):
        wait_until(lambda: counts_of(ada, running).completed > 200, "there is something to look at")
    error: Any = refused.value
    yield {"batch": ended.id, "refused": error.body["batch_id"]}
    with suppress(ConflictError):  # on a slow machine it has ended by now
        ada.sdk.batches.cancel(running.id)


@pytest.mark.parametrize("look", [("light", 1280), ("dark", 1280), ("light", 400), ("dark", 400)])
def test_every_page_is_usable(
    new_window: Callable[..., Window],
    ada: Somebody,
    history: dict[str, str],
    picture: Picture,
    look: tuple[str, int],
) -> None:
    scheme, width = look
    window = new_window(width=width, color_scheme=scheme, reduced_motion="reduce")
    assert window.go("/").get_by_role("heading", name="Sign in").is_visible()
    faults = {"sign-in": window.grave_faults()}
    page = window.sign_in(ada)

    for name, path in PAGES.items():
        window.go(path.format(**history))
        faults[name] = window.grave_faults()
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), f"{name} scrolls sideways"
        if name in DRAWN:
            picture(window, f"{name}-{scheme}-{width}")

    assert {name: found for name, found in faults.items() if found} == {}
    assert window.strangers == []
    assert [text for text in window.complaints if "404" not in text] == []
