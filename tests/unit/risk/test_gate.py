"""The gate: every refusal code it can give, the order of its checks, and what it may never approve."""

import ast
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import pms
from pms.model.account import AccountStatus, Position, PositionSide, RiskRules
from pms.model.ids import ClientOrderId
from pms.model.money import ZERO, Quantity
from pms.model.order import OrderCode, OrderSide, SelfMatchPrevention, TimeInForce
from pms.model.price import STALE_AFTER_MS
from pms.model.refusal import RefusalCode, Refused
from pms.model.restriction import Restriction
from pms.risk.gate import (
    Approved,
    FlipMode,
    GateInput,
    MarkedPosition,
    OrderRequest,
    approve,
    approve_amendment,
    approve_house,
    assess,
    decide,
)
from pms.risk.messages import refusal
from pms.risk.real_purse import RealPurse
from tests.unit.risk.builders import (
    BTC,
    ETH,
    WIDE_RULES,
    account,
    gate_input,
    limit,
    market,
    position,
    resting,
    symbol_rules,
)

LONG, SHORT = PositionSide.LONG, PositionSide.SHORT
NAN, INFINITY = Decimal("NaN"), Decimal("Infinity")


def codes(given_input: GateInput) -> list[str]:
    return [refusal.code.name for refusal in assess(given_input).refusals]


def approved(given_input: GateInput) -> Approved:
    outcome = decide(given_input)
    assert isinstance(outcome, Approved), outcome
    return outcome


def purse(
    net: int = 0, margin_available: int = 1000, margin_ratio: str = "0", notional_cap: int | None = None
) -> RealPurse:
    cap = None if notional_cap is None else Decimal(notional_cap)
    available, ratio = Decimal(margin_available), Decimal(margin_ratio)
    return RealPurse(Decimal(net), ZERO, ZERO, Decimal(20), available, ratio, cap)


def small(**changes: Any) -> RiskRules:
    return replace(WIDE_RULES, **changes)


