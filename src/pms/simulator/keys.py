"""What proves that a request comes from the holder of an API key: HMAC, RSA and Ed25519 (spec 1.3)."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from collections.abc import Callable
from functools import lru_cache
from urllib.parse import unquote

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import load_pem_public_key

from pms.simulator.errors import SimulatorError

HMAC, RSA, ED25519 = "HMAC", "RSA", "Ed25519"
PEM_START = "-----BEGIN"
VERIFIERS_KEPT = 1024

Verifier = Callable[[bytes, str], bool]


@lru_cache(maxsize=VERIFIERS_KEPT)
def verifier_of(secret: str) -> tuple[str, Verifier]:
    """Return (kind of key, the function that says whether a signature belongs to the signed bytes).

    `secret` is the shared HMAC secret, or the PEM text of an RSA or Ed25519 *public* key.
    Raises `SimulatorError` for a PEM text that is neither.
    """
    if not secret.lstrip().startswith(PEM_START):
        return HMAC, lambda signed, given: _hmac_matches(secret, signed, given)
    advice = "Give the PEM text of an RSA or Ed25519 public key, or an HMAC secret."
    try:
        key = load_pem_public_key(secret.strip().encode())
    except (ValueError, UnsupportedAlgorithm) as error:
        raise SimulatorError(f"A public key cannot be read: {error}. {advice}") from error
    if isinstance(key, Ed25519PublicKey):
        return ED25519, lambda signed, given: _ed25519_matches(key, signed, given)
    if isinstance(key, RSAPublicKey):
        return RSA, lambda signed, given: _rsa_matches(key, signed, given)
    raise SimulatorError(f"A public key is of an unknown kind ({type(key).__name__}). {advice}")


def is_public_key(text: str) -> bool:
    """Say whether a text is the PEM of an RSA or Ed25519 public key."""
    try:
        return verifier_of(text)[0] != HMAC
    except SimulatorError:
        return False


def matches(secret: str, signed: bytes, given: str) -> bool:
    """Say whether `given`, as it stood in the request (percent-encoded or not), signs the bytes."""
    return verifier_of(secret)[1](signed, unquote(given))


def _hmac_matches(secret: str, signed: bytes, given: str) -> bool:
    expected = hmac.new(secret.encode(), signed, hashlib.sha256).hexdigest()
    return hmac.compare_digest(expected.encode(), given.lower().encode())  # hex case is ignored


def _decoded(given: str) -> bytes:
    # A `+` that a client left unencoded reaches us as it is; a blank is the same `+` decoded as a form.
    return base64.b64decode(given.replace(" ", "+"), validate=True)


def _ed25519_matches(key: Ed25519PublicKey, signed: bytes, given: str) -> bool:
    try:
        key.verify(_decoded(given), signed)
    except (InvalidSignature, binascii.Error, ValueError):
        return False
    return True


def _rsa_matches(key: RSAPublicKey, signed: bytes, given: str) -> bool:
    try:
        key.verify(_decoded(given), signed, PKCS1v15(), SHA256())
    except (InvalidSignature, binascii.Error, ValueError):
        return False
    return True
