"""The API reference in a real browser: a first batch made with its four playgrounds."""

from collections.abc import Callable

import pytest
from playwright.sync_api import expect

from tests.browser.conftest import Somebody, Window
from tests.stack import finished


def test_a_first_batch_from_the_page_alone(
    window: Window, ada: Somebody, picture: Callable[[Window, str], None]
) -> None:
    page = window.go("/docs")
    upload, create = page.get_by_role("form", name="Upload a file"), page.get_by_role("form", name="Create a batch")
    retrieve, download = page.get_by_role("form", name="Retrieve the batch"), page.get_by_role("form", name="Download")

    page.get_by_label("API key").fill(ada.key)
    upload.get_by_label("Three questions for the model").fill("echo")
    upload.get_by_role("button", name="Use them").click()
    upload.get_by_role("button", name="Upload").click()
    expect(upload.get_by_text("200 OK")).to_be_visible()
    picture(window, "reference")

    create.get_by_role("button", name="Create").click()
    expect(create.get_by_text("200 OK")).to_be_visible()
    expect(create.locator(".as-curl code")).to_contain_text('"input_file_id":"file-')
    assert ada.key not in page.content()

    batch_id = retrieve.get_by_label("batch_id").input_value()
    finished(ada.sdk, ada.sdk.batches.retrieve(batch_id), 60)
    retrieve.get_by_role("button", name="Retrieve").click()
    expect(retrieve.get_by_text("It has ended")).to_be_visible()

    download.get_by_role("button", name="Download").click()
    expect(download.locator(".answer-box code")).to_contain_text('"custom_id":"question-3"')
    assert window.grave_faults() == []


def test_a_refusal_reads_well(new_window: Callable[..., Window], ada: Somebody) -> None:
    window = new_window(width=400, color_scheme="dark")
    page = window.go("/docs#batches.create")
    expect(page.locator("[id='batches.create']")).to_have_attribute("open", "")

    create = page.get_by_role("form", name="Create a batch")
    create.get_by_label("input_file_id").fill("file-nothing")
    create.get_by_role("button", name="Create").click()
    expect(create.get_by_role("status")).to_contain_text("Enter your API key")

    page.get_by_label("API key").fill(ada.key)
    create.get_by_role("button", name="Create").click()
    expect(create.get_by_role("status")).to_contain_text("Input file not found: file-nothing")
    assert page.evaluate("document.documentElement.scrollWidth") == 400
    assert window.grave_faults() == []
    assert window.strangers == []


@pytest.mark.parametrize("look", [("light", 1280), ("dark", 1280), ("light", 400), ("dark", 400)])
def test_all_of_it_is_usable(new_window: Callable[..., Window], look: tuple[str, int]) -> None:
    scheme, width = look
    window = new_window(width=width, color_scheme=scheme, reduced_motion="reduce")
    page = window.go("/docs")

    page.evaluate("document.querySelectorAll('details').forEach((each) => (each.open = true))")

    expect(page.get_by_text("range_not_satisfiable").first).to_be_visible()
    assert window.grave_faults() == []
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), "it scrolls sideways"
    assert window.strangers == []
    assert window.complaints == []
