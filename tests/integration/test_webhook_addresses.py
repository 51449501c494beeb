"""Nobody has us call what only our network reaches: refused when an endpoint is saved, and again at each delivery."""

import asyncio
import ssl
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import pytest
import trustme

from apps.webhooks import addresses, delivery, post
from apps.webhooks.addresses import Refused, resolve
from apps.webhooks.models import Delivery, EventType, WebhookEndpoint
from tests.conftest import Person, error_of
from tests.fakes.raw import Connection, RawServer, serving
from tests.fakes.receiver import Receiver
from tests.integration.test_webhooks import create, deliver, endpoint_of, happen

Lookup = Callable[[str], list[str]]

# Where the fake DNS leads. All other names go to the system's resolver, which knows localhost and nothing else here.
NAMES = {
    "public.test": ["8.8.8.8"],
    "private.test": ["10.1.2.3"],
    "both.test": ["8.8.8.8", "127.0.0.1"],
    "mapped.test": ["::ffff:127.0.0.1"],
    "scoped.test": ["fe80::1%eth0"],
    "nowhere.test": [],
}

FORMS = r"""
http://8.8.8.8/                            plain http to the outside
https://127.0.0.1:{port}/                  loopback
https://127.255.255.254:{port}/            loopback, at its other end
https://2130706433:{port}/                 one decimal number
https://0x7f000001:{port}/                 one hex number
https://017700000001:{port}/               one octal number
https://0177.0.0.1:{port}/                 octal
https://0x7f.0.0.1:{port}/                 hex
https://127.1:{port}/                      short
https://127.0.1:{port}/                    less short
https://127.0.0.1.:{port}/                 address with a trailing dot
https://0:{port}/                          zero
https://0.0.0.0:{port}/                    unspecified
https://localhost:{port}/                  name of loopback
https://LOCALHOST:{port}/                  in capitals
https://localhost.:{port}/                 with a trailing dot
https://private.test:{port}/               name of a private address
https://both.test:{port}/                  name of a public and a private address
https://mapped.test:{port}/                name of a mapped address
https://scoped.test:{port}/                name of a link-local address with a zone
https://nowhere.test/                      name without an address
https://10.0.0.1/                          private, 10/8
https://172.31.255.255/                    private, 172.16/12
https://192.168.1.1/                       private, 192.168/16
https://100.64.0.1/                        carrier-grade NAT
https://100.100.100.200/                   metadata in carrier-grade NAT
https://169.254.169.254/latest/meta-data/  metadata
https://168.63.129.16/                     metadata at a public address
https://192.0.0.192/                       metadata in IETF's protocol assignments
https://198.18.0.1/                        benchmarking
https://203.0.113.9/                       documentation
https://224.0.0.1/                         multicast
https://240.0.0.1/                         reserved
https://255.255.255.255/                   broadcast
https://[::1]:{port}/                      IPv6 loopback
https://[0:0:0:0:0:0:0:1]:{port}/          IPv6 loopback, long
https://[::]:{port}/                       IPv6 unspecified
https://[::ffff:127.0.0.1]:{port}/         IPv4-mapped
https://[::ffff:7f00:1]:{port}/            IPv4-mapped, in hex
https://[::127.0.0.1]:{port}/              IPv4-compatible
https://[64:ff9b::7f00:1]/                 NAT64
https://[64:ff9b:1::7f00:1]/               NAT64, local use
https://[2002:7f00:1::]/                   6to4
https://[2001:0:4136:e378:8000:63bf:3fff:fdd2]/  Teredo
https://[fe80::1]/                         link-local
https://[fe80::1%25eth0]/                  link-local with a zone
https://[fe80::1%eth0]/                    the same, raw
https://[fec0::1]/                         site-local
https://[fc00::1]/                         unique local
https://[fd00:ec2::254]/                   metadata over IPv6
https://[ff02::1]/                         IPv6 multicast
https://[2001:db8::1]/                     IPv6 documentation
https://[::1                               half a bracket
https://public.test@127.0.0.1:{port}/      a user that looks like the host
https://user:password@public.test/         user and password
https://127.0.0.1:{port}\@public.test/    a backslash
https://public.test#@127.0.0.1:{port}/     a fragment
https://①②⑦.⓪.⓪.①:{port}/                  circled digits
https://１２７.0.0.1:{port}/               full-width digits
https://१२७.0.0.1:{port}/                  Devanagari digits
https://127。0。0。1:{port}/               ideographic full stops
https://ｌｏｃａｌｈｏｓｔ:{port}/            full-width letters
https://bücher.test/                       a name that is not ASCII
https://public.test:22/                    a port of something else
https://public.test:0/                     no port
https://public.test:65616/                 a port that wraps around to 80
https://public.test:８０/                   full-width port
https://public..test/                      an empty label
https://-public.test/                      a label that begins with a hyphen
https:///hooks                             no host
https:public.test/                         no slashes
//public.test/                             no scheme
ftp://public.test/                         another scheme
file:///etc/passwd                         a file
gopher://127.0.0.1:{port}/                 gopher
https://public.test/a b                    a blank
 https://public.test/                      a blank before it
https://public.test/%0d%0a\r\nX: y         a line break
"""


