"""Secrets at rest: Fernet, under keys derived from SECRET_KEY and SECRET_KEY_FALLBACKS (docs/adr/0007)."""

import base64

from cryptography.fernet import Fernet, InvalidToken, MultiFernet
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from django.conf import settings

# Ties the derived key to this use: it signs no sessions. With another text here, no stored key could be read.
PURPOSE = b"zerobatch.upstreams.api_key"


class Undecryptable(Exception):
    """The text was encrypted under a SECRET_KEY that is in neither SECRET_KEY nor SECRET_KEY_FALLBACKS."""


def encrypt(text: str) -> str:
    """`text` as a Fernet token under the present SECRET_KEY; another one each time, and ASCII."""
    return _keys().encrypt(text.encode()).decode()


def decrypt(token: str) -> str:
    """The text of a token of `encrypt`; raises Undecryptable."""
    try:
        return _keys().decrypt(token.encode()).decode()
    except InvalidToken:
        raise Undecryptable from None


def rotate(token: str) -> str:
    """The same text under the present SECRET_KEY; raises Undecryptable."""
    try:
        return _keys().rotate(token.encode()).decode()
    except InvalidToken:
        raise Undecryptable from None


def _keys() -> MultiFernet:
    """The first encrypts, all decrypt. Derived anew each time: it takes microseconds, and settings change in tests."""
    return MultiFernet([_derived_from(secret) for secret in (settings.SECRET_KEY, *settings.SECRET_KEY_FALLBACKS)])


def _derived_from(secret: str) -> Fernet:
    key = HKDF(algorithm=SHA256(), length=32, salt=None, info=PURPOSE).derive(secret.encode())
    return Fernet(base64.urlsafe_b64encode(key))
