"""What a key may do (wire.md §1): each call has a scope, in the API and in a session of the console."""

import re
from typing import Any

import pytest
from django.core.management import call_command
from django.db import connection
from django.test import Client
from django.urls import get_resolver
from rest_framework.test import APIClient

from apps.console.urls import urlpatterns
from apps.projects.models import ApiKey
from apps.projects.scopes import NEEDS, Scope, needed
from apps.reference.schema import document
from tests.conftest import Person, error_of, uploaded
from tests.integration.conftest import text_of
from tests.integration.test_console_access import PAGES, path_of, put_file

pytestmark = pytest.mark.django_db

METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE")
CALLS = [(route, method) for route, methods in NEEDS.items() for method in methods]


def client_of(person: Person, scope: Scope) -> APIClient:
    _, secret = ApiKey.objects.create_for(person.project, scope=scope)
    client = APIClient(raise_request_exception=False)
    client.credentials(HTTP_X_API_KEY=secret)
    return client


def session_of(person: Person, scope: Scope) -> Client:
    _, secret = ApiKey.objects.create_for(person.project, scope=scope)
    client = Client()
    assert client.post("/console/sign-in", {"api_key": secret}).status_code == 302
    return client


def test_every_call_says_which_scope_it_needs() -> None:
    """A view that is missing in NEEDS needs `admin`, which nobody has decided."""
    views: list[Any] = [
        (f"v1/{each.pattern}", each.callback.view_class)  # type: ignore[union-attr]
        for included in get_resolver().url_patterns
        if str(included.pattern) == "v1/"
        for each in included.url_patterns  # type: ignore[union-attr]
    ]

    assert {(route, method) for route, view in views for method in METHODS if hasattr(view, method.lower())} == set(
        CALLS
    )
    assert all(method == "GET" for route, method in CALLS if NEEDS[route][method] is Scope.READ_ONLY)
    assert needed("v1/something/new", "GET") is Scope.ADMIN


@pytest.mark.parametrize("scope", Scope)
def test_a_key_makes_the_calls_that_its_scope_covers_and_no_others(alice: Person, scope: Scope) -> None:
    client = client_of(alice, scope)

    for route, method in CALLS:
        response = client.generic(method, "/" + re.sub("<[^>]+>", "no_such_thing", route))
        refusal = error_of(response) if response.status_code == 403 else None
        if scope.includes(NEEDS[route][method]):
            assert refusal is None, route
        else:
            assert refusal == {
                "message": f'This needs a key with the scope "{NEEDS[route][method]}", and the scope of this one is '
                f'"{scope}"',
                "type": "authentication_error",
                "code": "insufficient_scope",
                "param": None,
            }, route


def test_a_head_is_a_get_and_a_wrong_method_is_a_405_for_every_key(alice: Person) -> None:
    client = client_of(alice, Scope.READ_ONLY)

    assert client.head("/v1/batches").status_code == 200
    assert client.put("/v1/batches").status_code == 405


def test_a_file_stays_if_the_key_may_not_delete_it(alice: Person) -> None:
    file_id = uploaded(alice, b"{}")

    assert client_of(alice, Scope.READ_ONLY).delete(f"/v1/files/{file_id}").status_code == 403
    assert alice.client.get(f"/v1/files/{file_id}").status_code == 200


def test_the_reference_says_what_a_call_needs() -> None:
    said = {
        operation["security"][0]["ApiKey"][0]: "insufficient_scope" in str(operation["responses"]["403"])
        for operations in document()["paths"].values()
        for operation in operations.values()
    }

    assert said == {Scope.READ_ONLY: False, Scope.SUBMIT: True, Scope.ADMIN: True}


def test_new_keys_may_do_everything_unless_told(alice: Person, capsys: pytest.CaptureFixture[str]) -> None:
    assert alice.key.scope == Scope.ADMIN
    with connection.cursor() as cursor:  # as the previous release does it
        columns = "name, prefix, secret_hash, created_at, project_id"
        cursor.execute(
            f"INSERT INTO projects_apikey ({columns}) VALUES ('old', 'x', 'x', now(), %s) RETURNING scope",
            [alice.project.pk],
        )
        assert cursor.fetchone() == ("admin",)

    call_command("create_api_key", str(alice.project.pk), "--scope", "read-only")

    made = ApiKey.objects.verify(capsys.readouterr().out.strip())
    assert made is not None
    assert made.scope == Scope.READ_ONLY


def test_a_member_chooses_what_a_new_key_may_do(member: Client, alice: Person) -> None:
    member.post("/console/keys", {"name": "reports", "days": "", "scope": "read-only"})

    assert ApiKey.objects.get(name="reports").scope == Scope.READ_ONLY
    assert '<td data-label="Scope">read-only</td>' in text_of(member, "/console/keys")
    assert member.post("/console/keys", {"name": "odd", "scope": "everything"}).status_code == 400


@pytest.mark.parametrize("scope", [Scope.READ_ONLY, Scope.SUBMIT])
def test_a_session_may_do_what_its_key_may(alice: Person, scope: Scope) -> None:
    client = session_of(alice, scope)
    open_to_submit = {"create", "cancel", "retry", "delete"}

    for page in PAGES:
        assert client.get(page).status_code == 200, page
    for route in urlpatterns:
        if route.name in {"sign_in", "sign_out", "upload"}:
            continue
        status = client.post(path_of(route, "no_such_thing")).status_code
        is_open = scope is Scope.SUBMIT and route.name in open_to_submit
        assert status in ({404, 400} if is_open else {403, 405}), route.name
    assert put_file(client, b"{}").status_code == (200 if scope is Scope.SUBMIT else 403)
