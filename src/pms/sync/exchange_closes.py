"""What the exchange itself closes: counted and told, and the end of a contract followed to its last holder.

A settlement that reaches us as a fill is booked with all its effects (`pms.ledger.operations.foreign`). Of
opposite holders whose net is flat the exchange knows nothing and sends nothing: once the contract is closed
for good they are settled here, at its last mark (decision 11).
"""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal

import structlog

from pms.execution.exchange_net import ExchangeNet
from pms.execution.holdings import Holdings
from pms.execution.live_orders import LiveOrders
from pms.execution.prices import Prices
from pms.ledger.api import Ledger
from pms.ledger.errors import LedgerError
from pms.model.clock import Clock
from pms.model.exchange_close import ExchangeClose, exchange_close_of
from pms.model.fill import ExchangeFill
from pms.model.money import Price
from pms.model.symbol import Symbol, SymbolRules

log = structlog.get_logger(__name__)

LOOK_SECONDS = 2.0


@dataclass(frozen=True, slots=True)
class ExchangeCloseStatistics:
    """Fills of the exchange's own orders and contracts settled without one, since the start; `waiting` names
    the closed contracts whose holders cannot be settled yet, and why."""

    liquidations: int
    deleveragings: int
    settlements: int
    settled_flat: int
    waiting: tuple[tuple[Symbol, str], ...]


class ExchangeCloses:
    """Follows what the exchange closes. `run` must be active for contracts that end."""

    def __init__(
        self,
        ledger: Ledger,
        holdings: Holdings,
        live_orders: LiveOrders,
        exchange_net: ExchangeNet,
        prices: Prices,
        rules: Callable[[], dict[Symbol, SymbolRules]],
        clock: Clock,
    ) -> None:
        self._ledger = ledger
        self._holdings = holdings
        self._live = live_orders
        self._net = exchange_net
        self._prices = prices
        self._rules = rules
        self._clock = clock
        self._fills: Counter[ExchangeClose] = Counter()
        self._settled_flat = 0
        self._waiting: dict[Symbol, str] = {}

    def note(self, fill: ExchangeFill) -> None:
        """Take a fill that was just booked for the first time."""
        close = exchange_close_of(fill.client_order_id, forced=fill.forced)
        if close is None:
            return
        self._fills[close] += 1
        log.error(
            "closed_by_the_exchange",
            kind=close.value,
            symbol=fill.symbol,
            side=fill.side.value,
            quantity=str(fill.quantity),
            price=str(fill.price),
            client_order_id=fill.client_order_id,
        )

    async def run(self) -> None:
        """Settle the holders of contracts that are closed for good, until cancelled."""
        while True:
            await self.settle_ended()
            await self._clock.sleep(LOOK_SECONDS)

    async def settle_ended(self) -> None:
        """Look once at every held contract that is closed."""
        rules, waiting = self._rules(), {}
        for symbol in self._holdings.symbols():
            listed = rules.get(symbol)
            if listed is None or not listed.ended:
                continue
            reason = await self._settle(symbol)
            if reason:
                waiting[symbol] = reason
                if self._waiting.get(symbol) != reason:
                    log.error("settlement_waits", symbol=symbol, reason=reason)
        self._waiting = waiting

    async def _settle(self, symbol: Symbol) -> str:
        """Settle a contract's holders; return why not, empty when they are settled."""
        if self._net.net(symbol) is None:
            return "the real position is not known"
        if self._net.net(symbol) or self._ledger.expected_net(symbol):
            return "the exchange's own settlement is still to come"
        if any(True for _ in self._live.of_symbol(symbol)):
            return "an order of ours has not ended yet"
        mark = self._prices.mark_price(symbol)
        if mark is None:
            return "its last mark is not known; close its positions by a stated price"
        try:
            settled = await self._ledger.settle_holders(symbol, Price(Decimal(repr(mark))))
        except LedgerError as error:
            return f"the ledger could not book it: {error}"
        self._settled_flat += 1
        log.error("settled_without_a_fill", symbol=symbol, price=mark, positions=len(settled.trades))
        return ""

    def statistics(self) -> ExchangeCloseStatistics:
        return ExchangeCloseStatistics(
            self._fills[ExchangeClose.LIQUIDATION],
            self._fills[ExchangeClose.ADL],
            self._fills[ExchangeClose.SETTLEMENT],
            self._settled_flat,
            tuple(sorted(self._waiting.items())),
        )
