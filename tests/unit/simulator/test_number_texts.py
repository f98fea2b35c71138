"""Numbers are written as the venue writes them: REST rows in the symbol's own scale, events without zeros."""

from __future__ import annotations

from decimal import Decimal as D
from typing import Any

import pytest

from pms.simulator.recordings_index import reference_funding
from pms.simulator.state import margin_text, money
from tests.unit.simulator.in_process import Exchange, Listener, exchange

LIMIT = {
    "symbol": "BTCUSDT", "side": "BUY", "type": "LIMIT", "timeInForce": "GTC",
    "quantity": "0.01", "price": "59000",
}  # fmt: skip
MARKET = {"symbol": "BTCUSDT", "side": "BUY", "type": "MARKET", "quantity": "0.01"}


async def rows_of(venue: Exchange) -> dict[str, dict[str, Any]]:
    """Return the answers about one resting order by endpoint."""
    placed = (await venue.order(**LIMIT)).body
    named = {"symbol": "BTCUSDT", "orderId": placed["orderId"]}
    changed = await venue.signed("PUT", "/fapi/v1/order", **named, side="BUY", quantity="0.02", price="59001")
    rows = {"POST": placed, "PUT": changed.body}
    for method, path in (("GET", "order"), ("GET", "openOrder"), ("DELETE", "order")):
        rows[f"{method} {path}"] = (await venue.signed(method, f"/fapi/v1/{path}", **named)).body
    return rows


async def test_an_order_row_has_the_scale_of_its_symbol() -> None:
    async with exchange(order_fields_before_2026_06=True) as venue:
        rows = await rows_of(venue)
        assert (rows["POST"]["price"], rows["POST"]["origQty"]) == ("59000.00", "0.010")
        del rows["POST"]
        for name, row in rows.items():
            assert (row["price"], row["origQty"], row["stopPrice"]) == ("59001.00", "0.020", "0.00"), name
            assert (row["executedQty"], row["avgPrice"], row["cumQuote"]) == ("0.000", "0.00", "0.00000"), (
                name
            )


async def test_a_filled_order_tells_its_average_with_the_digits_of_price_and_quantity() -> None:
    async with exchange() as venue:
        placed = (await venue.order(**MARKET, newOrderRespType="RESULT")).body
        assert (placed["price"], placed["executedQty"], placed["cumQty"]) == ("0.00", "0.010", "0.010")
        row = (await venue.signed("GET", "/fapi/v1/allOrders", symbol="BTCUSDT")).body[0]
        assert (row["avgPrice"], row["cumQuote"], row["cumBase"]) == ("60000.10000", "600.00100", "0.010")


@pytest.mark.parametrize("path", ["v2/positionRisk", "v3/positionRisk", "v2/account", "v3/account"])
async def test_a_position_row_has_the_scale_of_its_symbol(path: str) -> None:
    async with exchange() as venue:
        await venue.order(**MARKET)
        body = (await venue.signed("GET", f"/fapi/{path}")).body
        rows = body["positions"] if path.endswith("account") else body
        amounts = {row["symbol"]: row["positionAmt"] for row in rows}
        assert amounts["BTCUSDT"] == "0.010"
        assert amounts.get("ETHUSDT", "0.000") == "0.000"


async def test_trade_lite_is_scaled_and_the_full_event_is_not() -> None:
    async with exchange() as venue:
        listener, _ = await venue.listen()
        await venue.order(**MARKET)
        lite, new, _, traded = listener.events
        assert [lite[name] for name in "qpLl"] == ["0.010", "0.00", "60000.10", "0.010"]
        assert [new["o"][name] for name in ("q", "p", "ap", "l", "n", "N")] == [
            "0.01", "0", "0", "0", "0", "USDT",
        ]  # fmt: skip
        assert [traded["o"][name] for name in ("q", "L", "l", "z", "ap")] == [
            "0.01", "60000.1", "0.01", "0.01", "60000.1",
        ]  # fmt: skip


def notionals(listener: Listener) -> list[tuple[str, str, str]]:
    """Return execution type, bid and ask notional of the order events, and forget them."""
    events = [e["o"] for e in listener.events if e["e"] == "ORDER_TRADE_UPDATE"]
    listener.events.clear()
    return [(o["x"], o["b"], o["a"]) for o in events]


async def test_order_events_tell_what_the_open_orders_of_the_symbol_are_worth() -> None:
    """Spec 5.3, `b` and `a`: after the event, on both sides of the book, at the orders' own prices."""
    async with exchange() as venue:
        listener, _ = await venue.listen()
        first = (await venue.order(**LIMIT)).body
        await venue.order(**LIMIT | {"price": "58000"})
        await venue.order(**LIMIT | {"side": "SELL", "price": "61000"})
        await venue.order(**MARKET)
        assert notionals(listener) == [
            ("NEW", "590", "0"),
            ("NEW", "1170", "0"),
            ("NEW", "1170", "610"),
            ("NEW", "1170", "610"),
            ("TRADE", "1170", "610"),
        ]
        changed = {"orderId": first["orderId"], "symbol": "BTCUSDT", "side": "BUY"}
        await venue.signed("PUT", "/fapi/v1/order", **changed, quantity="0.02", price="59000")
        await venue.signed("DELETE", "/fapi/v1/order", symbol="BTCUSDT", orderId=first["orderId"])
        assert notionals(listener) == [("AMENDMENT", "1760", "610"), ("CANCELED", "580", "610")]


async def test_in_hedge_mode_order_events_tell_of_their_own_side() -> None:
    async with exchange() as venue:
        await venue.signed("POST", "/fapi/v1/positionSide/dual", dualSidePosition="true")
        listener, _ = await venue.listen()
        await venue.order(**LIMIT, positionSide="LONG")
        await venue.order(**LIMIT | {"side": "SELL", "price": "61000"}, positionSide="SHORT")
        assert notionals(listener) == [("NEW", "590", "0"), ("NEW", "0", "610")]


def test_an_amount_that_rounds_to_nothing_has_no_sign() -> None:
    assert (money(D("-0.000000001")), margin_text(D("-0.000000001"))) == ("0.00000000", "0.00000000")
    assert money(D("-0.00000001")) == "-0.00000001"


def test_funding_rates_of_the_reference_have_eight_decimals() -> None:
    rates = [rate for rows in reference_funding().values() for _, rate in rows]
    assert {len(rate.lstrip("-").partition(".")[2]) for rate in rates} == {8}


@pytest.mark.parametrize(
    ("path", "field"), [("v2/ticker/price", "price"), ("v1/ticker/24hr", "lastPrice"), ("v1/klines", "")]
)
async def test_a_last_price_without_a_trade_is_one_that_an_order_may_have(path: str, field: str) -> None:
    """Clients place limit orders at the last price: half a tick above the bid would be refused."""
    async with exchange() as venue:
        query = "symbol=BTCUSDT" if field else "symbol=BTCUSDT&interval=1m&limit=1"
        body = (await venue.raw("GET", f"/fapi/{path}", query)).body
        price = body[field] if field else body[0][4]
        assert price == "60000.00"
        assert (await venue.order(**LIMIT | {"price": price})).status == 200
