"""What the API reference says is what the server does: schemathesis asks it of the live stack.

A few examples a call here. A long look:

    SCHEMA_EXAMPLES=500 .venv/bin/python -m pytest tests/contract/test_schema.py
"""

import os
from typing import Any

import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, settings

from apps.reference.schema import document
from tests.conftest import jsonl, line
from tests.integration.conftest import ask
from tests.stack import Stack, finished, submit

EXAMPLES = int(os.environ.get("SCHEMA_EXAMPLES", "5"))

searching = settings(
    max_examples=EXAMPLES,
    derandomize=True,
    deadline=None,
    database=None,
    suppress_health_check=list(HealthCheck),
)


# No schema can say which URLs lead to public addresses, or who answers there; nor what an upload still takes, or with
# which codes a batch's lines have failed; nor which of two dates is the later one.
UNSAID = {
    "include-operation-id": [
        *("webhooks.create", "webhooks.update", "webhooks.test"),
        *("uploads.parts.create", "uploads.complete", "uploads.cancel", "batches.retry"),
        "usage.list",
    ],
    "checks": {"positive_data_acceptance": {"enabled": False}},
}

api = schemathesis.openapi.from_dict(document(), config=schemathesis.Config.from_dict({"operations": [UNSAID]}))
# A range may be well formed and lie behind the end of this file: 416 is no refusal of its form.
accepting = api.config.checks.positive_data_acceptance
accepting.expected_statuses = [*accepting.expected_statuses, "416"]
of_one_thing = api.include(path_regex=r"\{").include(operation_id="batches.create")
"""Calls that name something; made-up names get them no further than a 404."""


class Things:
    """What is there to be named: a batch that has ended, its files, an endpoint, and as many more as calls use up."""

    def __init__(self, stack: Stack) -> None:
        self.sdk = stack.sdk()
        self.project_id = stack.env["ZEROBATCH_PROJECT_ID"]
        self.batch = finished(self.sdk, submit(self.sdk, jsonl([line()])))
        self.failed = finished(self.sdk, submit(self.sdk, jsonl([ask("quota")])))
        self.endpoint_id = self._new_endpoint()

    def name_in(self, case: Any) -> None:
        """Has the case mean things that are there, and the key's project; whatever else it made up stays.

        A made-up project id is a 403 whatever else is right or wrong, so with one nothing else would be looked at.
        """
        if "x-project-id" in case.headers:
            case.headers = {**case.headers, "x-project-id": self.project_id}
        if case.path_parameters:
            is_retry = case.operation.path.endswith("/retry")
            case.path_parameters = {name: self._id(name, case.method, is_retry) for name in case.path_parameters}
        body = case.body
        if isinstance(body, dict) and isinstance(body.get("input_file_id"), str) and body["input_file_id"]:
            case.body = body | {"input_file_id": self.batch.input_file_id}

    def _id(self, name: str, method: str, is_retry: bool) -> str | None:
        if name == "batch_id" and is_retry:
            return self.failed.id
        if name == "batch_id":
            return submit(self.sdk, jsonl([line()])).id if method == "POST" else self.batch.id
        if name == "endpoint_id":
            return self._new_endpoint() if method == "DELETE" else self.endpoint_id
        if method == "DELETE":
            return self.sdk.files.create(file=("input.jsonl", b"{}"), purpose="batch").id
        return self.batch.output_file_id

    def _new_endpoint(self) -> str:
        url = "http://127.0.0.1:1025/"  # where nobody listens
        return self.sdk.webhooks.create(name="schema", url=url, event_types=["batch.failed"]).id


@pytest.fixture(scope="module")
def things(stack: Stack) -> Things:
    return Things(stack)


def test_the_live_server_says_the_same_of_itself(stack: Stack) -> None:
    assert requests.get(f"{origin(stack)}/docs/openapi.json", timeout=10).json() == document()


@api.parametrize()
@searching
def test_with_a_key(case: Any, stack: Stack) -> None:
    case.call_and_validate(base_url=origin(stack), headers={"x-api-key": stack.api_key})


@of_one_thing.parametrize()
@searching
def test_of_things_that_are_there(case: Any, stack: Stack, things: Things) -> None:
    things.name_in(case)

    case.call_and_validate(base_url=origin(stack), headers={"x-api-key": stack.api_key})


def test_what_one_call_gives_the_next_ones_take(stack: Stack) -> None:
    """Of a file or a batch that was made: it is there, and after a DELETE it is not."""

    class Journey(api.as_state_machine()):  # type: ignore[misc]
        def before_call(self, case: Any) -> None:
            for header in ("x-project-id", "Authorization"):  # made up: one is a 403, one counts for nothing
                case.headers.pop(header, None)

        def get_call_kwargs(self, case: Any) -> dict[str, Any]:
            return {"base_url": origin(stack), "headers": {"x-api-key": stack.api_key}}

        def validate_response(self, response: Any, case: Any, additional_checks: Any = (), **kwargs: Any) -> None:
            """As the base's, but the key is known to be right: `ignored_auth` would take it for a made-up one."""
            case.validate_response(response, headers=kwargs["headers"], transport_kwargs=kwargs, recorder=self.recorder)

    Journey.run(settings=settings(searching, stateful_step_count=6))


@api.parametrize()
@searching
def test_without_a_key(case: Any, stack: Stack) -> None:
    for header in ("x-api-key", "Authorization"):
        case.headers.pop(header, None)

    response = case.call(base_url=origin(stack))

    assert response.status_code == (204 if case.method == "OPTIONS" else 401)  # a browser's preflight sends no key
    case.validate_response(response)


def origin(stack: Stack) -> str:
    return stack.base_url.removesuffix("/v1")
