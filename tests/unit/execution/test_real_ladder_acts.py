"""A step of the real account's ladder: when it is taken, and why it waits."""

from dataclasses import dataclass, field, replace
from decimal import Decimal
from typing import Any, cast

import pytest

from pms.bus.hub import EventHub
from pms.exchange.errors import ExchangeUnavailable
from pms.exchange.port import AccountEvent, ExchangePosition, WalletState
from pms.execution.admission import TradingSwitches
from pms.execution.live_orders import LiveOrders
from pms.execution.prices import Prices
from pms.execution.real_account import READING_AGE_MS_MAX, RealAccount
from pms.execution.real_ladder import IN_FLIGHT_MS_MAX, RealLadder
from pms.model.account import Position
from pms.model.bracket import LeverageBracket
from pms.model.ids import ClientOrderId, PositionId, SubAccountId
from pms.model.money import Money, Price
from pms.model.order import JournalOrder, OrderSide, OrderState
from pms.model.price import MarkPrice
from pms.model.refusal import RefusalCode, Refused
from pms.model.symbol import Symbol
from pms.risk.real_ladder import RealLevel
from tests.support.ledger import ManualClock
from tests.unit.execution.test_live_orders import intent, journal
from tests.unit.risk.builders import BTC, account, position, symbol_rules


def money(text: str) -> Money:
    return Money(Decimal(text))


@dataclass
class Exchange:
    """The real account as the exchange answers, long 10 at 100; `balance` makes its ratio 100 / balance."""

    balance: str = "1000"
    away: bool = False
    readings: int = 0

    async def server_time_ms(self) -> int:
        if self.away:
            raise ExchangeUnavailable("away")
        return 1000

    async def wallet(self) -> WalletState:
        self.readings += 1
        balance = money(self.balance)
        return WalletState("USDT", balance, balance, balance, money("0"), money("100"))

    async def positions(self) -> list[ExchangePosition]:
        return [ExchangePosition(BTC, Decimal(10), Price(Decimal(100)), 900)]

    def subscribe(self, symbol: Symbol) -> None:
        assert symbol == BTC


@dataclass
class World:
    """Accounts `a` with 7 and `b` with 3, all of the real net."""

    clock: ManualClock = field(default_factory=ManualClock)
    exchange: Exchange = field(default_factory=Exchange)
    live: LiveOrders = field(default_factory=LiveOrders)
    switches: TradingSwitches = field(default_factory=TradingSwitches)
    closed: list[tuple[PositionId, Decimal | None, str]] = field(default_factory=list)
    answer: Refused | None = None
    journal: dict[ClientOrderId, JournalOrder] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.prices = Prices(self.clock)
        self.held: dict[str, Position] = {
            owner: position(quantity=quantity, owner=owner) for owner, quantity in (("a", 7), ("b", 3))
        }
        outside = cast("Any", self.exchange)
        self.real = RealAccount(
            outside, outside, cast("Any", self), self.live, self.prices, self.switches, self.clock
        )
        self.real.take_brackets(
            {BTC: (LeverageBracket(20, Decimal(0), Decimal(10**6), Decimal("0.1"), Decimal(0)),)}
        )
        self.real.take_leverages({BTC: 20})
        me = cast("Any", self)
        self.ladder = RealLadder(
            self.real,
            me,
            me,
            me,
            self.live,
            self.prices,
            lambda: {BTC: symbol_rules(quantity_step=Decimal("0.1"), market_quantity_step=Decimal("0.1"))},
            EventHub(),
            self.clock,
        )
        self.mark()

    def mark(self) -> None:
        now_ms = self.clock.now_ms()
        mark = MarkPrice(BTC, 100.0, 0.0, 0, now_ms, now_ms)
        self.prices.take_mark(mark)
        self.real.take_mark(mark)

    # what ledger and holdings answer
    def accounts(self) -> list[object]:
        return [account("a"), account("b")]

    def open_positions(self) -> list[Position]:
        return list(self.held.values())

    def fill_symbols(self) -> list[Symbol]:
        return [BTC]

    def expected_net(self, symbol: Symbol) -> Decimal:
        return Decimal(10)

    def order(self, client_order_id: ClientOrderId) -> JournalOrder | None:
        return self.journal.get(client_order_id)

    def holders(self, symbol: Symbol) -> list[str]:
        return list(self.held)

    def open_position(self, owner: SubAccountId, symbol: Symbol) -> Position | None:
        return self.held.get(owner)

    async def shed(self, quantities: dict[PositionId, Decimal], action: str) -> dict[PositionId, object]:
        self.closed += [(position_id, quantity, action) for position_id, quantity in quantities.items()]
        return dict.fromkeys(quantities, self.answer)

    async def at(self, balance: str) -> RealLevel:
        self.exchange.balance = balance
        await self.real.read()
        return self.real.judge()


