"""Upstreams: what a row may hold, its key at rest, the admin, the test button, and what processes make of the rows."""

import logging
import socket
from typing import Any

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Permission, User
from django.core.exceptions import ValidationError
from django.core.management import CommandError, call_command
from django.db import IntegrityError, OperationalError, connection
from django.test import Client

from apps.inference.upstream import Upstream as Routed
from apps.upstreams import catalogue, trial
from apps.upstreams.encryption import Undecryptable
from apps.upstreams.models import KeyState, Upstream
from apps.upstreams.trial import Verdict
from apps.upstreams.watch import Watch
from tests.fakes.upstream import FakeUpstream

pytestmark = pytest.mark.django_db

LIST = "/admin/upstreams/upstream/"
KEY = "sk-secret/of-the+operator=1"


def new_row(name: str = "gpu", **fields: Any) -> Upstream:
    return Upstream.objects.create(**{"name": name, "base_url": "http://gpu-host:8000/v1"} | fields)


def change_page(row: Upstream) -> str:
    return f"{LIST}{row.pk}/change/"


def form(**changes: Any) -> dict[str, Any]:
    """What the admin's page posts; a change to None leaves the field out, as a box that is not ticked."""
    fields = {
        "name": "gpu",
        "base_url": "http://gpu-host:8000/v1",
        "new_api_key": "",
        "model_patterns": "*",
        "max_in_flight": "64",
        "connect_timeout": "10",
        "read_timeout": "600",
        "enabled": "on",
    } | changes
    return {name: value for name, value in fields.items() if value is not None}


@pytest.fixture
def admin() -> Client:
    client = Client()
    client.force_login(User.objects.create_superuser("operator"))
    return client


@pytest.fixture
def onlooker() -> Client:
    """Somebody who may look at upstreams and nothing else."""
    user = User.objects.create_user("onlooker", is_staff=True)
    user.user_permissions.add(Permission.objects.get(codename="view_upstream"))
    client = Client()
    client.force_login(user)
    return client


@pytest.fixture
def fake() -> Any:
    with FakeUpstream() as running:
        yield running


# --- What a row may hold ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "url",
    [
        "http://gpu:8000",
        "https://gate.example/llm/v1/",
        "http://[::1]:8000/v1",
        "http://10.0.0.7",
        "http://under_score:80",
        "http://bücher.example/v1",
    ],
)
def test_it_takes_a_base_url(url: str) -> None:
    Upstream(name="gpu", base_url=url).full_clean()


@pytest.mark.parametrize(
    ("url", "complaint"),
    [
        ("gpu-host:8000", "begin with http:// or https://"),
        ("ftp://gpu/v1", "begin with http:// or https://"),
        ("http://", "needs a host"),
        ("http:///v1", "needs a host"),
        ("http://user:hunter2@gpu/v1", "must not hold a user or password"),
        ("http://gpu/v1?key=hunter2", "must not have a query"),
        ("http://gpu/v1#top", "must not have a query (?) or fragment"),
        ("http://gpu/v1?", "must not have a query"),
        ("http://gpu:port/v1", "host and port"),
        ("http://gpu:99999/v1", "host and port"),
        ("http://[::1/v1", "host and port"),
        ("http://" + "a" * 64 + ".example", "host and port"),
        ("http://a..example", "host and port"),
        ("http://gpu /v1", "must not contain blanks"),
        ("http://gpu/v1\n", "must not contain blanks"),
        ("http://gpu/v1/chat/completions", "up to /v1"),
    ],
)
def test_it_refuses_a_base_url_and_says_why(url: str, complaint: str) -> None:
    with pytest.raises(ValidationError) as refused:
        Upstream(name="gpu", base_url=url).full_clean()

    assert complaint in str(refused.value.message_dict["base_url"])
    assert "hunter2" not in str(refused.value)


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"name": "two words"}, "name"),
        ({"name": ""}, "name"),
        ({"model_patterns": " \n\n "}, "model_patterns"),
        ({"model_patterns": "llama-*, qwen-*"}, "model_patterns"),
        ({"model_patterns": "llama-* qwen-*"}, "model_patterns"),
        ({"model_patterns": "x" * 257}, "model_patterns"),
        ({"model_patterns": "\n".join(map(str, range(101)))}, "model_patterns"),
        ({"max_in_flight": 0}, "max_in_flight"),
        ({"connect_timeout": 0}, "connect_timeout"),
        ({"read_timeout": 86_401}, "read_timeout"),
    ],
)
def test_it_refuses_what_no_upstream_can_be(fields: dict[str, Any], field: str) -> None:
    with pytest.raises(ValidationError) as refused:
        Upstream(**{"name": "gpu", "base_url": "http://gpu"} | fields).full_clean()

    assert list(refused.value.message_dict) == [field]


