"""Signatures equal the exchange's own test vectors; encoding is what is signed."""

import pytest

from pms.exchange.binance.signing import Signer, encode

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