REFUSALS: list[tuple[str, GateInput]] = [
    ("INVALID_QUANTITY", gate_input(market(0))),
    ("INVALID_QUANTITY", gate_input(market(-1))),
    ("INVALID_QUANTITY", gate_input(market(NAN))),
    ("INVALID_QUANTITY", gate_input(market(INFINITY))),
    ("INVALID_QUANTITY", gate_input(market(121))),
    ("INVALID_QUANTITY", gate_input(limit("0.0004"))),
    ("INVALID_PRICE", gate_input(limit(1, None))),
    ("INVALID_PRICE", gate_input(limit(1, 0))),
    ("INVALID_PRICE", gate_input(limit(1, NAN))),
    ("INVALID_PRICE", gate_input(limit(1, "0.04"))),
    ("INVALID_PRICE", gate_input(limit("0.001", 2_000_000))),
    ("INVALID_PRICE", gate_input(limit(1, 120), symbol_rules=symbol_rules(percent_price_up=Decimal("1.1")))),
    (
        "INVALID_PRICE",
        gate_input(limit(1, 80, SHORT), symbol_rules=symbol_rules(percent_price_down=Decimal("0.9"))),
    ),
    ("INVALID_LEVERAGE", gate_input(market(leverage=0))),
    ("INVALID_LEVERAGE", gate_input(market(leverage=-5))),
    ("INVALID_LEVERAGE", gate_input(market(leverage=126), rules=small(leverage_max=Decimal(200)))),
    ("INVALID_LEVERAGE", gate_input(market(1, SHORT, leverage=126), position(quantity=4))),
    ("MAX_LEVERAGE_EXCEEDED", gate_input(market(leverage=126))),
    ("INVALID_LEVERAGE", gate_input(market(leverage=NAN))),
    ("NOT_READY", gate_input(market(), ready=False)),
    ("ACCOUNT_NOT_FOUND", gate_input(market(), account=None)),
    ("UNKNOWN_SYMBOL", gate_input(market(), symbol_rules=None)),
    ("SYMBOL_NOT_TRADING", gate_input(market(), symbol_rules=symbol_rules(trading=False))),
    ("ACCOUNT_FROZEN", gate_input(market(), account=account(status=AccountStatus.FROZEN))),
    ("ACCOUNT_FROZEN", gate_input(market(), account=account(status=AccountStatus.LIQUIDATED))),
    ("TRADING_RESTRICTED", gate_input(market(), restriction=Restriction.BLOCK_ENTRIES)),
    ("TRADING_RESTRICTED", gate_input(market(), restriction=Restriction.FLATTEN)),
    (
        "TRADING_RESTRICTED",
        gate_input(limit(1, 110, SHORT, reduce_only=True), position(), restriction=Restriction.HALT),
    ),
    ("NO_PRICE", gate_input(market(), mark=None)),
    ("TRADING_HALTED", gate_input(market(), halted=True)),
    ("LIQUIDATION_IN_PROGRESS", gate_input(market(), liquidating=True)),
    ("STALE_PRICE", gate_input(market(), mark_age_ms=STALE_AFTER_MS + 1)),
    ("STALE_PRICE", gate_input(market(), positions=(MarkedPosition(position(ETH), None),))),
    ("REDUCE_ONLY_REJECTED", gate_input(market(reduce_only=True))),
    ("REDUCE_ONLY_REJECTED", gate_input(market(reduce_only=True), position())),
    (
        "REDUCE_ONLY_REJECTED",
        gate_input(market(1, SHORT, reduce_only=True), position(), closing_taken=Decimal(1)),
    ),
    ("EXCHANGE_MIN_NOTIONAL", gate_input(market("0.04"))),
    ("EXCHANGE_MIN_NOTIONAL", gate_input(limit("0.04"), symbol_rules=symbol_rules(notional_min=Decimal(0)))),
    ("MAX_LEVERAGE_EXCEEDED", gate_input(market(leverage=101))),
    ("MAX_NOTIONAL_EXCEEDED", gate_input(market(), rules=small(notional_per_trade_max=Decimal(99)))),
    ("MAX_EXPOSURE_EXCEEDED", gate_input(market(), rules=small(exposure_max=Decimal(99)))),
    ("INSUFFICIENT_MARGIN", gate_input(market(110, leverage=10), account=account(balance=1000))),
    ("MARGIN_RATIO_EXCEEDED", gate_input(market("98"), account=account(balance=1000))),
    ("OPEN_ORDERS_LIMIT", gate_input(limit(), open_orders=180, open_orders_limit=180)),
    ("OPEN_ORDERS_LIMIT", gate_input(limit(), account_open_orders=60, account_open_orders_max=60)),
    (
        "REAL_MARGIN_INSUFFICIENT",
        gate_input(market(), real=purse(margin_available=4)),
    ),
    (
        "REAL_ENTRIES_BLOCKED",
        gate_input(market(), real=replace(purse(margin_ratio="0.65"), blocked=True)),
    ),
    (
        "REAL_NOTIONAL_CAP",
        gate_input(market(), real=purse(notional_cap=50)),
    ),
    (
        "EXCHANGE_STATE_UNKNOWN",
        gate_input(market(), real=replace(purse(), known=False)),
    ),
]


@pytest.mark.parametrize(("code", "given_input"), REFUSALS)
def test_refusals(code: str, given_input: GateInput) -> None:
    assert code in codes(given_input)
    refused = decide(given_input)
    assert isinstance(refused, Refused)
    assert all(refusal.message for refusal in refused.refusals)


def test_a_plain_order_is_approved_and_rounded() -> None:
    yes = approved(gate_input(market("1.23456")))
    assert (yes.side, yes.quantity, yes.price) == (OrderSide.BUY, Decimal("1.234"), None)
    assert (yes.closing, yes.opening, yes.reduce_only) == (0, Decimal("1.234"), False)
    assert yes.margin_required == Decimal("12.34")
    assert yes.computed == {
        "price": 100.0,
        "notional": 123.4,
        "requiredMargin": 12.34,
        "availableBalance": 1000.0,
        "currentExposure": 0.0,
        "equity": 1000.0,
        "maintenanceMargin": 0.0,
    }
    assert approved(gate_input(limit(1, "99.96"))).price == Decimal("100.0")


def test_all_refusals_come_in_the_order_of_the_checks() -> None:
    rules = RiskRules(Decimal(20), Decimal(50), Decimal(80), Decimal("0.9"))
    broken = gate_input(
        limit("20", leverage=25),
        rules=rules,
        account=account(balance=1),
        open_orders=5,
        open_orders_limit=5,
        halted=True,
    )
    assert codes(broken) == [
        "TRADING_HALTED",
        "MAX_LEVERAGE_EXCEEDED",
        "MAX_NOTIONAL_EXCEEDED",
        "MAX_EXPOSURE_EXCEEDED",
        "INSUFFICIENT_MARGIN",
        "MARGIN_RATIO_EXCEEDED",
        "OPEN_ORDERS_LIMIT",
    ]
    assert assess(broken).computed["notional"] == 2000.0


