"""The domain's enums and values: sides, states, derived figures, symbol filters, refusals."""

from dataclasses import FrozenInstanceError, replace
from decimal import Decimal

import pytest

from pms.model.account import (
    AccountStatus,
    LiquidationMode,
    Position,
    PositionSide,
    PositionStatus,
    RiskRules,
    SubAccount,
)
from pms.model.event import DURABLE_TYPES
from pms.model.ids import ClientOrderId, PositionId, SubAccountId
from pms.model.money import Money, Price, Quantity
from pms.model.order import (
    ExchangeOrderStatus,
    JournalOrder,
    OrderCode,
    OrderSide,
    OrderState,
    OrderType,
    TimeInForce,
)
from pms.model.price import BookTicker
from pms.model.refusal import Refusal, RefusalCode, Refused
from pms.model.symbol import Symbol, SymbolRules

BTC = Symbol("BTC/USDT:USDT")
ALICE = SubAccountId("a11ce000-0000-4000-8000-000000000001")


def position(quantity: str = "2", cost: str = "201", side: PositionSide = PositionSide.LONG) -> Position:
    return Position(
        PositionId("p"), ALICE, BTC, side, Quantity(Decimal(quantity)), Money(Decimal(cost)), Decimal(10),
        Price(Decimal(0)), PositionStatus.OPEN, True, 0, 1,
    )  # fmt: skip


RULES = SymbolRules(
    BTC, "BTC", "USDT", "USDT", Decimal("0.1"), Decimal("10"), Decimal("1000000"),
    Decimal("0.001"), Decimal("0.001"), Decimal("1000"),
    Decimal("0.01"), Decimal("0.01"), Decimal("120"), Decimal("5"), 2, 3,
)  # fmt: skip


def test_opening_and_closing_sides() -> None:
    assert OrderSide.opening(PositionSide.LONG) is OrderSide.BUY
    assert OrderSide.opening(PositionSide.SHORT) is OrderSide.SELL
    for side in PositionSide:
        assert OrderSide.closing(side) is OrderSide.opening(side).opposite
        assert OrderSide.opening(side).opens is side
        assert OrderSide.opening(side).sign == side.sign
        assert side.opposite.opposite is side
        assert side.opposite.sign == -side.sign


def test_only_final_states_are_terminal_and_unknown_is_not() -> None:
    assert {state for state in OrderState if not state.terminal} == {
        OrderState.INTENT,
        OrderState.UNKNOWN,
        OrderState.LIVE,
        OrderState.FINISHING,
    }
    assert {status for status in ExchangeOrderStatus if not status.terminal} == {
        ExchangeOrderStatus.NEW,
        ExchangeOrderStatus.PARTIALLY_FILLED,
    }


def test_order_codes_are_short_and_distinct() -> None:
    codes = [code.value for code in OrderCode]
    assert len(set(codes)) == len(codes)
    assert all(1 <= len(code) <= 2 for code in codes)
    assert {"CP", "FA", "RC", "HO"} <= set(codes)


def test_a_journal_order_knows_what_is_left() -> None:
    order = JournalOrder(
        1, ClientOrderId("c"), ALICE, BTC, OrderSide.SELL, OrderType.LIMIT, TimeInForce.GTX,
        Quantity(Decimal(3)), Price(Decimal(100)), Decimal(1), False, False, OrderCode.LIMIT, "OPEN",
        "MANUAL", OrderState.LIVE, Quantity(Decimal(2)), Quantity(Decimal(1)), 0,
    )  # fmt: skip
    assert order.position_side is PositionSide.SHORT
    assert order.remaining_quantity == 2
    assert replace(order, booked_quantity=Quantity(Decimal(4))).remaining_quantity == 0


def test_a_positions_entry_and_margin_come_from_its_exact_cost() -> None:
    held = position()
    assert held.entry_price == Decimal("100.5")
    assert held.notional == 201
    assert held.margin == Decimal("20.1")
    assert held.signed_quantity == 2
    assert position(side=PositionSide.SHORT).signed_quantity == -2
    assert position("0", "0").entry_price == 0


