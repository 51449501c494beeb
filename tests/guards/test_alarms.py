"""Alarms and dashboards ask for metrics that exist, and each alarm has a paragraph that says what to do."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import promql_parser
import pytest
import yaml

from apps.observability import metrics

ROOT = Path(__file__).resolve().parents[2]
OPERATIONS = (ROOT / "docs" / "operations.md").read_text()
RULES: list[dict[str, Any]] = [
    rule
    for group in yaml.safe_load((ROOT / "docker" / "prometheus" / "rules.yml").read_text())["groups"]
    for rule in group["rules"]
]
DASHBOARDS = sorted((ROOT / "docker" / "grafana" / "dashboards").glob("*.json"))
PANELS: list[dict[str, Any]] = [panel for path in DASHBOARDS for panel in json.loads(path.read_text())["panels"]]
EXPRESSIONS = [rule["expr"] for rule in RULES] + [target["expr"] for panel in PANELS for target in panel["targets"]]

OTHERS = {"process_start_time_seconds", "process_resident_memory_bytes", "process_cpu_seconds_total"}
"""Told by prometheus_client itself."""
SCRAPED = {"job", "instance", "process", "le"}
"""Labels that come with the scrape or with a histogram."""


def nodes(node: Any) -> Iterator[Any]:
    """The node and all below it."""
    yield node
    below = [getattr(node, name, None) for name in ("lhs", "rhs", "expr", "vector_selector")]
    for child in [*below, *(node.args if isinstance(node, promql_parser.Call) else [])]:
        if child is not None:
            yield from nodes(child)


def labels_of(name: str) -> dict[str, metrics.Label]:
    """Of a metric as an expression names it; fails if it is not declared."""
    plain = re.sub("_(bucket|count|sum)$", "", name).removeprefix(metrics.PREFIX)
    assert name in OTHERS or plain in metrics.declared, f"{name} is not declared"
    return {} if name in OTHERS else metrics.declared[plain][1]


@pytest.mark.parametrize("expression", EXPRESSIONS, ids=lambda text: text[:60])
def test_every_expression_asks_for_declared_metrics_labels_and_values(expression: str) -> None:
    known: dict[str, metrics.Label] = {}
    for node in nodes(promql_parser.parse(expression)):
        if not isinstance(node, promql_parser.VectorSelector):
            continue
        labels = labels_of(node.name or "")
        known |= labels
        for matcher in node.matchers.matchers:
            assert matcher.name in labels.keys() | SCRAPED, f"{node.name} has no label {matcher.name}"
            values = labels.get(matcher.name)
            assert values is None or set(matcher.value.split("|")) <= set(values), f"{matcher.name}={matcher.value}"
    by = {
        label
        for node in nodes(promql_parser.parse(expression))
        if isinstance(node, promql_parser.AggregateExpr) and node.modifier
        for label in node.modifier.labels
    }
    assert by <= known.keys() | SCRAPED


def test_every_metric_is_on_a_dashboard() -> None:
    """One that nobody looks at is not worth its cost."""
    shown = " ".join(target["expr"] for panel in PANELS for target in panel["targets"])
    assert [name for name in metrics.declared if f"{metrics.PREFIX}{name}" not in shown] == []


def test_panels_have_ids_and_places_of_their_own() -> None:
    assert len({panel["id"] for panel in PANELS}) == len(PANELS)
    assert len({(panel["gridPos"]["x"], panel["gridPos"]["y"]) for panel in PANELS}) == len(PANELS)


def paragraphs() -> dict[str, str]:
    """Anchor, as GitHub makes it of a heading → the text below it."""
    parts = re.split(r"^#{2,4} (.+)$", OPERATIONS, flags=re.MULTILINE)[1:]
    return {_anchor(title): text for title, text in zip(parts[::2], parts[1::2], strict=True)}


def _anchor(heading: str) -> str:
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule["alert"])
def test_every_alarm_has_a_paragraph_that_names_it(rule: dict[str, Any]) -> None:
    page, _, anchor = rule["annotations"]["runbook"].partition("#")
    assert page == "docs/operations.md"
    assert f"`{rule['alert']}`" in paragraphs().get(anchor, ""), f"{rule['alert']} is not below #{anchor}"
    assert "**Do**" in paragraphs()[anchor]
    assert rule["labels"]["severity"] in {"page", "ticket"}


def test_every_alarm_that_the_page_names_exists() -> None:
    assert set(re.findall(r"ZeroBatch[A-Z]\w+", OPERATIONS)) == {rule["alert"] for rule in RULES}


def test_every_metric_is_documented_with_its_help() -> None:
    rows = dict(re.findall(r"^\| `(\w+)` \| [^|]+ \| [^|]+ \| (.+) \|$", OPERATIONS, re.MULTILINE))
    told = {name: text for name, text in rows.items() if name in metrics.declared}
    assert told == {name: text for name, (text, _) in metrics.declared.items()}


def test_nobody_else_makes_metrics() -> None:
    own = ROOT / "apps" / "observability" / "metrics.py"
    sources = [path for folder in ("apps", "zerobatch") for path in (ROOT / folder).rglob("*.py") if path != own]
    assert [str(path) for path in sources if re.search(r"(from|import) prometheus_client", path.read_text())] == []
