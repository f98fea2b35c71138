"""A ladder on random books: it ends below the threshold or flat, and never takes a quantity twice.

The ladder here is the pure decision with fills at random prices around the mark; execution has no other.
"""

from dataclasses import dataclass, replace
from decimal import Decimal

from hypothesis import given, settings
from hypothesis import strategies as st

from pms.model.account import LiquidationMode, Position, PositionSide, SubAccount
from pms.model.money import Money, Quantity
from pms.model.price import STALE_AFTER_MS
from pms.model.symbol import Symbol, SymbolRules
from pms.risk.liquidation import (
    STEP_PAUSE_MS,
    Act,
    Label,
    LiquidateAll,
    Nothing,
    PartialClose,
    Postponed,
    StepAction,
    TakeOverAll,
    Timing,
    Warn,
    assess,
)
from tests.unit.risk.builders import account, position, symbol_rules

SYMBOLS = tuple(Symbol(f"{base}/USDT:USDT") for base in ("BTC", "ETH", "SOL"))
RULES: dict[str, SymbolRules] = {symbol: symbol_rules(symbol) for symbol in SYMBOLS}
STEPS_MAX = 200


@dataclass(slots=True)
class World:
    """One account and its positions; closes settle at a price near the mark."""

    owner: SubAccount
    held: dict[str, Position]
    marks: dict[str, Decimal]
    slips: list[Decimal]
    taken: dict[str, Decimal]
    escalated: bool = False

    def close(self, key: str, quantity: Decimal, *, at_mark: bool) -> None:
        one = self.held[key]
        assert 0 < quantity <= one.quantity, "never more than is there"
        self.taken[key] = self.taken.get(key, Decimal(0)) + quantity
        slip = Decimal(0) if at_mark else self.slips[len(self.taken) % len(self.slips)]
        price = self.marks[one.symbol] * (1 - slip * one.side.sign)
        cost = one.cost * quantity / one.quantity
        gained = (price * quantity - cost) * one.side.sign
        cash = self.owner.cash + gained
        self.owner = replace(
            self.owner, balance=Money(max(cash, Decimal(0))), owed=Money(max(-cash, Decimal(0)))
        )
        if quantity == one.quantity:
            del self.held[key]
        else:
            self.held[key] = replace(
                one, quantity=Quantity(one.quantity - quantity), cost=Money(one.cost - cost)
            )

    def carry_out(self, act: Act[Decimal]) -> None:
        match act:
            case PartialClose():
                self.close(act.position_id, act.quantity, at_mark=False)
                self.escalated = act.action is StepAction.ADL_TIER3
            case LiquidateAll() | TakeOverAll():
                for key in list(self.held):
                    self.close(key, self.held[key].quantity, at_mark=isinstance(act, TakeOverAll))


@st.composite
def worlds(draw: st.DrawFn) -> tuple[World, Decimal]:
    mode = draw(st.sampled_from(list(LiquidationMode)))
    owner = account(balance=draw(st.integers(1, 5_000)), mode=mode)
    held: dict[str, Position] = {}
    marks: dict[str, Decimal] = {}
    for symbol in draw(st.lists(st.sampled_from(SYMBOLS), min_size=1, max_size=3, unique=True)):
        entry = draw(st.integers(100, 60_000))
        one = position(
            symbol,
            draw(st.sampled_from(list(PositionSide))),
            Decimal(draw(st.integers(1, 3_000))) / 1000,
            entry,
            leverage=draw(st.integers(1, 50)),
        )
        held[one.id] = one
        marks[symbol] = Decimal(entry) * draw(st.integers(50, 150)) / 100
    slips = draw(st.lists(st.decimals("-0.001", "0.003", places=4), min_size=1, max_size=4))
    threshold = Decimal(draw(st.integers(1, 100))) / 100
    return World(owner, held, marks, slips, {}), threshold


@settings(max_examples=150, deadline=None)
@given(worlds())
def test_a_ladder_ends_below_the_threshold_or_flat_and_takes_nothing_twice(
    given_world: tuple[World, Decimal],
) -> None:
    world, threshold = given_world
    sizes = {key: one.quantity for key, one in world.held.items()}
    now_ms = 0
    for _ in range(STEPS_MAX):
        timing = Timing(now_ms, dict.fromkeys(world.marks, 0))
        seen = assess(
            world.owner,
            threshold,
            tuple(world.held.values()),
            world.marks,
            RULES,
            timing,
            escalated=world.escalated,
        )
        if isinstance(seen.decision, Nothing | Warn):
            break
        assert not isinstance(seen.decision, Postponed)
        before = sum(one.quantity for one in world.held.values())
        world.carry_out(seen.decision)
        assert sum(one.quantity for one in world.held.values()) < before, "every act shrinks the account"
        now_ms += STEP_PAUSE_MS
    else:
        raise AssertionError(f"no end after {STEPS_MAX} steps")
    assert all(taken <= sizes[key] for key, taken in world.taken.items())
    if world.held:
        assert seen.figures.equity_raw > 0
        assert seen.figures.margin_ratio < threshold


@settings(max_examples=150, deadline=None)
@given(worlds(), st.integers(0, 2), st.sampled_from([None, STALE_AFTER_MS + 1, 86_400_000]), st.booleans())
def test_one_stale_price_postpones_every_act_and_changes_none(
    given_world: tuple[World, Decimal], which: int, age_ms: int | None, escalated: bool
) -> None:
    world, threshold = given_world
    held = tuple(world.held.values())
    fresh: dict[str, int | None] = dict.fromkeys(world.marks, 0)
    stale = held[which % len(held)].symbol
    given_fresh = (world.owner, threshold, held, world.marks, RULES, Timing(0, fresh))
    acting = assess(*given_fresh, escalated=escalated).decision
    given_stale = (*given_fresh[:5], Timing(0, {**fresh, stale: age_ms}))
    postponed = assess(*given_stale, escalated=escalated).decision
    if isinstance(acting, Nothing | Warn):
        assert postponed == acting
    else:
        assert isinstance(postponed, Postponed)
        assert stale in postponed.reason
        assert postponed.act == acting


@settings(max_examples=150, deadline=None)
@given(worlds())
def test_what_is_decided_again_after_an_escalation_closes_all_or_nothing(
    given_world: tuple[World, Decimal],
) -> None:
    world, threshold = given_world
    timing = Timing(0, dict.fromkeys(world.marks, 0))
    held = tuple(world.held.values())
    seen = assess(world.owner, threshold, held, world.marks, RULES, timing, escalated=True)
    in_breach = seen.figures.equity_raw <= 0 or seen.figures.margin_ratio >= threshold
    assert isinstance(seen.decision, LiquidateAll if in_breach else Nothing)
    if isinstance(seen.decision, LiquidateAll):
        assert seen.decision.label is Label.ADL_30_ESCALATED
