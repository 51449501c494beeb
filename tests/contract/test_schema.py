"""What the API reference says is what the server does: schemathesis asks it of the live stack.

A few examples a call here. A long look:

    SCHEMA_EXAMPLES=500 .venv/bin/python -m pytest tests/contract/test_schema.py
"""

import os
from typing import Any

import requests
import schemathesis
from hypothesis import HealthCheck, settings

from apps.reference.schema import document
from tests.stack import Stack

EXAMPLES = int(os.environ.get("SCHEMA_EXAMPLES", "8"))

searching = settings(
    max_examples=EXAMPLES,
    derandomize=True,
    deadline=None,
    database=None,
    suppress_health_check=list(HealthCheck),
)


api = schemathesis.openapi.from_dict(document())


def test_the_live_server_says_the_same_of_itself(stack: Stack) -> None:
    assert requests.get(f"{origin(stack)}/docs/openapi.json", timeout=10).json() == document()


@api.parametrize()
@searching
def test_with_a_key(case: Any, stack: Stack) -> None:
    case.call_and_validate(base_url=origin(stack), headers={"x-api-key": stack.api_key})


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