async def test_a_step_is_taken_once_from_a_reading_of_its_own() -> None:
    world = World()
    assert await world.at("120") is RealLevel.SHED
    readings = world.exchange.readings
    await world.ladder._shed()
    assert world.exchange.readings == readings + 1
    assert world.closed == [
        (world.held["a"].id, Decimal("0.5"), "REAL_SHED"),
        (world.held["b"].id, Decimal("0.2"), "REAL_SHED"),
    ]
    assert world.ladder.statistics().steps == 1


@pytest.mark.parametrize(
    ("levels", "entered"),
    [
        (["250", "200"], [RealLevel.CALM, RealLevel.WARN]),
        (["150", "160", "170"], [RealLevel.BLOCK, RealLevel.BLOCK, RealLevel.WARN]),
        (["125", "130", "1000"], [RealLevel.SHED, RealLevel.SHED, RealLevel.CALM]),
    ],
)
async def test_the_switches_follow_the_ratio(levels: list[str], entered: list[RealLevel]) -> None:
    world = World()
    for balance, level in zip(levels, entered, strict=True):
        assert await world.at(balance) is level
        assert world.switches.real_level is level
        assert world.real.purse(BTC).blocked is (level >= RealLevel.BLOCK)


async def test_it_waits_while_the_exchange_does_not_answer() -> None:
    world = World()
    await world.at("120")
    world.exchange.away = True
    await world.ladder._shed()
    assert (world.closed, world.ladder.statistics().postponed) == ([], 1)
    assert "cannot be read" in world.ladder.statistics().last_reason


async def test_it_waits_for_a_market_order_in_flight() -> None:
    world = World()
    await world.at("120")
    selling = intent(1, side=OrderSide.SELL)
    world.live.reserve(selling, Price(Decimal(100)))
    await world.ladder._shed()
    assert (world.closed, world.ladder.statistics().steps) == ([], 0)
    assert "in flight" in world.ladder.statistics().last_reason
    world.live.release(selling.client_order_id)
    await world.ladder._shed()
    assert len(world.closed) == 2


async def test_an_order_that_stays_in_doubt_does_not_hold_the_ladder_up() -> None:
    world = World()
    await world.at("120")
    selling = intent(1, side=OrderSide.SELL)
    world.live.reserve(selling, Price(Decimal(100)))
    unknown = replace(journal(selling, OrderState.UNKNOWN), created_at_ms=world.clock.now_ms())
    world.journal[selling.client_order_id] = unknown
    await world.ladder._shed()
    assert world.closed == []
    world.clock.advance(IN_FLIGHT_MS_MAX + 1)
    world.mark()
    await world.ladder._shed()
    assert len(world.closed) == 2


async def test_it_waits_for_a_fresh_price_and_says_what_was_refused() -> None:
    world = World()
    await world.at("120")
    world.clock.advance(10_001)
    await world.ladder._shed()
    assert (world.closed, world.ladder.statistics().postponed) == ([], 1)
    world.mark()
    world.answer = Refused.because(RefusalCode.EXCHANGE_STATE_UNKNOWN)
    await world.ladder._shed()
    assert (len(world.closed), world.ladder.statistics().refused) == (2, 2)


async def test_a_reading_that_is_too_old_is_no_reading() -> None:
    world = World()
    assert world.real.purse(BTC).known is False, "before the first reading"
    await world.at("1000")
    assert world.real.purse(BTC).known is True
    world.clock.advance(READING_AGE_MS_MAX + 1_000)
    assert world.real.purse(BTC).known is False
    world.exchange.away = True
    await world.real.start()
    assert (world.real.purse(BTC).known, world.real.statistics().failures) == (False, 1)
    world.exchange.away = False
    await world.real.start()
    assert world.real.purse(BTC).known is True


async def test_events_of_the_stream_count_at_once() -> None:
    world = World()
    await world.at("1000")
    sold = ExchangePosition(BTC, Decimal(4), Price(Decimal(100)), 2000)
    world.real.on_account_event(AccountEvent((sold,), money("900"), money("0"), "ORDER", 2000, 2000))
    figures = world.real.figures()
    assert (figures.margin_balance, figures.maintenance_margin) == (900, 40)
    world.real.take_leverage(BTC, 5)
    assert world.real.purse(BTC).leverage == 5