def test_the_database_holds_no_upstream_without_slots() -> None:
    with pytest.raises(IntegrityError):
        new_row(max_in_flight=0)


def test_patterns_are_one_a_line() -> None:
    row = new_row(model_patterns=" llama-* \r\n\r\nqwen3-8b\nllama-*\n")

    assert row.patterns == ("llama-*", "qwen3-8b")


# --- The key at rest --------------------------------------------------------------------------------------------------


def raw_row() -> str:
    with connection.cursor() as cursor:
        cursor.execute("SELECT row_to_json(u)::text FROM upstreams_upstream u")
        return str(cursor.fetchone()[0])


def test_the_database_never_sees_the_key() -> None:
    row = new_row(api_key=KEY)

    stored = Upstream.objects.get(pk=row.pk)
    assert stored.api_key == KEY
    assert stored.key_state is KeyState.STORED
    assert KEY not in raw_row()
    assert KEY not in repr(stored) + repr(catalogue.from_row(stored)) + repr(vars(stored))


def test_without_a_key_nothing_is_encrypted() -> None:
    row = new_row()

    assert (row.api_key, row.api_key_encrypted, row.key_state) == ("", "", KeyState.NONE)
    assert catalogue.from_row(row).api_key is None


def test_a_key_survives_a_change_of_the_secret_key(settings: Any) -> None:
    row = new_row(api_key=KEY)
    settings.SECRET_KEY, settings.SECRET_KEY_FALLBACKS = "the new one", [settings.SECRET_KEY]
    assert row.api_key == KEY

    call_command("rotate_upstream_keys", verbosity=0)

    settings.SECRET_KEY_FALLBACKS = []
    assert Upstream.objects.get(pk=row.pk).api_key == KEY


def test_rotating_names_what_it_cannot_read(settings: Any) -> None:
    new_row("lost", api_key=KEY)
    settings.SECRET_KEY = "another one"
    kept = new_row("kept", api_key=KEY)

    with pytest.raises(CommandError, match="lost"):
        call_command("rotate_upstream_keys")

    assert Upstream.objects.get(pk=kept.pk).api_key == KEY


@pytest.mark.parametrize("token", ["nonsense", "gAAAA", "ünlesbar"])
def test_a_damaged_key_is_unreadable_and_nothing_worse(token: str) -> None:
    row = new_row(api_key_encrypted=token)

    with pytest.raises(Undecryptable):
        _ = row.api_key
    assert row.key_state is KeyState.UNREADABLE


# --- The catalogue and the watch --------------------------------------------------------------------------------------


def test_without_rows_the_environment_names_the_upstream(settings: Any) -> None:
    settings.INFERENCE_BASE_URL, settings.INFERENCE_API_KEY = "http://env:1/v1", "sk-env\n"
    settings.INFERENCE_MAX_IN_FLIGHT = 9

    (found,) = catalogue.load()

    assert (found.name, found.base_url, found.api_key, found.max_in_flight) == (
        "default",
        "http://env:1/v1",
        "sk-env",
        9,
    )
    assert found.models == ("*",)