def _forms() -> list[Any]:
    rows = [row for row in FORMS.split("\n") if row.strip()]
    pairs = (row.rsplit("  ", 1) if "  " in row.strip() else [row, row] for row in rows)
    return [pytest.param(url.rstrip(), id=meaning.strip()) for url, meaning in pairs]


@pytest.fixture(autouse=True)
def dns(monkeypatch: pytest.MonkeyPatch) -> None:
    real = addresses.lookup
    monkeypatch.setattr(addresses, "lookup", lambda host: NAMES[host] if host in NAMES else real(host))


def answering(monkeypatch: pytest.MonkeyPatch, *answers: list[str]) -> list[str]:
    """A DNS that says something else each time it is asked, and at last the same; what it was asked."""
    asked: list[str] = []

    def lookup(host: str) -> list[str]:
        asked.append(host)
        return answers[min(len(asked), len(answers)) - 1]

    monkeypatch.setattr(addresses, "lookup", lookup)
    return asked


@pytest.fixture(scope="module")
def listener() -> Iterator[RawServer]:
    """A server of our own network, which nobody may reach."""

    async def refuse(connection: Connection) -> None:
        await connection.until_the_client_is_gone()

    with serving(refuse) as server:
        yield server


@pytest.mark.django_db
@pytest.mark.parametrize("form", _forms())
def test_it_is_refused_when_saved_and_at_delivery(alice: Person, listener: RawServer, form: str) -> None:
    url = form.replace("{port}", str(listener.port)).replace("\\r\\n", "\r\n")

    refused = create(alice, url=url)

    assert refused.status_code == 400, refused.content
    error = error_of(refused)
    assert (error["code"], error["param"]) == ("invalid_url", "url")
    assert "127." not in error["message"]
    assert not WebhookEndpoint.objects.exists()

    stored = endpoint_of(alice, url=url)  # as if it had been saved when its name led elsewhere
    happen(alice)
    deliver(stored)
    tried = Delivery.objects.get()
    assert (tried.state, tried.attempts, tried.last_status) == ("pending", 1, None)
    assert tried.last_error == error["message"]
    assert listener.connections == 0


def test_there_are_at_least_25_forms() -> None:
    assert len({form.values[0] for form in _forms()}) >= 25


@pytest.mark.parametrize(
    ("url", "address", "authority"),
    [
        ("https://public.test", "8.8.8.8", "public.test"),
        ("HTTPS://Public.test:443/a?b=%20c#"[:-1], "8.8.8.8", "public.test"),
        ("https://public.test:8443?x@y", "8.8.8.8", "public.test:8443"),
        ("https://1.1.1.1/", "1.1.1.1", "1.1.1.1"),
        ("https://[2606:4700:4700::1111]:8443/", "2606:4700:4700::1111", "[2606:4700:4700::1111]:8443"),
    ],
)
def test_public_addresses_may_be_called(url: str, address: str, authority: str) -> None:
    target = resolve(url)

    assert (target.address, target.authority) == (address, authority)


def test_the_operator_may_allow_networks_and_plain_http_to_them(settings: Any) -> None:
    settings.WEBHOOK_ALLOWED_NETWORKS = [ip_network("10.0.0.0/8")]

    assert resolve("http://private.test:8080/").address == "10.1.2.3"
    for other in ("http://public.test/", "https://192.168.1.1/", "https://localhost/", "https://both.test/"):
        with pytest.raises(Refused):
            resolve(other)


def test_several_addresses_take_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    answering(monkeypatch, ["8.8.8.8", "8.8.4.4"])

    assert [resolve("https://name.test/", turn).address for turn in range(3)] == ["8.8.8.8", "8.8.4.4", "8.8.8.8"]


@pytest.mark.django_db
def test_a_name_that_leads_elsewhere_later_is_refused_at_delivery(
    alice: Person, monkeypatch: pytest.MonkeyPatch, listener: RawServer
) -> None:
    answering(monkeypatch, ["8.8.8.8"], ["127.0.0.1"])
    saved = create(alice, url=f"https://rebinding.test:{listener.port}/")
    assert saved.status_code == 200
    happen(alice)

    deliver(WebhookEndpoint.objects.get())

    assert "public ones only" in Delivery.objects.get().last_error
    assert listener.connections == 0


