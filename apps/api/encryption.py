"""Secrets at rest: Fernet, under keys derived from SECRET_KEY and SECRET_KEY_FALLBACKS (docs/adr/0007)."""

import base64

from cryptography.fernet import Fernet, InvalidToken, MultiFernet
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from django.conf import settings


class Undecryptable(Exception):
    """The text was encrypted under a SECRET_KEY that is in neither SECRET_KEY nor SECRET_KEY_FALLBACKS."""


class Cipher:
    """Encrypts one kind of secret.

    `purpose` ties the derived key to this use: it signs no sessions and reads no other kind. With another text no
    stored token could be read.
    """

    def __init__(self, purpose: bytes) -> None:
        self._purpose = purpose

    def encrypt(self, text: str) -> str:
        """`text` as a Fernet token under the present SECRET_KEY; another one each time, and ASCII."""
        return self._keys().encrypt(text.encode()).decode()

    def decrypt(self, token: str) -> str:
        """The text of a token of `encrypt`; raises Undecryptable."""
        try:
            return self._keys().decrypt(token.encode()).decode()
        except InvalidToken:
            raise Undecryptable from None

    def rotate(self, token: str) -> str:
        """The same text under the present SECRET_KEY; raises Undecryptable."""
        try:
            return self._keys().rotate(token.encode()).decode()
        except InvalidToken:
            raise Undecryptable from None

    def _keys(self) -> MultiFernet:
        """The first encrypts, all decrypt. Derived each time: it takes microseconds, and settings change in tests."""
        return MultiFernet([self._derived_from(key) for key in (settings.SECRET_KEY, *settings.SECRET_KEY_FALLBACKS)])

    def _derived_from(self, secret: str) -> Fernet:
        key = HKDF(algorithm=SHA256(), length=32, salt=None, info=self._purpose).derive(secret.encode())
        return Fernet(base64.urlsafe_b64encode(key))