def test_rows_replace_the_environments(django_assert_num_queries: Any) -> None:
    new_row("b", model_patterns="llama-*\nqwen-*", max_in_flight=3, connect_timeout=4, read_timeout=5, api_key=KEY)
    new_row("a")
    new_row("c", enabled=False)

    with django_assert_num_queries(1):
        first, second, third = catalogue.load()

    assert (first.name, first.enabled) == ("a", True)
    assert (third.name, third.enabled) == ("c", False)
    expected = Routed("b", "http://gpu-host:8000/v1", KEY, 3, 4, 5, models=("llama-*", "qwen-*"))
    assert second == expected


def test_when_every_row_is_disabled_the_environment_does_not_step_in() -> None:
    new_row("a", enabled=False)

    assert [(upstream.name, upstream.enabled) for upstream in catalogue.load()] == [("a", False)]


def test_a_row_whose_key_cannot_be_read_counts_as_disabled_and_says_so_once(
    settings: Any, caplog: pytest.LogCaptureFixture
) -> None:
    new_row("other-secret", api_key=KEY)
    settings.SECRET_KEY = "another one"
    new_row("fine", api_key=KEY)

    with caplog.at_level(logging.ERROR, "apps.upstreams"):
        for _ in range(3):
            fine, unreadable = catalogue.load()
    assert (fine.enabled, unreadable.enabled, unreadable.api_key) == (True, False, None)

    (said,) = caplog.records
    assert "other-secret" in said.getMessage()
    assert KEY not in caplog.text


def test_a_watch_tells_what_changed_and_nothing_else() -> None:
    row, watch = new_row(), Watch()
    assert watch.look() == catalogue.load()
    assert watch.look() is None

    Upstream.objects.filter(pk=row.pk).update(max_in_flight=7)
    changed = watch.look()
    assert changed is not None
    assert changed[0].max_in_flight == 7
    row.refresh_from_db()
    row.api_key = KEY
    row.save()
    rekeyed = watch.look()
    assert rekeyed is not None
    assert rekeyed[0].api_key == KEY
    row.save()
    assert watch.look() is None, "the token differs, the key does not"
    Upstream.objects.update(enabled=False)
    disabled = watch.look()
    assert disabled is not None
    assert not disabled[0].enabled
    assert watch.look() is None


def test_a_watch_keeps_what_it_knows_while_postgres_is_away(monkeypatch: pytest.MonkeyPatch) -> None:
    new_row()
    watch = Watch()
    assert watch.look()

    with monkeypatch.context() as away:
        away.setattr(catalogue, "load", lambda: (_ for _ in ()).throw(OperationalError("server closed the connection")))
        assert watch.look() is None
    assert watch.look() is None, "nothing has changed"


# --- The admin --------------------------------------------------------------------------------------------------------


def test_an_upstream_is_added_and_its_key_is_never_shown(admin: Client, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG):
        added = admin.post(f"{LIST}add/", form(new_api_key=KEY), follow=True)
    row = Upstream.objects.get()
    pages = [LIST, change_page(row), f"{LIST}{row.pk}/history/", f"{LIST}{row.pk}/delete/"]
    shown = [added.content.decode(), *(admin.get(page).content.decode() for page in pages)]

    assert row.api_key == KEY
    assert "stored" in shown[2]
    assert not any(KEY in text or row.api_key_encrypted in text for text in shown)
    assert KEY not in str(list(LogEntry.objects.values()))
    assert KEY not in caplog.text


def test_an_empty_field_keeps_the_key(admin: Client) -> None:
    row = new_row(api_key=KEY)

    admin.post(change_page(row), form(max_in_flight="5"))

    row.refresh_from_db()
    assert (row.max_in_flight, row.api_key) == (5, KEY)


def test_a_key_is_replaced_and_forgotten(admin: Client) -> None:
    row = new_row(api_key=KEY)

    admin.post(change_page(row), form(new_api_key="sk-new"))
    assert Upstream.objects.get().api_key == "sk-new"
    admin.post(change_page(row), form(forget_api_key="on"))
    assert Upstream.objects.get().key_state is KeyState.NONE
    assert "sk-new" not in str(list(LogEntry.objects.values()))


