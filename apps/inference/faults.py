"""What an upstream's error answer says, whichever dialect it says it in, and the line's error code that follows."""

from typing import Any, NamedTuple

from apps.inference.documents import parse_object

MESSAGE_LIMIT = 2_000
PARAM_LIMIT = 256

# Conflict, too early, timeout and too many requests say nothing against the line itself.
NOT_THE_LINE = frozenset({408, 409, 425, 429})

CODES = {
    401: "authentication_error",
    402: "insufficient_quota",
    403: "authentication_error",
    404: "not_found_error",
    413: "request_too_large",
}


class Fault(NamedTuple):
    """An error body's content, made safe for JSON and capped. All None when the body was not one we can read."""

    message: str | None = None
    param: str | None = None
    code: str | None = None
    type: str | None = None


def read_fault(body: bytes) -> Fault:
    """Read `{"error": {…}}` (OpenAI), `{"error": "…"}`, `{"message": …}` (older vLLM) or `{"detail": …}` (FastAPI)."""
    document = parse_object(body)
    if document is None:
        return Fault()
    error = document.get("error")
    if isinstance(error, dict):
        return _read_fields(error)
    if isinstance(error, str):
        return Fault(message=_text(error))
    if "message" in document:
        return _read_fields(document)
    return _read_detail(document.get("detail"))


def line_fault_code(status: int, fault: Fault) -> str | None:
    """The `error.code` of wire.md §8 when a 4xx is the line's own fault; None when asking again may help."""
    if _is_context_overflow(fault):
        return "context_length_exceeded"
    if status == 429 and "insufficient_quota" in (fault.code, fault.type):
        return "insufficient_quota"
    if status in NOT_THE_LINE:
        return None
    return CODES.get(status, "invalid_request_error")


def clean(text: str, limit: int) -> str:
    """At most `limit` characters, with what UTF-8 cannot carry (lone surrogates) replaced by `?`."""
    text = text[:limit]
    return text if text.isascii() else text.encode("utf-8", "replace").decode("utf-8")


def _is_context_overflow(fault: Fault) -> bool:
    return (
        fault.code == "context_length_exceeded"
        or fault.type == "exceed_context_size_error"  # llama.cpp
        or "maximum context length" in (fault.message or "")  # vLLM
    )


def _read_fields(error: dict[str, Any]) -> Fault:
    return Fault(
        message=_text(error.get("message")),
        param=_text(error.get("param"), PARAM_LIMIT),
        code=_text(error.get("code")),
        type=_text(error.get("type")),
    )


def _read_detail(detail: object) -> Fault:
    """FastAPI's detail is a text, or a list of `{"loc": ["body", "messages"], "msg": "Field required"}`."""
    if isinstance(detail, str):
        return Fault(message=_text(detail))
    problems = [problem for problem in detail if isinstance(problem, dict)] if isinstance(detail, list) else []
    places = [_place(problem.get("loc")) for problem in problems]
    texts = [f"{place}: {problem.get('msg')}" for place, problem in zip(places, problems, strict=True)]
    return Fault(
        message=_text("; ".join(texts)),
        param=_text(places[0], PARAM_LIMIT) if places else None,
    )


def _place(loc: object) -> str:
    steps = [str(step) for step in loc] if isinstance(loc, list) else []
    return ".".join(steps[1:] if steps[:1] == ["body"] else steps)


def _text(value: object, limit: int = MESSAGE_LIMIT) -> str | None:
    """`value` if it is a text with something in it; a number (vLLM's `"code": 400`) or an object is not one."""
    return clean(value, limit) if isinstance(value, str) and value.strip() else None