ORDER_OF_THE_CHECKS: list[tuple[str, dict[str, Any]]] = [
    # Ledger spec 4.2, with the numbers first (H20); each step is broken on its own on top of all later ones.
    ("INVALID_QUANTITY", {"request": limit(NAN, leverage=25)}),
    ("NOT_READY", {"ready": False}),
    ("ACCOUNT_NOT_FOUND", {"account": None}),
    ("UNKNOWN_SYMBOL", {"symbol_rules": None}),
    ("ACCOUNT_FROZEN", {"account": account(balance=1, status=AccountStatus.FROZEN)}),
    ("TRADING_RESTRICTED", {"restriction": Restriction.BLOCK_ENTRIES, "restriction_source": "operator"}),
    ("NO_PRICE", {"mark": None}),
    ("TRADING_HALTED", {"halted": True}),
    ("LIQUIDATION_IN_PROGRESS", {"liquidating": True}),
    ("SYMBOL_NOT_TRADING", {"symbol_rules": symbol_rules(trading=False)}),
    ("STALE_PRICE", {"mark_age_ms": STALE_AFTER_MS + 1}),
    ("ORDER_RATE_EXCEEDED", {"rule_refusals": (refusal(RefusalCode.ORDER_RATE_EXCEEDED),)}),
    ("MAX_LEVERAGE_EXCEEDED", {}),
]


@pytest.mark.parametrize("step", range(len(ORDER_OF_THE_CHECKS)))
def test_the_first_broken_check_is_named_first(step: int) -> None:
    changes: dict[str, Any] = {"request": limit("20", leverage=25), "account": account(balance=1)}
    for _, broken in reversed(ORDER_OF_THE_CHECKS[step:]):
        changes |= broken
    rules = RiskRules(Decimal(20), Decimal(50), Decimal(80), Decimal("0.9"))
    request = changes.pop("request")
    assert codes(gate_input(request, rules=rules, **changes))[0] == ORDER_OF_THE_CHECKS[step][0]


def test_a_restriction_says_its_level_and_its_source() -> None:
    refused = decide(
        gate_input(market(), restriction=Restriction.REDUCE_ONLY, restriction_source="rule:daily_loss")
    )
    assert isinstance(refused, Refused)
    assert [(one.code, one.fields) for one in refused.refusals] == [
        (RefusalCode.TRADING_RESTRICTED, {"level": "REDUCE_ONLY", "source": "rule:daily_loss"})
    ]


@pytest.mark.parametrize(
    ("level", "at_market", "resting_close"),
    [
        (Restriction.NONE, True, True),
        (Restriction.BLOCK_ENTRIES, True, True),
        (Restriction.REDUCE_ONLY, True, True),
        (Restriction.HALT, True, False),
        (Restriction.FLATTEN, True, False),
    ],
)
def test_what_each_level_leaves_to_close_with(
    level: Restriction, at_market: bool, resting_close: bool
) -> None:
    held = position(quantity=2)
    close = gate_input(market(2, SHORT, reduce_only=True), held, restriction=level)
    rest = gate_input(limit(2, 110, SHORT, reduce_only=True), held, restriction=level)
    assert isinstance(decide(close), Approved) is at_market
    assert isinstance(decide(rest), Approved) is resting_close


def test_the_quota_of_an_account_is_apart_from_the_bound_of_the_symbol() -> None:
    full = gate_input(limit(), account_open_orders=60, account_open_orders_max=60, open_orders=180)
    refused = assess(replace(full, open_orders_limit=180)).refusals
    assert [one.fields["scope"] for one in refused] == ["symbol", "account"]
    closing = limit(1, 110, SHORT, reduce_only=True)
    assert codes(replace(full, request=closing, positions=(MarkedPosition(position(), Decimal(100)),))) == []


