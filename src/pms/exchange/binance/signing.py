"""Request signatures over the exact bytes that travel: HMAC, RSA and Ed25519 keys (Binance spec 1.3)."""

import base64
import hashlib
import hmac
from collections.abc import Callable, Iterable
from enum import StrEnum
from urllib.parse import quote

from pms.exchange.errors import ApiKeyError

_PEM = "-----BEGIN "


class KeyKind(StrEnum):
    """How a key signs. Only ED25519 keys may log a WebSocket API session on (Binance spec 6)."""

    HMAC = "HMAC"
    RSA = "RSA"
    ED25519 = "ED25519"


def encode(parameters: Iterable[tuple[str, str]]) -> str:
    """Return parameters as percent-encoded `name=value&…` in the given order.

    Raises ValueError for an empty value, which the exchange does not accept (spec 1.2).
    """
    parts = []
    for name, value in parameters:
        if not value:
            raise ValueError(f"the parameter {name} of an exchange request is empty; leave it out instead")
        parts.append(f"{name}={quote(value, safe='')}")
    return "&".join(parts)


class Signer:
    """Signs with one secret, whose kind its text tells: PEM of a private key (RSA or Ed25519), else HMAC.

    Raises ApiKeyError for a PEM text that is not an unencrypted private key of those two kinds. Neither the
    secret nor the key shows in a repr, a message or a traceback of ours.
    """

    def __init__(self, secret: str) -> None:
        self.kind, self._sign = _of_pem(secret) if _PEM in secret else (KeyKind.HMAC, _hmac(secret))

    def __repr__(self) -> str:
        return f"Signer({self.kind})"

    def signature(self, query: str, body: str = "") -> str:
        """Return the signature of the query directly followed by the body, no `&` between.

        HMAC: lower-case hex. RSA and Ed25519: base64, not yet percent-encoded.
        """
        return self._sign((query + body).encode())

    def signed(self, encoded: str) -> str:
        """Return encoded parameters with their signature appended as the last one, percent-encoded."""
        return f"{encoded}&signature={quote(self.signature(encoded), safe='')}"


def _hmac(secret: str) -> Callable[[bytes], str]:
    # The keyed hash object is prepared once and copied for each request.
    prepared = hmac.new(secret.encode(), digestmod=hashlib.sha256)

    def sign(payload: bytes) -> str:
        keyed = prepared.copy()
        keyed.update(payload)
        return keyed.hexdigest()

    return sign


def _of_pem(secret: str) -> tuple[KeyKind, Callable[[bytes], str]]:
    # Imported here: who signs with HMAC, as most do, does not load the library.
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    # Environment files often hold the line breaks of a PEM text as the two characters \n.
    text = secret.replace("\\n", "\n").strip().encode()
    try:
        key = load_pem_private_key(text, password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        # Without the cause: it could quote the text.
        raise ApiKeyError(
            "the API secret is PEM text, but not an unencrypted private key; give the PKCS#8 private key "
            "that belongs to the API key (BEGIN PRIVATE KEY), without a passphrase"
        ) from None
    if isinstance(key, Ed25519PrivateKey):
        return KeyKind.ED25519, lambda payload: base64.b64encode(key.sign(payload)).decode()
    if isinstance(key, RSAPrivateKey):
        return KeyKind.RSA, _rsa(key.sign)
    raise ApiKeyError("the API secret is a private key of another kind; the exchange takes RSA and Ed25519")


def _rsa(sign: Callable[..., bytes]) -> Callable[[bytes], str]:
    from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
    from cryptography.hazmat.primitives.hashes import SHA256

    padding, digest = PKCS1v15(), SHA256()
    return lambda payload: base64.b64encode(sign(payload, padding, digest)).decode()