def test_cash_is_balance_less_what_is_owed() -> None:
    account = SubAccount(
        ALICE, None, "a", "USER", Money(Decimal(100)), Money(Decimal(0)), Money(Decimal(7)),
        AccountStatus.ACTIVE, LiquidationMode.INSTANT_CLOSE, Decimal("0.005"), 0, 0,
    )  # fmt: skip
    assert account.cash == -7
    with pytest.raises(FrozenInstanceError):
        account.balance = Money(Decimal(1))  # type: ignore[misc]


def test_default_rules_are_the_incumbents() -> None:
    defaults = RiskRules()
    figures = (defaults.leverage_max, defaults.notional_per_trade_max, defaults.exposure_max)
    assert (*figures, defaults.liquidation_threshold) == (100, 200, 500, Decimal("0.90"))


def test_quantities_are_cut_to_the_lot_of_their_kind_and_prices_go_to_the_nearest_tick() -> None:
    assert RULES.round_quantity(Decimal("1.2399"), market=False) == Decimal("1.239")
    assert RULES.round_quantity(Decimal("1.2399"), market=True) == Decimal("1.23")
    assert replace(RULES, market_quantity_step=Decimal(0)).round_quantity(
        Decimal("1.2399"), market=True
    ) == Decimal("1.239")
    assert RULES.round_quantity(Decimal("0.0009"), market=False) == 0
    assert RULES.round_price(Decimal("100.05")) == Decimal("100.1")
    assert RULES.quantity_bounds(market=False) == (Decimal("0.001"), Decimal(1000))
    assert RULES.quantity_bounds(market=True) == (Decimal("0.01"), Decimal(120))
    assert replace(RULES, market_quantity_max=Decimal(0)).quantity_bounds(market=True) == (
        Decimal("0.001"),
        Decimal(1000),
    )


def test_the_middle_of_the_book() -> None:
    assert BookTicker(BTC, 99.0, 1, 102.0, 1, 1, 0, 0).mid == 100.5


def test_events_of_the_moment_are_not_durable() -> None:
    assert not DURABLE_TYPES & {"pnl_update", "margin_update", "price_update", "margin_warning"}
    assert {"order_filled", "position_closed", "full_liquidation"} <= DURABLE_TYPES


@pytest.mark.parametrize("code", RefusalCode)
def test_every_refusal_has_a_client_status_and_a_sentence(code: RefusalCode) -> None:
    assert 400 <= code.http_status < 600
    assert code.http_status not in (401, 403, 500), "those belong to authentication and to defects"
    assert code.meaning.endswith(".")
    assert code.name == code.name.upper()
    assert RefusalCode[code.name] is code, "an alias would lose its name on the wire"


def test_two_codes_never_share_status_and_meaning() -> None:
    assert len(list(RefusalCode)) == len(RefusalCode.__members__)


def test_the_incumbents_codes_are_kept() -> None:
    assert {
        "ACCOUNT_NOT_FOUND", "ACCOUNT_FROZEN", "NO_PRICE", "MAX_LEVERAGE_EXCEEDED", "MAX_NOTIONAL_EXCEEDED",
        "MAX_EXPOSURE_EXCEEDED", "INSUFFICIENT_MARGIN", "MARGIN_RATIO_EXCEEDED", "POSITION_NOT_FOUND",
        "POSITION_CLOSED", "EXCHANGE_REJECTED",
    } <= set(RefusalCode.__members__)  # fmt: skip


def test_a_refusal_carries_its_figures_to_log_and_api() -> None:
    refused = Refused.because(RefusalCode.INSUFFICIENT_MARGIN, required=Decimal("10.5"), available=3)
    (refusal,) = refused.refusals
    assert refusal == Refusal(
        RefusalCode.INSUFFICIENT_MARGIN,
        RefusalCode.INSUFFICIENT_MARGIN.meaning,
        {"required": "10.5", "available": "3"},
    )
    assert refusal.log_line() == "INSUFFICIENT_MARGIN: required=10.5 available=3"
    assert refused.http_status == 400
    assert Refused.because(RefusalCode.NOT_READY, "wait").refusals[0].message == "wait"
