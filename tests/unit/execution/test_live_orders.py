"""Reservations: counted from the gate to the booked end, by side, account and symbol."""

from dataclasses import replace
from decimal import Decimal

from pms.execution.live_orders import LiveOrders
from pms.ledger.api import NewIntent
from pms.model.account import PositionSide
from pms.model.ids import ClientOrderId, SubAccountId
from pms.model.money import Price, Quantity
from pms.model.order import JournalOrder, OrderCode, OrderSide, OrderState, OrderType, TimeInForce
from pms.model.symbol import Symbol

BTC, ETH = Symbol("BTC/USDT:USDT"), Symbol("ETH/USDT:USDT")
ALICE, BOB = SubAccountId("alice"), SubAccountId("bob")


def intent(
    number: int,
    owner: SubAccountId = ALICE,
    side: OrderSide = OrderSide.BUY,
    quantity: str = "2",
    *,
    symbol: Symbol = BTC,
    price: str | None = None,
    reduce_only: bool = False,
) -> NewIntent:
    return NewIntent(
        sequence=number,
        client_order_id=ClientOrderId(f"PMS_{number}"),
        sub_account_id=owner,
        symbol=symbol,
        side=side,
        type=OrderType.MARKET if price is None else OrderType.LIMIT,
        time_in_force=TimeInForce.GTC,
        quantity=Quantity(Decimal(quantity)),
        price=None if price is None else Price(Decimal(price)),
        leverage=Decimal(10),
        reduce_only=reduce_only,
        reduce_only_wire=False,
        code=OrderCode.MARKET,
        action="OPEN",
        origin="MANUAL",
    )


def journal(of: NewIntent, state: OrderState, booked: str = "0") -> JournalOrder:
    return JournalOrder(
        sequence=of.sequence,
        client_order_id=of.client_order_id,
        sub_account_id=of.sub_account_id,
        symbol=of.symbol,
        side=of.side,
        type=of.type,
        time_in_force=of.time_in_force,
        quantity=of.quantity,
        price=of.price,
        leverage=of.leverage,
        reduce_only=of.reduce_only,
        reduce_only_wire=False,
        code=of.code,
        action=of.action,
        origin=of.origin,
        state=state,
        executed_quantity=Quantity(Decimal(booked)),
        booked_quantity=Quantity(Decimal(booked)),
        created_at_ms=0,
    )


def test_an_order_counts_from_its_reservation_until_it_is_booked_or_over() -> None:
    live = LiveOrders()
    first = intent(1)
    live.reserve(first, Price(Decimal(100)))
    assert live.on_side(BTC, OrderSide.BUY) == 2
    live.apply([journal(first, OrderState.UNKNOWN)])
    assert live.on_side(BTC, OrderSide.BUY) == 2, "unknown counts like live"
    live.apply([journal(first, OrderState.LIVE, booked="0.5")])
    assert live.on_side(BTC, OrderSide.BUY) == Decimal("1.5")
    live.apply([journal(first, OrderState.FINISHING, booked="0.5")])
    assert live.on_side(BTC, OrderSide.BUY) == Decimal("1.5"), "ended on the exchange, not booked yet"
    live.apply([journal(first, OrderState.CANCELLED, booked="0.5")])
    assert live.on_side(BTC, OrderSide.BUY) == 0
    assert len(live) == 0


def test_sides_accounts_and_symbols_are_kept_apart() -> None:
    live = LiveOrders()
    live.reserve(intent(1, ALICE, OrderSide.BUY), None)
    live.reserve(intent(2, BOB, OrderSide.BUY, "3"), None)
    live.reserve(intent(3, BOB, OrderSide.SELL, "5"), None)
    live.reserve(intent(4, BOB, OrderSide.SELL, "7", symbol=ETH), None)
    assert live.on_side(BTC, OrderSide.BUY) == 5, "of any account"
    assert live.on_side(BTC, OrderSide.SELL) == 5
    assert sorted(order.remaining for order in live.of_account(BOB)) == [3, 5, 7]
    live.release(ClientOrderId("PMS_2"))
    live.release(ClientOrderId("PMS_2"))
    assert live.on_side(BTC, OrderSide.BUY) == 2


def test_closing_capacity_is_taken_by_reduce_only_orders_of_the_account() -> None:
    live = LiveOrders()
    live.reserve(intent(1, ALICE, OrderSide.SELL, "1", reduce_only=True), None)
    live.reserve(intent(2, ALICE, OrderSide.SELL, "4"), None)
    live.reserve(intent(3, BOB, OrderSide.SELL, "8", reduce_only=True), None)
    assert live.closing(ALICE, BTC, PositionSide.LONG) == 1
    assert live.closing(ALICE, BTC, PositionSide.SHORT) == 0
    assert live.closing(ALICE, ETH, PositionSide.LONG) == 0


def test_only_limit_orders_rest_and_a_restart_finds_them_in_the_journal() -> None:
    resting = intent(1, price="90")
    live = LiveOrders()
    live.apply([journal(resting, OrderState.LIVE, booked="1"), journal(intent(2), OrderState.UNKNOWN)])
    assert live.resting_count(BTC) == 1
    assert live.on_side(BTC, OrderSide.BUY) == 3
    live.apply([replace(journal(resting, OrderState.FILLED, booked="2"))])
    assert live.resting_count(BTC) == 0


def test_entries_of_an_account_are_counted_apart_from_what_only_reduces() -> None:
    live = LiveOrders()
    for one in (
        intent(1, price="100"),
        intent(2, price="101", reduce_only=True),
        intent(3),
        intent(4, price="100", symbol=ETH),
        intent(5, BOB, price="100"),
    ):
        live.reserve(one, None)
    assert (live.entries_count(BTC, ALICE), live.entries_count(BTC, BOB), live.resting_count(BTC)) == (
        1,
        1,
        3,
    )


def test_a_changed_leverage_is_followed() -> None:
    live, order = LiveOrders(), intent(1, price="100")
    live.reserve(order, None)
    live.apply([replace(journal(order, OrderState.LIVE), leverage=Decimal(3))])
    assert [one.leverage for one in live.of_account(ALICE)] == [3]