def test_an_order_of_a_lower_leverage_asks_for_the_margin_of_the_whole_position() -> None:
    held = position(quantity=50, leverage=100)  # notional 5,000, margin 50
    yes = approved(gate_input(market(1, leverage=10), held))
    assert yes.margin_required == 460  # (5,000 + 100) / 10 - 50
    assert yes.computed["requiredMargin"] == 10.0  # the trade's own, as the incumbent reports it
    assert codes(gate_input(market(1, leverage=5), held)) == ["MARGIN_RATIO_EXCEEDED"]
    assert codes(gate_input(market(1, leverage=4), held))[0] == "INSUFFICIENT_MARGIN"


def test_a_close_leaves_the_quantity_of_a_market_order_in_flight() -> None:
    held = position(quantity=4)
    closing = market(4, SHORT, reduce_only=True)
    assert codes(gate_input(closing, held, crossing_taken=Decimal(4))) == ["REDUCE_ONLY_REJECTED"]
    blocked = gate_input(market(4, SHORT), held, crossing_taken=Decimal(1), halted=True)
    assert codes(blocked)[0] == "TRADING_HALTED"


def test_numbers_are_checked_before_everything() -> None:
    assert codes(gate_input(limit(NAN, NAN, leverage=NAN), account=None, ready=False)) == [
        "INVALID_QUANTITY",
        "INVALID_PRICE",
        "INVALID_LEVERAGE",
    ]


def test_reduce_only_is_capped_to_the_free_capacity() -> None:
    yes = approved(
        gate_input(market(9, SHORT, reduce_only=True), position(quantity=4), closing_taken=Decimal(1))
    )
    assert (yes.quantity, yes.closing, yes.opening, yes.reduce_only) == (3, 3, 0, True)


def test_reducing_needs_no_margin_no_price_and_no_minimum() -> None:
    poor = account(balance=0, status=AccountStatus.LIQUIDATED)
    yes = approved(
        gate_input(
            market("0.01", SHORT, leverage=0, reduce_only=True),
            position(quantity="0.01"),
            account=poor,
            mark=None,
            halted=True,
            liquidating=True,
        )
    )
    assert (yes.quantity, yes.margin_required) == (Decimal("0.01"), 0)


@pytest.mark.parametrize(
    "changes",
    [
        {"account": account(status=AccountStatus.FROZEN)},
        {"halted": True},
        {"liquidating": True},
        {"restriction": Restriction.REDUCE_ONLY},
        {"restriction": Restriction.HALT},
        {"mark": None},
        {"mark_age_ms": STALE_AFTER_MS + 1},
        {"symbol_rules": symbol_rules(trading=False)},
    ],
)
def test_blocked_exposure_still_reduces_but_only_reduces(changes: dict[str, Any]) -> None:
    held = position(quantity=2)
    assert approved(gate_input(market(2, SHORT), held, **changes)).reduce_only
    assert isinstance(decide(gate_input(market("2.001", SHORT), held, **changes)), Refused)
    assert isinstance(decide(gate_input(market(1, LONG), held, **changes)), Refused)


def test_net_flip_closes_first_and_charges_only_the_opening_part() -> None:
    held = position(quantity=4, entry=100, leverage=10)
    yes = approved(gate_input(market(6, SHORT), held))
    assert (yes.quantity, yes.closing, yes.opening, yes.margin_required) == (6, 4, 2, 20)
    assert yes.computed["currentExposure"] == 0.0
    assert yes.computed["maintenanceMargin"] == 0.0


def test_incumbent_flip_sends_old_plus_new() -> None:
    held = position(quantity=4)
    yes = approved(gate_input(market(2, SHORT), held, flip_mode=FlipMode.INCUMBENT))
    assert (yes.quantity, yes.closing, yes.opening) == (6, 4, 2)
    resting_yes = approved(gate_input(limit(2, 100, SHORT), held, flip_mode=FlipMode.INCUMBENT))
    assert (resting_yes.quantity, resting_yes.opening) == (2, 0)


def test_the_pnl_of_the_opposite_position_counts_once() -> None:
    held = position(side=SHORT, quantity=1, entry=120)
    assert approved(gate_input(market(2), held)).computed["equity"] == 1020.0


def test_what_is_owed_is_not_available() -> None:
    assert "MARGIN_RATIO_EXCEEDED" in codes(gate_input(market(50), account=account(balance=1000, owed=600)))


