"""The upstreams' API keys at rest (docs/adr/0007)."""

from apps.api.encryption import Cipher, Undecryptable

__all__ = ["Undecryptable", "decrypt", "encrypt", "rotate"]

_cipher = Cipher(b"zerobatch.upstreams.api_key")

encrypt, decrypt, rotate = _cipher.encrypt, _cipher.decrypt, _cipher.rotate
