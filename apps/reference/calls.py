"""The OpenAPI document as the reference page shows it."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

METHODS = ("get", "post", "delete")


@dataclass(frozen=True)
class Member:
    """A parameter, or a member of an object; those of inner objects have dotted names."""

    name: str
    type: str
    required: bool
    description: str
    component: str = ""
    """The object that it holds, or holds a list of, if the page describes it elsewhere."""


@dataclass(frozen=True)
class Answer:
    """One status, with what comes with it."""

    status: str
    description: str
    type: str
    component: str
    codes: list[str]
    """The errors' codes that it comes with."""


@dataclass(frozen=True)
class Call:
    """One method of one path."""

    id: str
    method: str
    path: str
    summary: str
    description: str
    group: str
    parameters: list[Member]
    body_type: str
    body: list[Member]
    answers: list[Answer]


def calls(document: Mapping[str, Any]) -> list[Call]:
    """All calls, in the document's order."""
    return [
        _call(method, path, operation)
        for path, operations in document["paths"].items()
        for method, operation in operations.items()
        if method in METHODS
    ]


def objects(document: Mapping[str, Any]) -> dict[str, list[Member]]:
    """The members of each object that calls answer with, by its name."""
    return {name: list(_members(schema)) for name, schema in document["components"]["schemas"].items()}


def _call(method: str, path: str, operation: Mapping[str, Any]) -> Call:
    body_type, body = _content(operation.get("requestBody", {}))
    return Call(
        id=operation["operationId"],
        method=method.upper(),
        path=path,
        summary=operation["summary"],
        description=operation.get("description", ""),
        group=operation["tags"][0],
        parameters=[
            Member(f"{each['name']} ({each['in']})", kind_of(each["schema"]), each.get("required", False), _text(each))
            for each in operation.get("parameters", [])
        ],
        body_type=body_type,
        body=list(_members(body)),
        answers=[_answer(status, each) for status, each in operation["responses"].items()],
    )


def _answer(status: str, response: Mapping[str, Any]) -> Answer:
    kind, schema = _content(response)
    listed = schema.get("properties", {}).get("data", {}).get("items", {})
    component = _component(schema) or _component(listed)
    shown = f"list of {component}" if component and listed else component or kind
    return Answer(status, response["description"], shown, component, _codes(response))


def _codes(response: Mapping[str, Any]) -> list[str]:
    examples = [each for body in response.get("content", {}).values() for each in body.get("examples", {}).values()]
    errors = [each["value"]["error"] for each in examples if "error" in each["value"]]
    return list(dict.fromkeys(error["code"] for error in errors))


def _content(described: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    """Media type and schema of a body or an answer; there is at most one."""
    for kind, each in described.get("content", {}).items():
        return kind, each["schema"]
    return "", {}


def _members(schema: Mapping[str, Any], prefix: str = "", *, required: bool = True) -> Iterator[Member]:
    for name, inner in schema.get("properties", {}).items():
        needed = required and name in schema.get("required", ())
        component = _component(inner) or _component(inner.get("items", {}))
        yield Member(prefix + name, kind_of(inner), needed, _text(inner), component)
        for each in (inner, inner.get("items", {}), *inner.get("anyOf", ())):
            yield from _members(each, f"{prefix}{name}.", required=needed and each is inner)


def kind_of(schema: Mapping[str, Any]) -> str:
    """A JSON Schema in a few words: `string or null`, `"asc" or "desc"`, `list of File`."""
    if component := _component(schema):
        return component
    if values := schema.get("enum", [schema["const"]] if "const" in schema else []):
        return " or ".join(map(_literal, values))
    if "anyOf" in schema:
        return " or ".join(dict.fromkeys(map(kind_of, schema["anyOf"])))
    if schema.get("type") == "array":
        return f"list of {kind_of(schema['items'])}"
    kinds = "file" if schema.get("format") == "binary" else schema.get("type", "any")
    return " or ".join([kinds] if isinstance(kinds, str) else kinds) + _bounds(schema)


def _bounds(schema: Mapping[str, Any]) -> str:
    if {"minimum", "maximum"} <= set(schema):
        return f", {schema['minimum']:,} to {schema['maximum']:,}"
    return f", at least {schema['minimum']:,}" if schema.get("minimum") else ""


def _literal(value: Any) -> str:
    if isinstance(value, list):
        return ", ".join(map(_literal, value))
    return f'"{value}"' if isinstance(value, str) else {None: "null", True: "true"}.get(value, str(value))


def _component(schema: Mapping[str, Any]) -> str:
    return str(schema.get("$ref", "")).rpartition("/")[2]


def _text(schema: Mapping[str, Any]) -> str:
    default = f" Default: {_literal(schema['default'])}." if "default" in schema else ""
    inner = schema.get("schema", {})
    default = default or (f" Default: {_literal(inner['default'])}." if "default" in inner else "")
    return f"{schema.get('description', '')}{default}".strip()