def test_resting_orders_count_in_margin_and_exposure() -> None:
    orders = (resting(OrderSide.BUY, 40), resting(OrderSide.BUY, 40, symbol=ETH))
    assert codes(gate_input(market(17), orders=orders)) == []
    assert codes(gate_input(market(18), orders=orders)) == ["MARGIN_RATIO_EXCEEDED"]
    tight = small(exposure_max=Decimal(8100))
    assert codes(gate_input(market(1), orders=orders, rules=tight)) == []
    assert codes(gate_input(market("1.001"), orders=orders, rules=tight)) == ["MAX_EXPOSURE_EXCEEDED"]


def test_both_sides_never_fill_together() -> None:
    orders = (resting(OrderSide.SELL, 60),)
    assert codes(gate_input(market(60), orders=orders)) == []


def test_a_resting_close_takes_the_capacity_of_a_later_one() -> None:
    held = position(quantity=4)
    orders = (resting(OrderSide.SELL, 4),)
    yes = approved(gate_input(market(3, SHORT), held, orders=orders))
    assert (yes.closing, yes.opening) == (0, 3)


def test_reduce_only_orders_add_no_exposure() -> None:
    orders = (resting(OrderSide.SELL, 90, reduce_only=True),)
    assert approved(gate_input(market(90), position(quantity="0.1"), orders=orders)).opening == 90


def test_a_marketable_sell_is_valued_at_the_market() -> None:
    assert approved(gate_input(limit(1, 90, SHORT))).margin_required == 10
    assert approved(gate_input(limit(1, 90, LONG))).margin_required == 9


def test_the_real_purse_asks_only_for_growth() -> None:
    tight = purse(net=-500, margin_available=0)
    assert codes(gate_input(market(5, LONG), real=tight)) == []
    assert codes(gate_input(market(1, SHORT), real=tight)) == ["REAL_MARGIN_INSUFFICIENT"]


@pytest.mark.parametrize("reduce_only", [True, False])
def test_a_reduction_is_never_refused_by_the_real_purse(reduce_only: bool) -> None:
    """Also one that makes the real net larger, because an opposite holder covered it, and while the account
    is unknown, blocked and at its cap."""
    empty = replace(purse(net=-500, margin_available=-9, notional_cap=1), known=False, blocked=True)
    closing = gate_input(market(1, SHORT, reduce_only=reduce_only), position(), real=empty)
    assert codes(closing) == []


def test_both_purses_refuse_with_different_codes() -> None:
    poor = gate_input(market(110, leverage=10), account=account(balance=1000), real=purse(margin_available=4))
    assert codes(poor) == ["INSUFFICIENT_MARGIN", "MARGIN_RATIO_EXCEEDED", "REAL_MARGIN_INSUFFICIENT"]


def test_orders_that_never_rest_are_not_counted() -> None:
    immediate = replace(limit(), time_in_force=TimeInForce.IOC)
    assert codes(gate_input(immediate, open_orders=200, open_orders_limit=180)) == []


@st.composite
def gate_inputs(draw: st.DrawFn) -> GateInput:
    number = st.decimals("0.001", 50, places=3)
    held: list[Position] = []
    if draw(st.booleans()):
        held.append(position(BTC, draw(st.sampled_from([LONG, SHORT])), draw(number), draw(number)))
    if draw(st.booleans()):
        held.append(position(ETH, draw(st.sampled_from([LONG, SHORT])), draw(number), draw(number)))
    side = draw(st.sampled_from([LONG, SHORT]))
    request = draw(st.sampled_from([market(draw(number), side), limit(draw(number), draw(number), side)]))
    orders = draw(
        st.lists(
            st.builds(
                resting,
                st.sampled_from(list(OrderSide)),
                number.map(str),
                number.map(str),
                reduce_only=st.booleans(),
                symbol=st.sampled_from([BTC, ETH]),
            ),
            max_size=3,
        )
    )
    return gate_input(
        replace(request, reduce_only=draw(st.booleans())),
        *held,
        account=account(
            balance=draw(st.integers(0, 2000)), status=draw(st.sampled_from(list(AccountStatus)))
        ),
        orders=tuple(orders),
        closing_taken=draw(st.decimals(0, 20, places=3)),
        halted=draw(st.booleans()),
        liquidating=draw(st.booleans()),
        mark_age_ms=draw(st.sampled_from([0, 20_000])),
        mark=draw(st.sampled_from([None, Decimal(10), Decimal(45)])),
    )