@pytest.mark.parametrize("key", ["two words", "line\nbreak", "schlüssel"])
def test_a_refused_key_is_not_sent_back(admin: Client, key: str) -> None:
    refused = admin.post(f"{LIST}add/", form(new_api_key=key))

    assert "An API key is made of ASCII" in refused.content.decode()
    assert key not in refused.content.decode()
    assert not Upstream.objects.exists()


def test_a_form_with_another_mistake_does_not_send_the_key_back(admin: Client) -> None:
    refused = admin.post(f"{LIST}add/", form(new_api_key=KEY, base_url="gpu:1"))

    assert "must begin with http" in refused.content.decode()
    assert KEY not in refused.content.decode()


def test_a_key_does_not_follow_to_another_server(admin: Client) -> None:
    row = new_row(api_key=KEY)

    refused = admin.post(change_page(row), form(base_url="http://elsewhere:8000/v1"))
    assert "was given for another server" in refused.content.decode()
    assert Upstream.objects.get().base_url == row.base_url

    admin.post(change_page(row), form(base_url="http://gpu-host:8000/other/v1"))
    assert Upstream.objects.get().base_url == "http://gpu-host:8000/other/v1", "the same server"
    admin.post(change_page(row), form(base_url="http://elsewhere:8000/v1", new_api_key="sk-new"))
    assert Upstream.objects.get().api_key == "sk-new"


def test_a_key_that_cannot_be_read_is_said_to_be(admin: Client, settings: Any) -> None:
    row = new_row(api_key=KEY)
    Upstream.objects.update(api_key_encrypted="under another SECRET_KEY")

    assert "cannot be read with this SECRET_KEY" in admin.get(LIST).content.decode()
    assert "cannot be read with this SECRET_KEY" in admin.get(change_page(row)).content.decode()
    tested = admin.post(f"{LIST}{row.pk}/test/", follow=True)
    assert "its API key cannot be read" in tested.content.decode()
    admin.post(change_page(row), form(new_api_key=KEY))
    assert Upstream.objects.get().api_key == KEY


def test_upstreams_are_switched_by_actions(admin: Client) -> None:
    rows = [new_row("a"), new_row("b", enabled=False)]
    selected = [row.pk for row in rows]

    admin.post(LIST, {"action": "disable", "confirmed": "disable", "_selected_action": selected})
    assert not Upstream.objects.filter(enabled=True).exists()
    admin.post(LIST, {"action": "enable", "_selected_action": selected})
    assert Upstream.objects.filter(enabled=True).count() == 2

    assert Upstream.objects.get(name="a").updated_at > rows[0].updated_at
    said = LogEntry.objects.order_by("pk").values_list("object_repr", "change_message")
    assert list(said) == [("a", "Disabled."), ("a", "Enabled."), ("b", "Enabled.")]


def test_an_onlooker_sees_no_key_and_changes_nothing(onlooker: Client) -> None:
    row = new_row(api_key=KEY)

    page = onlooker.get(change_page(row))

    assert page.status_code == 200
    assert "stored" in page.content.decode()
    assert KEY not in page.content.decode()
    assert row.api_key_encrypted not in page.content.decode()
    assert onlooker.post(change_page(row), form()).status_code == 403
    assert onlooker.post(f"{LIST}{row.pk}/test/").status_code == 403
    onlooker.post(LIST, {"action": "disable", "confirmed": "disable", "_selected_action": [row.pk]})
    assert Upstream.objects.get().enabled


# --- Test now ---------------------------------------------------------------------------------------------------------


def try_one(fake: FakeUpstream, **fields: Any) -> trial.Trial:
    (tried,) = trial.ask([Routed("gpu", fake.base_url, **fields)])
    return tried


