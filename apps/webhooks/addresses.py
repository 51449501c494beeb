"""Which URLs we send to: public addresses only, so that nobody has us call what only our network reaches (SSRF).

A URL is read by one strict expression, its name is looked up once, every address that comes back is judged, and `post`
connects to the one that was judged. So neither a second opinion of what the URL means nor a second answer of the DNS
can lead elsewhere.
"""

import re
import socket
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from typing import NamedTuple

from django.conf import settings

MOST_URL_CHARACTERS = 2_000
MOST_NAME_CHARACTERS = 253
DEFAULT_PORTS = {"http": 80, "https": 443}
LEAST_OTHER_PORT = 1024

# ASCII throughout: other digits and dots, which some parsers fold to ours, do not match.
_URL = re.compile(
    r"(?P<scheme>https?)://(?P<host>\[[0-9a-f:.]+\]|[0-9a-z.-]+)(?::(?P<port>[0-9]{1,5}))?(?P<rest>[/?][!-~]*)?",
    re.IGNORECASE | re.ASCII,
)
_LABEL = re.compile(r"(?!-)[0-9a-z-]{1,63}(?<!-)", re.IGNORECASE | re.ASCII)
_NUMBER = re.compile(r"[0-9]+|0x[0-9a-f]*", re.IGNORECASE | re.ASCII)

Address = IPv4Address | IPv6Address

# IANA's special-purpose registry, the old 6to4 relays, and the address at which Azure's machines find their host.
REFUSED_4 = [
    IPv4Network(text)
    for text in (
        "0.0.0.0/8",
        "10.0.0.0/8",
        "100.64.0.0/10",
        "127.0.0.0/8",
        "168.63.129.16/32",
        "169.254.0.0/16",
        "172.16.0.0/12",
        "192.0.0.0/24",
        "192.0.2.0/24",
        "192.88.99.0/24",
        "192.168.0.0/16",
        "198.18.0.0/15",
        "198.51.100.0/24",
        "203.0.113.0/24",
        "224.0.0.0/4",
        "240.0.0.0/4",
    )
]
GLOBAL_6 = IPv6Network("2000::/3")
"""All that is routed. Outside lie loopback, link-local, private, multicast, and IPv4 mapped or behind NAT64."""
# Inside it: protocols' own with Teredo, documentation, and 6to4, whose addresses contain IPv4 ones.
REFUSED_6 = [IPv6Network(text) for text in ("2001::/23", "2001:db8::/32", "2002::/16", "3fff::/20")]


class Refused(Exception):
    """The URL may not be called; the message says why, to the endpoint's owner, and nothing about our network."""


class Target(NamedTuple):
    """Where a request goes: `address` is connected to, `host` is what TLS and the Host header name."""

    scheme: str
    host: str
    port: int
    address: str

    @property
    def authority(self) -> str:
        """The Host header."""
        shown = f"[{self.host}]" if ":" in self.host else self.host
        return shown if self.port == DEFAULT_PORTS[self.scheme] else f"{shown}:{self.port}"


def lookup(host: str) -> list[str]:
    """The addresses of a name, IPv4 first: in many containers IPv6 leads nowhere. Raises OSError, UnicodeError."""
    found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    return sorted(dict.fromkeys(str(entry[4][0]) for entry in found), key=lambda address: ":" in address)


def resolve(url: str, turn: int = 0) -> Target:
    """Where to connect for `url`; with several addresses, another one on each `turn`. Raises Refused.

    One bad address among them spoils all: no honest name has both. Looks the name up, which takes as long as the
    system's resolver lets it.
    """
    scheme, host, port = _parse(url)
    try:
        addresses = [ip_address(text) for text in ([host] if _is_literal(host) else lookup(host))]
    except (OSError, ValueError):  # UnicodeError is one
        addresses = []
    if not addresses or not all(map(_may_be_called, addresses)):
        # One sentence for both, or it would tell which names exist in our network.
        raise Refused("The URL's host must have an address, and public ones only")
    if scheme == "http" and not all(map(_is_allowed, addresses)):
        raise Refused("The URL must begin with https://")
    return Target(scheme, host, port, str(addresses[turn % len(addresses)]))


def _parse(url: str) -> tuple[str, str, int]:
    """Scheme, host (without brackets) and port. Raises Refused."""
    if len(url) > MOST_URL_CHARACTERS:
        raise Refused(f"The URL must have at most {MOST_URL_CHARACTERS} characters")
    if "@" in url.split("?", maxsplit=1)[0].partition("://")[2].partition("/")[0]:
        raise Refused("The URL must not hold a user or password")
    match = _URL.fullmatch(url)
    if match is None or "\\" in url or "#" in url:
        raise Refused(
            "The URL must be such as https://example.com/hooks: a plain host, in ASCII (xn-- for others), without "
            "blanks, backslashes or a fragment (#)"
        )
    scheme, host = match["scheme"].lower(), match["host"].lower()
    if host.startswith("["):
        host = host[1:-1]
    if not (_is_literal(host) or _is_name(host)):
        raise Refused("The URL's host must be a name, or an address in its usual form")
    port = int(match["port"]) if match["port"] else DEFAULT_PORTS[scheme]
    if port not in DEFAULT_PORTS.values() and not LEAST_OTHER_PORT <= port <= 65_535:
        raise Refused(f"The URL's port must be 443, or from {LEAST_OTHER_PORT} to 65535")
    return scheme, host, port


def _is_literal(host: str) -> bool:
    """An address as the standard writes it: four decimal numbers without leading zeros, or IPv6 without a zone."""
    try:
        ip_address(host)
    except ValueError:
        return False
    return True


def _is_name(host: str) -> bool:
    """Labels that DNS could carry. One that ends in a number would be an address in disguise (127.1, 0x7f000001)."""
    labels = host.split(".")
    fits = len(host) <= MOST_NAME_CHARACTERS and all(map(_LABEL.fullmatch, labels))
    return fits and not _NUMBER.fullmatch(labels[-1])


def _may_be_called(address: Address) -> bool:
    return _is_allowed(address) or _is_public(address)


def _is_allowed(address: Address) -> bool:
    """In a network that the operator has allowed."""
    return any(address in network for network in settings.WEBHOOK_ALLOWED_NETWORKS)


def _is_public(address: Address) -> bool:
    if isinstance(address, IPv4Address):
        return not any(address in network for network in REFUSED_4)
    return address in GLOBAL_6 and not any(address in network for network in REFUSED_6)
