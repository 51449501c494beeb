"""Who guesses passwords is slowed down; nobody else is."""

import secrets

import pytest
from django.contrib.auth.models import User
from django.test import Client
from redis import RedisError

from apps.projects import sign_in

PASSWORD = "a password of some length"
WAYS_IN = pytest.mark.parametrize("path", ["/admin/login/", "/console/sign-in"])


@pytest.fixture
def operator(db: None) -> User:
    """With a name of its own: what was counted stays in Redis."""
    return User.objects.create_superuser(f"operator-{secrets.token_hex(4)}", password=PASSWORD)


def try_to_sign_in(path: str, user: User, password: str, address: str) -> bool:
    client = Client(REMOTE_ADDR=address)
    client.post(path, {"username": user.username, "password": password, "next": "/admin/"})
    return "_auth_user_id" in client.session


def an_address() -> str:
    return f"10.{secrets.randbelow(256)}.{secrets.randbelow(256)}.{secrets.randbelow(256)}"


@WAYS_IN
def test_after_ten_wrong_passwords_the_right_one_is_refused_to_that_address_only(path: str, operator: User) -> None:
    guesser, elsewhere = an_address(), an_address()
    assert try_to_sign_in(path, operator, PASSWORD, guesser)
    for _ in range(sign_in.OF_A_NAME.amount):
        assert not try_to_sign_in(path, operator, "wrong", guesser)

    assert not try_to_sign_in(path, operator, PASSWORD, guesser)
    assert try_to_sign_in(path, operator, PASSWORD, elsewhere)


def test_an_address_that_tries_many_names_is_refused_all(operator: User, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sign_in, "OF_AN_ADDRESS", type(sign_in.OF_AN_ADDRESS)(3, 15, namespace="few"))
    guesser = an_address()
    for number in range(3):
        assert not try_to_sign_in("/admin/login/", User(username=f"nobody-{number}"), "wrong", guesser)

    assert not try_to_sign_in("/admin/login/", operator, PASSWORD, guesser)


def test_with_redis_away_nobody_is_refused(operator: User, monkeypatch: pytest.MonkeyPatch) -> None:
    def away() -> None:
        raise RedisError

    monkeypatch.setattr(sign_in, "limiter", away)

    assert not try_to_sign_in("/admin/login/", operator, "wrong", an_address())
    assert try_to_sign_in("/admin/login/", operator, PASSWORD, an_address())
