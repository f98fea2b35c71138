"""Commissions in the account's asset."""

from decimal import Decimal

import pytest

from pms.execution.fees import fee_in_settle_asset
from pms.model.fill import ExchangeFill, FillSource
from pms.model.ids import ClientOrderId, ExchangeOrderId, TradeId
from pms.model.money import Price, Quantity
from pms.model.order import OrderSide
from pms.model.symbol import Symbol


def fill(fee: str, asset: str) -> ExchangeFill:
    return ExchangeFill(
        "BTCUSDT",
        Symbol("BTC/USDT:USDT"),
        TradeId(1),
        ExchangeOrderId("1"),
        ClientOrderId("x"),
        OrderSide.BUY,
        Price(Decimal(100)),
        Quantity(Decimal(2)),
        Decimal(fee),
        asset,
        maker=False,
        trade_time_ms=0,
        source=FillSource.STREAM,
    )


@pytest.mark.parametrize(
    ("fee", "asset", "price", "expected", "estimated"),
    [
        ("0.1", "USDT", None, "0.1", False),
        ("-0.1", "USDT", None, "-0.1", False),
        ("0", "", None, "0", False),
        ("0.001", "BNB", 600.5, "0.6005", False),
        ("0.001", "BNB", None, "0.1", True),
        ("0.001", "BNB", 0.0, "0.1", True),
    ],
)
def test_fee(fee: str, asset: str, price: float | None, expected: str, estimated: bool) -> None:
    assert fee_in_settle_asset(fill(fee, asset), "USDT", lambda _: price) == (Decimal(expected), estimated)
