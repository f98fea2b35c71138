"""Acts on the real account's ladder: tells its level, and sheds the largest real risk (decision 19).

Invariants: 1. A step is decided from a reading made for it, never from an estimate. 2. One step at a time,
`STEP_PAUSE_MS` apart, and none while a market order on the symbol is in flight: its fill may be enough.
3. Closes take their quantity beside everything else that closes (decision 16).
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Protocol

import structlog

from pms.bus.hub import EventHub
from pms.exchange.errors import ExchangeError
from pms.execution.api import Executed
from pms.execution.errors import NotRunning
from pms.execution.holdings import Holdings
from pms.execution.live_orders import LiveOrders
from pms.execution.prices import Prices
from pms.execution.real_account import RealAccount
from pms.ledger.api import Ledger
from pms.ledger.errors import LedgerError
from pms.model.account import Position
from pms.model.clock import Clock
from pms.model.event import EphemeralEvent, JsonValue
from pms.model.ids import PositionId
from pms.model.money import ZERO
from pms.model.order import OrderType
from pms.model.refusal import Refused
from pms.model.symbol import Symbol, SymbolRules
from pms.risk.real_ladder import (
    SHED_RATIO,
    STEP_PAUSE_MS,
    NoShed,
    RealLevel,
    RealRisk,
    Shed,
    shed_step,
)
from pms.risk.real_purse import RealFigures, rate_of

log = structlog.get_logger(__name__)

CHECK_SECONDS = 0.25
IN_FLIGHT_MS_MAX = 10_000
"""How long a step waits for a market order; one in doubt may stay so for hours, and the ladder must not."""

SHED_ACTION = "REAL_SHED"
"""Trade action and balance-log reason of a position that was reduced to save the real account."""


class PositionCloser(Protocol):
    """Closes parts of positions together; `pms.execution.service.Trader` does."""

    async def shed(
        self, quantities: Mapping[PositionId, Decimal], action: str
    ) -> Mapping[PositionId, Executed | Refused]: ...


@dataclass(frozen=True, slots=True)
class RealLadderStatistics:
    """The level now; counts since the start. `postponed`: a step was due and could not be decided."""

    level: RealLevel
    changes: int
    steps: int
    postponed: int
    refused: int
    last_reason: str


class RealLadder:
    """Watches the real account's level. `run` must be active."""

    def __init__(
        self,
        real: RealAccount,
        closer: PositionCloser,
        ledger: Ledger,
        holdings: Holdings,
        live_orders: LiveOrders,
        prices: Prices,
        rules: Callable[[], dict[Symbol, SymbolRules]],
        hub: EventHub,
        clock: Clock,
    ) -> None:
        self._real = real
        self._closer = closer
        self._ledger = ledger
        self._holdings = holdings
        self._live = live_orders
        self._prices = prices
        self._rules = rules
        self._hub = hub
        self._clock = clock
        self._changes = self._steps = self._postponed = self._refused = 0
        self._last_reason = ""
        real.on_level(self._level_changed)

    async def run(self) -> None:
        """Look at the account four times a second, and shed while it must, until cancelled."""
        while True:
            # The level stays for 5 points below 80 %; a step, and the reading that it costs, does not.
            if self._real.judge() is RealLevel.SHED and self._real.figures().margin_ratio >= SHED_RATIO:
                await self._shed()
                await self._clock.sleep(STEP_PAUSE_MS / 1000)
            else:
                await self._clock.sleep(CHECK_SECONDS)

    def statistics(self) -> RealLadderStatistics:
        return RealLadderStatistics(
            self._real.judge(), self._changes, self._steps, self._postponed, self._refused, self._last_reason
        )

    def _level_changed(self, level: RealLevel, figures: RealFigures) -> None:
        self._changes += 1
        write = log.warning if level < RealLevel.BLOCK else log.error
        write(
            "real_account_level",
            level=level.name,
            margin_ratio=str(figures.margin_ratio),
            maintenance_margin=str(figures.maintenance_margin),
            margin_balance=str(figures.margin_balance),
        )
        data: dict[str, JsonValue] = {
            "level": level.name,
            "marginRatio": float(figures.margin_ratio),
            "maintenanceMargin": float(figures.maintenance_margin),
            "marginBalance": float(figures.margin_balance),
        }
        now_ms = self._clock.now_ms()
        self._hub.publish(EphemeralEvent("real_account_level", None, "real_account_level", data, now_ms))

    async def _shed(self) -> None:
        """Decide one step from a fresh reading, and carry it out."""
        try:
            await self._real.read()
        except ExchangeError as error:
            self._postpone(f"the real account cannot be read: {error}")
            return
        figures = self._real.figures()
        risks = self._risks()
        holders = {risk.symbol: self._holders(risk.symbol) for risk in risks}
        step = shed_step(risks, holders, figures.maintenance_margin, figures.margin_balance)
        if isinstance(step, NoShed):
            if step.reason:
                self._postpone(step.reason)
            return
        if self._in_flight(step.symbol):
            self._postpone(f"a market order on {step.symbol} is in flight; its fill may be enough")
            return
        self._steps += 1
        log.error(
            "real_shed",
            symbol=step.symbol,
            parts=len(step.parts),
            ratio=str(figures.margin_ratio),
            left_to_the_house=str(step.house_quantity),
        )
        await self._close(step)

    def _postpone(self, reason: str) -> None:
        self._postponed += 1
        self._last_reason = reason
        log.error("real_shed_postponed", reason=reason)

    def _risks(self) -> Sequence[RealRisk]:
        book, rules = self._real.book, self._rules()
        found = []
        for symbol, held in book.positions().items():
            mark = self._prices.mark_price(symbol)
            exact = ZERO if mark is None else Decimal(repr(mark))
            listed = rules.get(symbol)
            step = ZERO if listed is None else listed.market_quantity_step or listed.quantity_step
            found.append(
                RealRisk(
                    symbol=symbol,
                    net=held.signed_quantity,
                    mark=exact,
                    maintenance=book.maintenance(symbol),
                    rate=rate_of(book.brackets(symbol), abs(held.signed_quantity) * exact),
                    fresh=self._prices.fresh(symbol),
                    step=step,
                )
            )
        return found

    def _holders(self, symbol: Symbol) -> Sequence[Position]:
        held = (self._ledger.open_position(account, symbol) for account in self._holdings.holders(symbol))
        return [position for position in held if position is not None]

    def _in_flight(self, symbol: Symbol) -> bool:
        """Tell whether a fill may be about to shrink the net. An order that has hung for long is not waited
        for: what it may close stays claimed, and closes beside it leave that alone."""
        since_ms = self._clock.now_ms() - IN_FLIGHT_MS_MAX
        for live in self._live.of_symbol(symbol):
            if live.type is OrderType.MARKET:
                row = self._ledger.order(live.client_order_id)
                if row is None or row.created_at_ms >= since_ms:
                    return True
        return False

    async def _close(self, step: Shed) -> None:
        """Close all parts together: a thousand holders are a few orders, not a thousand."""
        try:
            done = await self._closer.shed(
                {part.position_id: part.quantity for part in step.parts}, SHED_ACTION
            )
        except (LedgerError, NotRunning) as error:
            self._refused += len(step.parts)
            log.error("real_shed_not_booked", symbol=step.symbol, error=str(error))
            return
        for position_id, result in done.items():
            if isinstance(result, Refused):
                self._refused += 1
                log.error("real_shed_refused", position_id=position_id, refusal=result.refusals[0].log_line())
