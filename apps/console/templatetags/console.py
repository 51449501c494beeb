"""Numbers and times as people read them."""

from datetime import datetime

from django import template
from django.utils import timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString

register = template.Library()

UNITS = (("d", 86_400), ("h", 3_600), ("min", 60), ("s", 1))


@register.filter
def duration(seconds: float | None) -> str:
    """`85` → `1 min 25 s`: the two largest units."""
    if seconds is None:
        return "–"
    if seconds < 10:
        return f"{seconds:.1f} s"
    rest, parts = round(seconds), []
    for name, size in UNITS:
        if rest >= size:
            parts.append(f"{rest // size} {name}")
            rest %= size
        elif parts:
            break
    return " ".join(parts[:2])


@register.filter
def about(seconds: float | None) -> str:
    """`1677` → `≈ 28 min`: a guess has no seconds."""
    if seconds is None:
        return "–"
    if seconds < 90:
        return f"≈ {max(round(seconds), 1)} s"
    return f"≈ {round(seconds / 60)} min" if seconds < 5_400 else f"≈ {seconds / 3_600:.1f} h"


@register.filter
def count(number: int) -> str:
    """`12345` → `12,345`."""
    return f"{number:,}"


@register.filter
def rate(per_second: float) -> str:
    """Lines a second, or a minute when they are few."""
    if per_second >= 10:
        return f"{per_second:,.0f}/s"
    return f"{per_second:.1f}/s" if per_second >= 1 else f"{per_second * 60:.1f}/min"


@register.filter
def percent(number: float) -> str:
    """With one decimal, as SVG attributes take it."""
    return f"{number:.1f}%"


@register.filter
def clock(moment: datetime) -> SafeString:
    """A `<time>`: the hour today, the day otherwise, with all of it in its title."""
    moment = moment.astimezone(timezone.get_current_timezone())
    is_today = moment.date() == timezone.localdate()
    shown = moment.strftime("%H:%M:%S") if is_today else moment.strftime("%-d %b %Y %H:%M")
    whole = moment.strftime("%Y-%m-%d %H:%M:%S UTC")
    return format_html('<time datetime="{}" title="{}">{}</time>', moment.isoformat(), whole, shown)


@register.filter
def ago(moment: datetime) -> str:
    """`3 min ago`."""
    seconds = (timezone.now() - moment).total_seconds()
    return "just now" if seconds < 60 else f"{_largest(seconds)} ago"


@register.filter
def until(moment: datetime) -> str:
    """`in 3 days`, from now on."""
    return f"in {_largest(max((moment - timezone.now()).total_seconds(), 0))}"


def _largest(seconds: float) -> str:
    for name, size in UNITS:
        if seconds >= size:
            return f"{int(seconds // size)} {name}"
    return "0 s"
