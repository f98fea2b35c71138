"""Property: whatever the sequence of orders, wallet and positions are what the trades say."""

from __future__ import annotations

from decimal import Decimal as D

from hypothesis import given, settings
from hypothesis import strategies as st

from pms.simulator.state import OPEN, ZERO, Order
from tests.unit.simulator.market_support import NOW, engine_with, place, quote

STEP = st.fixed_dictionaries(
    {
        "symbol": st.sampled_from(["BTCUSDT", "ETHUSDT"]),
        "side": st.sampled_from(["BUY", "SELL"]),
        "type": st.sampled_from(["MARKET", "LIMIT", "LIMIT"]),
        "timeInForce": st.sampled_from(["GTC", "IOC", "FOK", "GTX"]),
        "lots": st.integers(1, 4000),
        "ticks": st.integers(-30, 30),
        "reduceOnly": st.sampled_from(["true", "false", "false"]),
        "move": st.integers(-40, 40),
        "cancel": st.booleans(),
    }
)


@settings(max_examples=60)
@given(st.lists(STEP, max_size=25))
def test_wallet_and_positions_follow_from_the_trades(steps: list[dict[str, object]]) -> None:
    engine, account = engine_with("200000")
    mids = {"BTCUSDT": D("60000.0"), "ETHUSDT": D("3000.00")}
    for step in steps:
        symbol = str(step["symbol"])
        tick = engine.rules[symbol].price.step
        mids[symbol] += int(str(step["move"])) * tick
        quote(engine, symbol, str(mids[symbol]), str(mids[symbol] + tick), size="0.75")
        price = mids[symbol] + int(str(step["ticks"])) * tick
        params = {k: str(step[k]) for k in ("symbol", "side", "type", "timeInForce", "reduceOnly")}
        place(engine, account, **params, quantity=str(D(int(str(step["lots"]))) / 1000), price=str(price))
        if step["cancel"]:
            for order in engine.open_orders_of(account)[:1]:
                engine.cancel(account, order, NOW)

    for symbol in mids:
        trades = [t for t in engine.trades if t.symbol == symbol]
        signed = sum((t.quantity if t.side == "BUY" else -t.quantity for t in trades), ZERO)
        assert engine.position_of(account, symbol).quantity == signed
    value = sum((t.price * t.quantity * (-1 if t.side == "BUY" else 1) for t in engine.trades), ZERO)
    fees = sum((t.commission for t in engine.trades), ZERO)
    cost = sum((p.cost for p in engine.positions.values()), ZERO)
    realized = sum((t.realized for t in engine.trades), ZERO)
    assert account.wallet == 200000 + realized - fees
    assert account.wallet - cost == 200000 + value - fees  # conservation (decision 7), exactly
    assert account.wallet == sum((i.amount for i in engine.income), ZERO)
    for order in engine.all_orders(account):
        _check_order(order, sum((t.quantity for t in engine.trades if t.order_id == order.order_id), ZERO))
    _check_reduce_only(
        engine.open_orders_of(account), {s: engine.position_of(account, s).quantity for s in mids}
    )


def _check_order(order: Order, traded: D) -> None:
    assert order.executed == traded
    assert order.executed <= order.quantity
    assert (order.status == "FILLED") == (order.executed == order.quantity)
    assert (order.status in OPEN) == (
        order.type == "LIMIT" and order.time_in_force in ("GTC", "GTX") and order.is_open
    )


def _check_reduce_only(orders: list[Order], positions: dict[str, D]) -> None:
    for symbol, quantity in positions.items():
        closing = sum((o.remaining for o in orders if o.symbol == symbol and o.reduce_only), ZERO)
        assert closing <= abs(quantity)