@given(gate_inputs())
def test_properties_of_every_approval(given_input: GateInput) -> None:
    outcome = decide(given_input)
    request: OrderRequest = given_input.request
    if isinstance(outcome, Refused):
        assert outcome.refusals
        return
    held = next((item.position for item in given_input.positions if item.position.symbol == BTC), None)
    opposing = held.quantity if held is not None and held.side is not request.side else Decimal(0)
    assert outcome.quantity == outcome.closing + outcome.opening
    assert 0 < outcome.quantity <= request.quantity
    assert outcome.quantity % Decimal("0.001") == 0
    assert outcome.closing <= opposing
    if outcome.reduce_only:
        assert outcome.opening == 0
        assert outcome.quantity <= opposing - given_input.closing_taken
    blocked = (
        given_input.halted
        or given_input.liquidating
        or given_input.mark is None
        or given_input.mark_age_ms > STALE_AFTER_MS
        or given_input.account is None
        or given_input.account.status is not AccountStatus.ACTIVE
    )
    if request.reduce_only or blocked:
        assert outcome.reduce_only


@given(gate_inputs(), st.decimals("0.001", 1, places=3))
def test_a_smaller_order_breaks_no_further_limit(given_input: GateInput, less: Decimal) -> None:
    exempt = {RefusalCode.EXCHANGE_MIN_NOTIONAL, RefusalCode.INVALID_QUANTITY}
    before = {refusal.code for refusal in assess(given_input).refusals}
    smaller = replace(
        given_input, request=replace(given_input.request, quantity=given_input.request.quantity * less)
    )
    after = {refusal.code for refusal in assess(smaller).refusals}
    if not before:
        assert after <= exempt


@pytest.mark.parametrize(
    ("code", "reduce_only", "expected"),
    [
        (OrderCode.MARKET, False, SelfMatchPrevention.EXPIRE_TAKER),
        (OrderCode.LIMIT, False, SelfMatchPrevention.EXPIRE_TAKER),
        (OrderCode.MARKET, True, SelfMatchPrevention.EXPIRE_MAKER),
        (OrderCode.LIQUIDATION, True, SelfMatchPrevention.EXPIRE_MAKER),
        (OrderCode.TRAILING_STOP, True, SelfMatchPrevention.EXPIRE_MAKER),
        (OrderCode.CLOSE, True, SelfMatchPrevention.EXPIRE_MAKER),
    ],
)
def test_approved_orders(code: OrderCode, reduce_only: bool, expected: SelfMatchPrevention) -> None:
    request = replace(market(1, SHORT, reduce_only=reduce_only), code=code)
    held = [position(quantity=2)] if reduce_only else []
    yes = approved(gate_input(request, *held))
    order = approve(ClientOrderId("PMSacct-1_MK_1"), request, yes, reduce_only_wire=reduce_only)
    assert (order.side, order.quantity, order.self_match) == (OrderSide.SELL, 1, expected)
    assert order.reduce_only_wire is reduce_only
    assert order.risk_reducing is reduce_only


def test_an_amendment_is_approved_for_what_is_left_to_execute() -> None:
    order_id, executed = ClientOrderId("PMSabcdefgh_L_1"), Quantity(Decimal("0.4"))
    entry = limit("0.6004", "99.96")
    change = approve_amendment(order_id, entry, approved(gate_input(entry)), executed, modify_id=3)
    assert (change.quantity, change.price, change.modify_id) == (Decimal(1), Decimal("100.0"), 3)
    assert not change.risk_reducing
    close = limit(5, 101, SHORT, reduce_only=True)
    reducing = approve_amendment(order_id, close, approved(gate_input(close, position(quantity=2))), executed)
    assert reducing.risk_reducing
    assert reducing.quantity == Decimal("2.4")
    with pytest.raises(ValueError, match="no price"):
        approve_amendment(order_id, market(1), approved(gate_input(market(1))), executed)


def test_house_orders_are_market_and_reduce_risk() -> None:
    order = approve_house(
        ClientOrderId("PMS00000000_HO_1"), BTC, OrderSide.SELL, Quantity(Decimal(3)), reduce_only_wire=False
    )
    assert order.risk_reducing
    assert order.price is None


def test_only_the_gate_makes_approved_orders() -> None:
    makers = set()
    root = Path(pms.__file__).parent if pms.__file__ else Path(pms.__path__[0])
    for path in root.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call):
                name = (
                    node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
                )
                if name in ("ApprovedOrder", "ApprovedAmendment"):
                    makers.add(path.relative_to(root).as_posix())
    assert makers == {"risk/gate.py"}
