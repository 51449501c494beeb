"""Who may ask (wire.md §1), and what every response carries (wire.md §2)."""

from datetime import timedelta
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.db import OperationalError
from django.utils import timezone
from rest_framework.test import APIClient

from apps.projects.models import ApiKey, Project
from tests.conftest import Person, error_of

pytestmark = pytest.mark.django_db


def ask(**headers: Any) -> Any:
    return APIClient(raise_request_exception=False).get("/v1/batches", **headers)


def test_no_key_is_401() -> None:
    for response in (
        ask(),
        ask(HTTP_AUTHORIZATION="Basic abc"),
        ask(HTTP_AUTHORIZATION="Bearer "),
        ask(HTTP_X_API_KEY=""),
    ):
        assert response.status_code == 401
        assert error_of(response) == {
            "message": "Missing authentication headers",
            "type": "authentication_error",
            "code": "missing_api_key",
            "param": None,
        }


def test_a_key_opens_its_project(alice: Person) -> None:
    assert ask(HTTP_X_API_KEY=alice.secret).status_code == 200
    assert ask(HTTP_X_API_KEY=alice.secret, HTTP_X_PROJECT_ID=str(alice.project.id)).status_code == 200


def test_a_bearer_serves_only_without_an_api_key(alice: Person) -> None:
    assert ask(HTTP_AUTHORIZATION=f"Bearer {alice.secret}").status_code == 200
    assert ask(HTTP_X_API_KEY=alice.secret, HTTP_AUTHORIZATION="Bearer nonsense").status_code == 200
    assert ask(HTTP_X_API_KEY="nonsense", HTTP_AUTHORIZATION=f"Bearer {alice.secret}").status_code == 403


def test_whatever_is_wrong_with_a_key_looks_the_same(alice: Person, charlie: Person) -> None:
    revoked, revoked_text = ApiKey.objects.create_for(alice.project)
    ApiKey.objects.filter(pk=revoked.pk).update(revoked_at=timezone.now())
    expired, expired_text = ApiKey.objects.create_for(alice.project)
    ApiKey.objects.filter(pk=expired.pk).update(expires_at=timezone.now() - timedelta(seconds=1))
    Project.objects.filter(pk=charlie.project.pk).update(enabled=False)
    refused = [
        ask(HTTP_X_API_KEY="nonsense"),
        ask(HTTP_X_API_KEY="\x00\xff"),
        ask(HTTP_X_API_KEY="x" * 5_000),
        ask(HTTP_X_API_KEY=alice.secret[:-1] + "x"),
        ask(HTTP_X_API_KEY=revoked_text),
        ask(HTTP_X_API_KEY=expired_text),
        ask(HTTP_X_API_KEY=charlie.secret),
        ask(HTTP_X_API_KEY=alice.secret, HTTP_X_PROJECT_ID=str(charlie.project.id)),
        ask(HTTP_X_API_KEY=alice.secret, HTTP_X_PROJECT_ID="not-a-uuid"),
    ]

    assert {response.status_code for response in refused} == {403}
    assert len({response.content for response in refused}) == 1
    assert error_of(refused[0]) == {
        "message": "Invalid credentials",
        "type": "authentication_error",
        "code": "invalid_credentials",
        "param": None,
    }


def test_last_used_is_stamped_without_a_write_per_request(alice: Person, django_assert_num_queries: object) -> None:
    ask(HTTP_X_API_KEY=alice.secret)
    first = ApiKey.objects.get(pk=alice.key.pk).last_used_at
    ask(HTTP_X_API_KEY=alice.secret)

    assert first is not None
    assert ApiKey.objects.get(pk=alice.key.pk).last_used_at == first


def test_secrets_are_not_stored(alice: Person) -> None:
    row = ApiKey.objects.filter(pk=alice.key.pk).values().get()

    assert alice.secret.rpartition("_")[2] not in str(row)


