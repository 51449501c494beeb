"""Error bodies: every dialect read, nothing in them can break the error file."""

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from apps.inference.faults import Fault, clean, read_fault


@pytest.mark.parametrize(
    ("body", "fault"),
    [
        (
            b'{"error": {"message": "No", "type": "bad", "param": "model", "code": "nope"}}',
            Fault("No", "model", "nope", "bad"),
        ),
        (b'{"error": {"message": "No", "type": "BadRequestError", "code": 400}}', Fault("No", type="BadRequestError")),
        (b'{"error": "No"}', Fault("No")),
        (b'{"object": "error", "message": "No", "param": null, "code": 400}', Fault("No")),
        (b'{"error": null, "message": "No"}', Fault("No")),
        (b'{"detail": "Not Found"}', Fault("Not Found")),
        (
            b'{"detail": [{"loc": ["body", "messages", 0], "msg": "Field required"}, {"msg": "No"}]}',
            Fault("messages.0: Field required; : No", "messages.0"),
        ),
        (b'{"detail": [1, 2]}', Fault()),
        (b'{"error": {"message": {"deep": 1}, "param": 3}}', Fault()),
        (b'{"error": {"message": "  "}}', Fault()),
        (b'{"error": {"message": "cut \\ud83d"}}', Fault("cut ?")),
        (b"<html>", Fault()),
        (b"", Fault()),
        (b"[1]", Fault()),
    ],
)
def test_it_reads_every_dialect(body: bytes, fault: Fault) -> None:
    assert read_fault(body) == fault


def test_messages_are_capped() -> None:
    assert read_fault(orjson.dumps({"error": {"message": "x" * 5_000}})).message == "x" * 2_000


TEXT = st.text(st.characters(categories=None), max_size=3)  # surrogates included


@given(TEXT, st.integers(1, 3))
def test_cleaned_text_can_always_be_written(text: str, limit: int) -> None:
    assert len(clean(text, limit)) <= limit
    orjson.dumps(clean(text, limit))