@pytest.mark.django_db
def test_the_address_that_was_judged_is_the_one_that_is_called(
    alice: Person, monkeypatch: pytest.MonkeyPatch, settings: Any
) -> None:
    settings.WEBHOOK_ALLOWED_NETWORKS = [ip_network("127.0.0.1/32")]
    asked = answering(monkeypatch, ["127.0.0.1"], ["127.0.0.2"])
    receiver = Receiver()
    with receiver.listening():
        endpoint = endpoint_of(alice, url=f"http://rebinding.test:{receiver.port}/")
        happen(alice)
        deliver(endpoint)

    assert asked == ["rebinding.test"]  # once: nobody looks it up again between the judgement and the connection
    (received,) = receiver.received
    assert received.headers["host"] == f"rebinding.test:{receiver.port}"


@pytest.mark.django_db
@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_redirects_are_not_followed(alice: Person, settings: Any, listener: RawServer, status: int) -> None:
    settings.WEBHOOK_ALLOWED_NETWORKS = [ip_network("127.0.0.1/32")]
    receiver = Receiver(status=status, headers={"location": f"http://127.0.0.1:{listener.port}/"})
    with receiver.listening():
        endpoint = endpoint_of(alice, url=receiver.url)
        happen(alice)
        deliver(endpoint)

    assert len(receiver.received) == 1
    assert listener.connections == 0
    assert Delivery.objects.get().last_error == f"answered {status}; redirects are not followed"


@pytest.fixture
def trusted(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, settings: Any) -> Iterator[trustme.CA]:
    """An authority that this system trusts, and a name of this machine."""
    settings.WEBHOOK_ALLOWED_NETWORKS = [ip_network("127.0.0.1/32")]
    monkeypatch.setitem(NAMES, "hooks.test", ["127.0.0.1"])
    authority, path = trustme.CA(), tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(str(path))
    monkeypatch.setenv("SSL_CERT_FILE", str(path))
    post._trust.cache_clear()
    yield authority
    post._trust.cache_clear()


@contextmanager
def tls_server(authority: trustme.CA, name: str) -> Iterator[RawServer]:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert(name).configure_cert(context)

    async def answer(connection: Connection) -> None:
        await connection.request()
        await connection.say(b"HTTP/1.1 204 No Content\r\n\r\n")

    with serving(answer, tls=context) as server:
        yield server


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("certified", "error"), [("hooks.test", ""), ("127.0.0.1", "TLS failed: "), ("other.test", "TLS failed: ")]
)
def test_the_certificate_must_be_the_names(alice: Person, trusted: trustme.CA, certified: str, error: str) -> None:
    with tls_server(trusted, certified) as server:
        endpoint = endpoint_of(alice, url=f"https://hooks.test:{server.port}/")
        happen(alice)
        deliver(endpoint)

    tried = Delivery.objects.get()
    assert tried.state == ("pending" if error else "delivered")
    assert tried.last_error.startswith(error)
    assert bool(server.requests) is not bool(error)


DRIPS = {
    "status line": b"H",
    "headers": b"HTTP/1.1 200 OK\r\nX-Long: ",
    "body": b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n",
}


@pytest.mark.django_db
@pytest.mark.parametrize("beginning", DRIPS.values(), ids=DRIPS.keys())
def test_an_answer_that_drips_is_cut_off(
    alice: Person, settings: Any, monkeypatch: pytest.MonkeyPatch, beginning: bytes
) -> None:
    """It sends a byte now and then, so that no single read ever times out."""
    settings.WEBHOOK_ALLOWED_NETWORKS = [ip_network("127.0.0.1/32")]
    monkeypatch.setattr(post, "TOTAL_SECONDS", 0.3)

    async def drip(connection: Connection) -> None:
        await connection.request()
        await connection.say(beginning)
        while not connection.writer.is_closing():
            await connection.say(b"x")
            await asyncio.sleep(0.02)

    with serving(drip) as server:
        endpoint = endpoint_of(alice, url=server.url)
        happen(alice)
        deliver(endpoint)

    tried = Delivery.objects.get()
    assert tried.last_error == "no whole answer within 0.3 s"
    assert (tried.last_milliseconds or 0) < 5_000


@pytest.mark.django_db
def test_only_the_beginning_of_an_answer_is_read_and_kept(alice: Person, settings: Any) -> None:
    settings.WEBHOOK_ALLOWED_NETWORKS = [ip_network("127.0.0.1/32")]
    receiver = Receiver(status=500, body=b"<b>\x00no\n\xff" + b"x" * 1_000_000, headers={"content-encoding": "gzip"})
    with receiver.listening():
        endpoint = endpoint_of(alice, url=receiver.url)
        happen(alice)
        deliver(endpoint)

    kept = Delivery.objects.get().last_excerpt
    assert kept.startswith("<b>no �xxx")
    assert len(kept) == post.MOST_EXCERPT_CHARACTERS


@pytest.mark.django_db
def test_a_test_of_an_endpoint_is_judged_like_a_delivery(alice: Person, listener: RawServer) -> None:
    endpoint = endpoint_of(alice, url=f"https://127.0.0.1:{listener.port}/")

    assert delivery.sample(endpoint, EventType.BATCH_FAILED).status is None
    assert listener.connections == 0