def test_the_preflight_needs_no_key() -> None:
    response = APIClient().options(
        "/v1/batches", HTTP_ORIGIN="https://a.example", HTTP_ACCESS_CONTROL_REQUEST_METHOD="POST"
    )

    assert response.status_code == 204
    assert response["Access-Control-Allow-Origin"] == "*"
    assert response["x-request-id"].startswith("req_")


@pytest.mark.parametrize(
    "path", ["/files", "/v1", "/v1/", "/v2/files", "/v1/files/", "/v1/models", "/nowhere/%00", "/v1/files/a/b/c"]
)
def test_an_unknown_path_is_a_404_in_the_envelope(alice: Person, path: str) -> None:
    response = alice.client.get(path)

    assert response.status_code == 404
    assert error_of(response)["type"] == "invalid_request_error"
    assert response["x-request-id"].startswith("req_")


@pytest.mark.parametrize(
    ("method", "path"), [("put", "/v1/files"), ("patch", "/v1/batches/batch_x"), ("delete", "/v1/batches")]
)
def test_a_wrong_method_is_a_405_in_the_envelope(alice: Person, method: str, path: str) -> None:
    response = getattr(alice.client, method)(path)

    assert response.status_code == 405
    assert error_of(response)["code"] == "method_not_allowed"


def test_our_own_crash_is_a_500_in_the_envelope(alice: Person, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("apps.batches.views.batches_json", lambda _: 1 / 0)

    response = alice.client.get("/v1/batches")

    assert response.status_code == 500
    assert error_of(response)["type"] == "internal_error"
    assert "division" not in response.content.decode()
    assert response["x-request-id"].startswith("req_")


@pytest.mark.parametrize("accept", ["application/binary", "text/html", "nonsense", ""])
def test_the_answer_is_json_whatever_is_accepted(alice: Person, accept: str) -> None:
    assert alice.client.get("/v1/files", HTTP_ACCEPT=accept).json()["object"] == "list"


def test_every_request_has_an_id_of_its_own(alice: Person) -> None:
    ids = {alice.client.get("/v1/files")["x-request-id"] for _ in range(3)}

    assert len(ids) == 3


def test_the_commands_make_a_project_and_a_key(capsys: pytest.CaptureFixture[str]) -> None:
    call_command("create_project", "Research")
    project_id = capsys.readouterr().out.strip()
    call_command("create_api_key", project_id)
    by_id = capsys.readouterr().out.strip()
    call_command("create_api_key", "Research")
    by_name = capsys.readouterr().out.strip()

    call_command("create_project", "Development", "--with-key")
    other_id, with_it = capsys.readouterr().out.split()

    assert ask(HTTP_X_API_KEY=by_id, HTTP_X_PROJECT_ID=project_id).status_code == 200
    assert ask(HTTP_X_API_KEY=by_name).status_code == 200
    assert ask(HTTP_X_API_KEY=with_it, HTTP_X_PROJECT_ID=other_id).status_code == 200


def test_the_key_command_names_its_mistakes() -> None:
    with pytest.raises(CommandError, match="No project"):
        call_command("create_api_key", "nobody")
    call_command("create_project", "twice")
    call_command("create_project", "twice")
    with pytest.raises(CommandError, match="give the id"):
        call_command("create_api_key", "twice")


def test_health_needs_no_key() -> None:
    client = APIClient()

    assert client.get("/healthz").json() == {"status": "ok"}
    assert client.get("/readyz").json()["dependencies"] == {"postgres": "ok", "redis": "ok", "storage": "ok"}


def test_without_postgres_the_answer_is_503_in_the_envelope(alice: Person, monkeypatch: pytest.MonkeyPatch) -> None:
    def away(*_: Any) -> None:
        raise OperationalError("connection refused")

    monkeypatch.setattr(ApiKey.objects.__class__, "verify", away)

    response = alice.client.get("/v1/batches")

    assert response.status_code == 503
    assert response["Retry-After"] == "5"
    assert error_of(response)["type"] == "internal_error"