def test_the_button_says_what_the_server_answered(admin: Client, fake: FakeUpstream) -> None:
    fake.models = ["llama-3-8b", "qwen3-8b"]
    row = new_row(base_url=fake.base_url, api_key=KEY, model_patterns="llama-*", enabled=False)
    assert f"{LIST}{row.pk}/test/" in admin.get(change_page(row)).content.decode()

    shown = admin.post(f"{LIST}{row.pk}/test/", follow=True).content.decode()

    assert "“gpu” answered 200 in " in shown
    assert "the patterns match 1 of its 2 models: llama-3-8b, qwen3-8b" in shown
    assert fake.probe_headers["authorization"] == f"Bearer {KEY}"
    assert KEY not in shown


def test_several_are_tested_by_an_action(admin: Client, fake: FakeUpstream) -> None:
    rows = [new_row("first", base_url=fake.base_url), new_row("second", base_url=fake.base_url)]

    shown = admin.post(LIST, {"action": "test", "_selected_action": [row.pk for row in rows]}, follow=True)

    assert fake.probes == 2
    for row in rows:
        assert f"“{row}” answered 200" in shown.content.decode()


def test_only_a_post_tests(admin: Client, fake: FakeUpstream) -> None:
    row = new_row(base_url=fake.base_url)

    assert admin.get(f"{LIST}{row.pk}/test/").status_code == 405
    assert admin.post(f"{LIST}{row.pk + 1}/test/").status_code == 404
    assert Client(enforce_csrf_checks=True).post(f"{LIST}{row.pk}/test/").status_code in (302, 403)
    assert not fake.probes


def test_nobody_listens() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        (tried,) = trial.ask([Routed("gpu", f"http://127.0.0.1:{taken.getsockname()[1]}")])

    assert tried.verdict is Verdict.BAD
    assert "“gpu” gave no answer: Cannot connect to host 127.0.0.1" in tried.text


def test_a_server_that_hangs_is_given_up(fake: FakeUpstream, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trial, "TRIAL_SECONDS", 0.2)
    fake.probes_as = "hang"

    assert try_one(fake) == (Verdict.BAD, "“gpu” gave no whole answer within 0.2 s")


@pytest.mark.parametrize(
    ("play", "verdict", "text"),
    [
        ("big-3000000", Verdict.DOUBTFUL, "with more than 1 MB, which was not read to its end"),
        ("status-401", Verdict.BAD, "so it does not accept the API key: Scripted 401"),
        ("status-404", Verdict.DOUBTFUL, "answered 404 in "),
        ("garbage", Verdict.DOUBTFUL, "but not with a list of models"),
        ("echo", Verdict.DOUBTFUL, "but not with a list of models"),
        ("truncated", Verdict.BAD, "gave no answer: "),
        ("reset", Verdict.BAD, "gave no answer: "),
    ],
)
def test_an_odd_answer_is_told(fake: FakeUpstream, play: str, verdict: Verdict, text: str) -> None:
    fake.probes_as = play

    tried = try_one(fake)

    assert tried.verdict is verdict
    assert text in tried.text


def test_no_redirect_is_followed(fake: FakeUpstream) -> None:
    fake.probes_as = "status-302"

    assert "answered 302 in " in try_one(fake, api_key=KEY).text
    assert fake.probes == 1


def test_a_server_without_our_models_is_doubtful(fake: FakeUpstream) -> None:
    fake.models = [f"qwen-{number}" for number in range(30)]

    tried = try_one(fake, models=("llama-*",))

    assert tried.verdict is Verdict.DOUBTFUL
    assert "the patterns match 0 of its 30 models" in tried.text
    assert tried.text.endswith("qwen-19 and 10 more")


def test_a_key_that_the_server_repeats_is_not_shown(fake: FakeUpstream) -> None:
    fake.models = ["x" * 190 + KEY]

    tried = try_one(fake, api_key=KEY)

    assert "[the key]" in tried.text
    assert "sk-secr" not in tried.text


@pytest.mark.parametrize("base_url", ["http://" + "a" * 64, "http://[::1", "http://127.0.0.1:99999", "nonsense"])
def test_a_url_that_cannot_be_asked_is_only_a_bad_answer(base_url: str) -> None:
    (tried,) = trial.ask([Routed("gpu", base_url)])

    assert tried.verdict is Verdict.BAD
