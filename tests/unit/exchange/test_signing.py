"""Signatures equal the exchange's own test vectors; encoding is what is signed."""

import base64
from urllib.parse import unquote

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    KeySerializationEncryption,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

from pms.exchange.binance.signing import KeyKind, Signer, encode
from pms.exchange.errors import ApiKeyError

SECRET = "2b5eb11e18796d12d88f13dc27dbbd02c2cc51ff7059765ed9821957d82bb4d9"


def test_query_vector() -> None:
    query = (
        "symbol=BTCUSDT&side=BUY&type=LIMIT&quantity=1&price=9000&timeInForce=GTC"
        "&recvWindow=5000&timestamp=1591702613943"
    )
    expected = "3c661234138461fcc7a7d8746c6558c9842d4e10870d2ecbedf7777cad694af9"
    assert Signer(SECRET).signature(query) == expected


def test_query_and_body_vector_joins_without_ampersand() -> None:
    query = "symbol=BTCUSDT&side=BUY&type=LIMIT&timeInForce=GTC"
    body = "quantity=1&price=9000&recvWindow=5000&timestamp=1591702613943"
    expected = "30baaf0fab549bbeda7f5ef201898b34122da25fd23c646cac2c529aebe670a4"
    assert Signer(SECRET).signature(query, body) == expected


def test_the_prepared_hash_is_not_consumed() -> None:
    signer = Signer(SECRET)
    assert signer.signature("a=1") == signer.signature("a=1")
    assert signer.signature("a=1") != signer.signature("a=2")


def test_signature_is_the_last_parameter() -> None:
    signer = Signer(SECRET)
    assert signer.signed("a=1") == f"a=1&signature={signer.signature('a=1')}"


def test_values_are_percent_encoded_as_utf8_in_the_given_order() -> None:
    assert encode([("symbol", "币安人生USDT"), ("a", 'x/["y"]')]) == (
        "symbol=%E5%B8%81%E5%AE%89%E4%BA%BA%E7%94%9FUSDT&a=x%2F%5B%22y%22%5D"
    )


def test_an_empty_value_is_refused() -> None:
    with pytest.raises(ValueError, match="orderId"):
        encode([("orderId", "")])


PrivateKey = rsa.RSAPrivateKey | ed25519.Ed25519PrivateKey | ec.EllipticCurvePrivateKey


def pem(key: PrivateKey, encryption: KeySerializationEncryption | None = None) -> str:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption or NoEncryption()).decode()


@pytest.fixture(scope="module")
def rsa_key() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(65537, 2048)


@pytest.mark.parametrize("wrapped", [False, True], ids=["lines", "one line with \\n"])
def test_an_ed25519_key_signs_the_same_bytes(wrapped: bool) -> None:
    # RFC 8032, test 2: the key, the message "r" and its signature.
    seed = bytes.fromhex("4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb")
    text = pem(ed25519.Ed25519PrivateKey.from_private_bytes(seed))
    signer = Signer(text.replace("\n", "\\n") if wrapped else text)
    assert signer.kind is KeyKind.ED25519
    assert base64.b64decode(signer.signature("r")).hex() == (
        "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da"
        "085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00"
    )


def test_an_rsa_key_signs_with_pkcs1_and_sha256(rsa_key: rsa.RSAPrivateKey) -> None:
    signer = Signer(pem(rsa_key))
    assert signer.kind is KeyKind.RSA
    encoded, _, signature = signer.signed("symbol=%E5%B8%81USDT&timestamp=1").partition("&signature=")
    assert not set("+/=") & set(signature), "base64 is percent-encoded on the wire"
    rsa_key.public_key().verify(
        base64.b64decode(unquote(signature)), encoded.encode(), padding.PKCS1v15(), SHA256()
    )


def test_a_plain_secret_is_an_hmac_key() -> None:
    assert Signer(SECRET).kind is KeyKind.HMAC


def test_unusable_keys_are_refused_without_quoting_them(rsa_key: rsa.RSAPrivateKey) -> None:
    public = rsa_key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()
    broken = "-----BEGIN PRIVATE KEY-----\nc2VjcmV0LXdvcmQ=\n-----END PRIVATE KEY-----"
    locked = pem(rsa_key, BestAvailableEncryption(b"passphrase"))
    other = pem(ec.generate_private_key(ec.SECP256R1()))
    for text in (public, broken, locked, other):
        with pytest.raises(ApiKeyError) as caught:
            Signer(text)
        lines = [line for line in text.splitlines() if "-----" not in line]
        assert not any(line in str(caught.value) for line in lines)
        assert caught.value.__cause__ is None


def test_no_key_shows_in_a_repr(rsa_key: rsa.RSAPrivateKey) -> None:
    for secret in (SECRET, pem(rsa_key)):
        assert repr(Signer(secret)) in ("Signer(HMAC)", "Signer(RSA)")
