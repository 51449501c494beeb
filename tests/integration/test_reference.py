"""The API reference: complete, right, and open to everybody."""

import re
import subprocess
import sys
from typing import Any

import pytest
from django.test import Client
from django.urls import get_resolver
from drf_spectacular.drainage import GENERATOR_STATS

from apps.reference.calls import calls, kind_of
from apps.reference.schema import document
from tests.conftest import Person, create_batch, line, uploaded
from tests.guards.test_docs import ROOT
from tests.integration.conftest import new_batch

PARAMETER = re.compile(r"<\w+:(\w+)>")
ERROR_ROW = re.compile(r"^\| ([45]\d\d) \| (.+?) \|", re.MULTILINE)
CALL = re.compile(r"^\| `(GET|POST|DELETE) (/v1/[^`]+)` \|", re.MULTILINE)


def test_every_path_of_the_api_is_in_it() -> None:
    routes = {
        f"/{prefix.pattern}{each.pattern}"
        for prefix in get_resolver().url_patterns
        if str(prefix.pattern) == "v1/"
        for each in prefix.url_patterns  # type: ignore[union-attr]
    }
    assert len(routes) >= 6

    assert set(document()["paths"]) == {PARAMETER.sub(r"{\1}", route) for route in routes}


def test_it_is_made_without_a_warning() -> None:
    document.cache_clear()
    with GENERATOR_STATS.silence():
        document()
        assert not GENERATOR_STATS

    assert document()["openapi"].startswith("3.1")


def test_its_errors_are_those_of_the_contract() -> None:
    """wire.md §2; 401 and 403 stand in its §1, an unknown path and a wrong method are nobody's call."""
    written = {
        (int(status), code)
        for status, codes in ERROR_ROW.findall((ROOT / "docs" / "wire.md").read_text())
        for code in re.findall(r"`(\w+)`", codes)
    }
    nobodys = {(404, "not_found"), (405, "method_not_allowed")}
    assert nobodys < written

    described = {
        (int(answer.status), code) for call in calls(document()) for answer in call.answers for code in answer.codes
    }

    assert {(status, code) for status, code in described if status not in {401, 403}} == written - nobodys
    assert {(401, "missing_api_key"), (403, "invalid_credentials")} < described


def test_its_calls_are_those_of_the_contract() -> None:
    written = set(CALL.findall((ROOT / "docs" / "wire.md").read_text()))
    assert len(written) >= 8

    described = {(call.method, re.sub(r"\{\w+\}", "{id}", call.path)) for call in calls(document())}

    assert written | {("POST", "/v1/batches")} == described  # §6 is about creating one, all of it


def test_every_error_is_shown_with_a_body_of_its_own() -> None:
    """None is described in words alone: what a client would have to know of it is in the example."""
    errors = [answer for call in calls(document()) for answer in call.answers if answer.status >= "400"]

    assert len(errors) > 40
    assert all(answer.codes for answer in errors)


def test_nobody_pays_for_it_who_does_not_ask() -> None:
    """drf-spectacular takes a tenth of a second to load, in every process that looks at the URLconf."""
    look = "import sys, zerobatch.wsgi, zerobatch.urls; sys.exit('drf_spectacular' in sys.modules)"

    assert subprocess.run([sys.executable, "-c", look], cwd=ROOT, env={"SECRET_KEY": "x"}, check=False).returncode == 0


def test_it_names_every_member_of_the_objects(alice: Person) -> None:
    batch = new_batch(alice, [line()])
    shown = alice.client.get(f"/v1/batches/{batch.pk}").json()
    file = alice.client.get(f"/v1/files/{batch.input_file_id}").json()
    schemas = document()["components"]["schemas"]

    assert set(schemas["Batch"]["properties"]) == set(shown)
    assert set(schemas["File"]["properties"]) == {*file, "is_error"}


def test_either_header_opens_every_call() -> None:
    operations = [each for path in document()["paths"].values() for each in path.values()]

    assert all([list(each) for each in operation["security"]] == [["ApiKey"], ["Bearer"]] for operation in operations)


@pytest.mark.django_db
def test_the_page_needs_no_key_and_has_every_call(client: Client) -> None:
    response = client.get("/docs")

    text = response.content.decode()
    assert "script-src 'self';" in response["Content-Security-Policy"]
    assert "unsafe" not in response["Content-Security-Policy"]
    for call in calls(document()):
        assert f'id="{call.id}"' in text


@pytest.mark.django_db
def test_the_example_is_an_input_that_is_accepted(alice: Person) -> None:
    example = alice.client.get("/docs/example.jsonl?model=mine").content
    lines = [each for each in example.splitlines() if b'"model":"mine"' in each]
    assert len(lines) == 3

    assert create_batch(alice, uploaded(alice, example)).status_code == 200


@pytest.mark.parametrize(
    ("schema", "said"),
    [
        ({"$ref": "#/components/schemas/File"}, "File"),
        ({"type": "array", "items": {"$ref": "#/components/schemas/File"}}, "list of File"),
        ({"enum": ["asc", None]}, '"asc" or null'),
        ({"type": ["string", "null"]}, "string or null"),
        ({"type": "integer", "minimum": 1, "maximum": 9_000}, "integer, 1 to 9,000"),
    ],
)
def test_types_in_a_few_words(schema: dict[str, Any], said: str) -> None:
    assert kind_of(schema) == said
