"""docs/compatibility.md tells the truth about the SDK that is installed and the server that is here."""

import inspect
import re
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import openai
import pytest
from django.conf import settings
from django.urls import Resolver404, resolve
from django.utils import timezone
from openai.types import Batch, FileObject

from apps.batches.codes import EVERY
from apps.batches.serializers import MOST_METADATA_BYTES
from apps.files.models import File
from apps.files.serializers import file_json
from tests.conftest import Person, create_batch, jsonl, line, uploaded

DOCS = Path(__file__).resolve().parents[2] / "docs"
PAGE = (DOCS / "compatibility.md").read_text()
ROW = re.compile(r"^\| (`[A-Z]+ /v1/.+?`|none) \| (`.+?`) \| (yes|not yet|no server needed) \|$", re.MULTILINE)
RESOURCES = ("files", "batches", "uploads", "webhooks")
MB = 1024 * 1024
WORDS = ("four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve")


class Call(NamedTuple):
    """A row of the table: what is sent, which of the SDK's methods send it, and whether the server takes it."""

    request: str
    methods: list[str]
    here: str


CALLS = [
    Call(request.strip("`"), re.findall(r"`(.+?)`", methods), here) for request, methods, here in ROW.findall(PAGE)
]


def methods_of(resource: Any, name: str) -> list[str]:
    """A resource's methods and those of the resources in it, as they are called on a client."""
    found = [f"{name}.{method}" for method, _ in inspect.getmembers(type(resource), inspect.isfunction)]
    for inner, _ in inspect.getmembers(type(resource), lambda member: isinstance(member, cached_property)):
        if not inner.startswith("with_"):  # the same methods, with raw answers
            found += methods_of(getattr(resource, inner), f"{name}.{inner}")
    return [each for each in found if "._" not in each]


def is_served(request: str) -> bool:
    method, path = request.split()
    try:
        view: Any = resolve(path.replace("{id}", "some_id")).func
    except Resolver404:
        return False
    return hasattr(view.view_class, method.lower())


def test_every_call_of_the_sdk_is_in_the_table_once() -> None:
    with openai.OpenAI(api_key="nobody") as client:
        found = [method for name in RESOURCES for method in methods_of(getattr(client, name), name)]

    assert sorted(name for call in CALLS for name in call.methods) == sorted(found)


@pytest.mark.parametrize("call", [call for call in CALLS if call.request != "none"], ids=lambda call: call.request)
def test_the_server_takes_what_the_table_says(call: Call) -> None:
    assert is_served(call.request) == (call.here == "yes")


def test_the_sdk_that_is_told_of_is_the_one_that_is_installed() -> None:
    assert set(re.findall(r"openai (\d+\.\d+)", PAGE)) == {".".join(openai.__version__.split(".")[:2])}


def test_what_we_send_beyond_the_sdk_s_types_is_called_an_extension(alice: Person) -> None:
    batch = create_batch(alice, uploaded(alice, jsonl([line()]))).json()
    error_file = file_json(File(id="file-1", is_error=True, created_at=timezone.now(), expires_at=None))

    beyond = (batch.keys() - Batch.model_fields.keys()) | (error_file.keys() - FileObject.model_fields.keys())

    assert beyond == {"status_reason", "retry_of", "is_error"}
    assert all(re.search(rf"^\| `{name}`", PAGE, re.MULTILINE) for name in beyond)
    assert batch.keys() >= Batch.model_fields.keys()


def test_the_numbers_are_those_of_the_settings_and_of_the_contract() -> None:
    codes = re.findall(r"`(\w+)`", (DOCS / "wire.md").read_text().split("| `error.code` | when |")[1].split("\n\n")[0])
    codes = [code for code in codes if "_" in code or code == "timeout"]

    assert f"{settings.MAX_BATCH_LINES:,} lines, {settings.MAX_BATCH_BYTES // MB} MB" in PAGE
    assert f"{settings.MAX_LINE_BYTES // MB} MB a line; {settings.MAX_UPLOAD_BYTES // MB} MB in one upload" in PAGE
    assert f"any object up to {MOST_METADATA_BYTES // 1024} KB" in PAGE
    assert f"up to {WORDS[settings.INFERENCE_MAX_ATTEMPTS - 4]} times" in PAGE
    assert f"one of {WORDS[len(codes) - 4]} codes" in PAGE
    assert set(codes) == EVERY
