"""Netting: wire reduce-only, desync, expected net. Exhaustive over small grids, then properties."""

from decimal import Decimal
from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pms.model.account import PositionSide
from pms.model.order import OrderSide, OrderState, OrderType, TimeInForce
from pms.risk.netting import (
    SideOrder,
    SymbolBook,
    expected_net,
    unbacked,
    wire_reduce_only,
)

LONG = PositionSide.LONG
BUY, SELL = OrderSide.BUY, OrderSide.SELL
GTC, IOC = TimeInForce.GTC, TimeInForce.IOC
lots = st.integers(0, 40).map(lambda count: Decimal(count) / 10)
signed_lots = st.integers(-40, 40).map(lambda count: Decimal(count) / 10)


@pytest.mark.parametrize(
    ("net", "bids", "asks", "side", "quantity", "allowed"),
    [
        ("5", "0", "0", SELL, "5", True),
        ("5", "0", "0", SELL, "5.1", False),
        ("5", "0", "2", SELL, "3", True),
        ("5", "0", "2", SELL, "3.1", False),
        ("5", "9", "0", SELL, "5", True),
        ("5", "0", "0", BUY, "1", False),
        ("-5", "0", "0", BUY, "5", True),
        ("-5", "1", "0", BUY, "5", False),
        ("-5", "0", "0", SELL, "1", False),
        ("0", "0", "0", SELL, "1", False),
        (None, "0", "0", SELL, "1", False),
    ],
)
def test_wire_reduce_only(
    net: str | None, bids: str, asks: str, side: OrderSide, quantity: str, allowed: bool
) -> None:
    book = SymbolBook(None if net is None else Decimal(net), Decimal(bids), Decimal(asks))
    assert wire_reduce_only(book, side, OrderType.MARKET, GTC, Decimal(quantity)) is allowed
    assert wire_reduce_only(book, side, OrderType.LIMIT, IOC, Decimal(quantity)) is allowed


@pytest.mark.parametrize("time_in_force", [GTC, TimeInForce.GTX, TimeInForce.FOK])
def test_resting_orders_never_carry_it(time_in_force: TimeInForce) -> None:
    book = SymbolBook(Decimal(5))
    assert not wire_reduce_only(book, SELL, OrderType.LIMIT, time_in_force, Decimal(1))


@given(signed_lots, lots, lots, st.sampled_from(list(OrderSide)), lots)
def test_reduce_only_cannot_be_refused_or_cut(
    net: Decimal, bids: Decimal, asks: Decimal, side: OrderSide, quantity: Decimal
) -> None:
    """Whatever fills before it on its side, the net still covers the whole order."""
    if quantity > 0 and wire_reduce_only(SymbolBook(net, bids, asks), side, OrderType.MARKET, GTC, quantity):
        after_others = net + side.sign * SymbolBook(net, bids, asks).on_side(side)
        after_all = after_others + side.sign * quantity
        assert after_others * side.sign <= 0
        assert after_all * side.sign <= 0


def test_the_book_counts_unknown_and_not_what_is_over() -> None:
    orders = [
        SideOrder(BUY, Decimal(1), OrderState.LIVE),
        SideOrder(BUY, Decimal(2), OrderState.UNKNOWN),
        SideOrder(BUY, Decimal(4), OrderState.FILLED),
        SideOrder(SELL, Decimal(8), OrderState.INTENT),
        SideOrder(SELL, Decimal(16), OrderState.FINISHING),
        SideOrder(SELL, Decimal(32), OrderState.NOT_EXECUTED),
    ]
    book = SymbolBook.of(Decimal(-5), orders)
    assert (book.bids, book.asks) == (3, 24)
    assert book.worst() == 29
    assert SymbolBook(None, Decimal(2), Decimal(1)).worst() == 2


GRID = [Decimal(value) for value in range(-3, 4)]


@pytest.mark.parametrize(
    ("side", "house"), list(product(PositionSide, [Decimal(-1), Decimal(0), Decimal(2)]))
)
def test_what_is_not_backed_over_every_small_case(side: PositionSide, house: Decimal) -> None:
    for exchange, virtual in product(GRID, GRID):
        against = (virtual + house - exchange) * side.sign
        if house * side.sign > 0:  # what the house holds of that side is without backing first
            against -= house * side.sign
        assert unbacked(side, exchange, virtual, house) == max(Decimal(0), against)


def test_opposite_holders_send_a_real_order_when_the_exchange_is_flat() -> None:
    """A LONG 1 and B SHORT 1: the exchange shows nothing, rightly (H1, decision 10)."""
    assert unbacked(LONG, Decimal(0), Decimal(0), Decimal(0)) == 0


@given(st.lists(signed_lots), signed_lots)
def test_expected_net(virtual: list[Decimal], house: Decimal) -> None:
    assert expected_net(virtual, house) == sum(virtual) + house
