"""What an upstream's fields may hold; each raises ValidationError with what is wrong and never repeats a secret."""

from urllib.parse import SplitResult, urlsplit

from django.core.exceptions import ValidationError

MAX_PATTERNS = 100
MAX_PATTERN_LENGTH = 256


def validate_base_url(url: str) -> None:
    """http or https, a host, perhaps a port and a path; no user, query or fragment.

    The URL is shown in lists and logs, so it is no place for a password; paths are appended to it (`Upstream.url`), so
    nothing may come after its path.
    """
    if any(character.isspace() or not character.isprintable() for character in url):
        raise ValidationError("The base URL must not contain blanks.")
    parts = _split(url)
    if parts.scheme not in {"http", "https"}:
        raise ValidationError("The base URL must begin with http:// or https://, such as http://gpu-host:8000/v1.")
    if not parts.hostname:
        raise ValidationError("The base URL needs a host, such as http://gpu-host:8000/v1.")
    if "@" in parts.netloc:
        raise ValidationError("The base URL must not hold a user or password; the API key has a field of its own.")
    if "?" in url or "#" in url:
        raise ValidationError("The base URL must not have a query (?) or fragment (#).")
    if parts.path.rstrip("/").endswith("/completions"):
        raise ValidationError("Give the base URL only, up to /v1; the endpoint's path comes from each line.")


def _split(url: str) -> SplitResult:
    """The URL's parts, with a port that is a number and a host whose labels DNS could carry."""
    try:
        parts = urlsplit(url)
        _ = parts.port
        (parts.hostname or "").encode("idna")
    except ValueError:  # UnicodeError is one
        raise ValidationError("The base URL is not a URL that can be asked: look at its host and port.") from None
    return parts


def validate_api_key(key: str) -> None:
    """Text that an HTTP header can carry after `Bearer `."""
    if not (key.isascii() and key.isprintable()) or " " in key:
        raise ValidationError("An API key is made of ASCII letters, digits and signs, without blanks or line breaks.")


def validate_patterns(text: str) -> None:
    """At least one glob, one a line. Blanks and commas are refused: who writes them means several patterns."""
    patterns = patterns_in(text)
    if not patterns:
        raise ValidationError("Give at least one pattern; * serves every model.")
    if len(patterns) > MAX_PATTERNS:
        raise ValidationError(f"Give at most {MAX_PATTERNS} patterns.")
    for pattern in patterns:
        if len(pattern) > MAX_PATTERN_LENGTH:
            raise ValidationError(f"A pattern has at most {MAX_PATTERN_LENGTH} characters.")
        if "," in pattern or not pattern.isprintable() or len(pattern.split()) > 1:
            raise ValidationError(
                "“%(pattern)s” has a blank or a comma: write one pattern a line. A ? matches any one character.",
                params={"pattern": pattern},
            )


def patterns_in(text: str) -> tuple[str, ...]:
    """The patterns of a text that holds one a line; blank lines and repetitions are dropped, the order is kept."""
    return tuple(dict.fromkeys(line.strip() for line in text.splitlines() if line.strip()))
