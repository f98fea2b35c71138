"""What is known of one symbol, as the netting module asks for it: books, filters, mark, what is in flight."""

from collections.abc import Callable
from decimal import Decimal

import structlog

from pms.exchange.errors import ExchangeError
from pms.exchange.port import AccountView
from pms.execution.exchange_net import ExchangeNet, Identity, read_net
from pms.execution.live_orders import LiveOrders
from pms.execution.prices import Prices
from pms.ledger.api import Ledger
from pms.model.account import Position
from pms.model.money import ZERO, Money
from pms.model.order import OrderSide, OrderState
from pms.model.symbol import Symbol, SymbolRules
from pms.risk.netting import SymbolBook
from pms.risk.netting_lots import Lots
from pms.risk.netting_plan import Target, World

log = structlog.get_logger(__name__)


class Worlds:
    """Synchronous views of a symbol; a caller reads one and acts on it without awaiting between. Event-loop
    thread only."""

    def __init__(
        self,
        ledger: Ledger,
        live_orders: LiveOrders,
        prices: Prices,
        account: AccountView,
        exchange_net: ExchangeNet,
        identity_of: Callable[[Symbol], Identity],
    ) -> None:
        self._ledger = ledger
        self._live = live_orders
        self._prices = prices
        self._account = account
        self._net = exchange_net
        self._identity_of = identity_of

    def world(self, rules: SymbolRules, *, differs: bool = False, house_offers: Decimal = ZERO) -> World:
        """Return the symbol as it is now. What the house only passes on counts with the positions that are
        to get it."""
        symbol = rules.symbol
        passing_on = self._ledger.passing_on(symbol)
        virtual_net = self._ledger.virtual_net(symbol)
        return World(
            SymbolBook(
                self.net(symbol),
                self._live.on_side(symbol, OrderSide.BUY),
                self._live.on_side(symbol, OrderSide.SELL),
            ),
            virtual_net + passing_on,
            self._ledger.expected_net(symbol) - virtual_net - passing_on,
            Lots.of(rules),
            self.mark(symbol),
            differs,
            house_offers,
        )

    def net(self, symbol: Symbol) -> Decimal | None:
        """Return the real net, None when the exchange has not told it."""
        return self._net.net(symbol)

    def known(self, symbol: Symbol) -> bool:
        """True when the exchange's position of a symbol is known."""
        return self._identity_of(symbol).exchange_net is not None

    def mark(self, symbol: Symbol) -> Decimal | None:
        """Return the mark, None unless it is fresh."""
        mark = self._prices.mark_price(symbol)
        return Decimal(repr(mark)) if mark is not None and self._prices.fresh(symbol) else None

    def target(self, position: Position, wanted: Decimal | None = None) -> Target:
        """Return a position to close beside everything that may close it already, the heaviest first."""
        account, symbol, closes = position.sub_account_id, position.symbol, OrderSide.closing(position.side)
        taken = self._live.closing(account, symbol, position.side)
        taken += self._live.crossing(account, symbol, position.side)
        return Target(
            position.id,
            position.side,
            position.quantity,
            wanted,
            taken,
            in_doubt=bool(taken) and self._in_doubt(position, closes),
            weight=Money(position.notional),
        )

    def _in_doubt(self, position: Position, closes: OrderSide) -> bool:
        for live in self._live.of_account(position.sub_account_id):
            if live.symbol == position.symbol and live.side is closes:
                order = self._ledger.order(live.client_order_id)
                if order is not None and order.state is OrderState.UNKNOWN:
                    return True
        return False

    async def ask_net(self) -> bool:
        """Read the real positions; False without an answer, and then nothing changed."""
        try:
            await read_net(self._account, self._net)
        except ExchangeError as error:
            log.warning("real_positions_unknown", error=str(error))
            return False
        return True

    async def confirmed_difference(self, symbol: Symbol) -> bool:
        """Tell whether the exchange's difference to the expected net is real: persisted, with nothing in
        flight, and shown again when the exchange is asked. The report that made it may be late (a stream
        that stalls), and without an answer nothing is given away."""
        return self.differs(symbol) and await self.ask_net() and self.differs(symbol)

    def differs(self, symbol: Symbol) -> bool:
        """True when the difference as it is now has persisted, and neither an order can explain it nor does
        somebody give it away just now: until that is booked, a second close would give it away again."""
        if any(True for _ in self._live.of_symbol(symbol)) or self._live.claimed(symbol):
            return False
        if self._ledger.passing_on(symbol):
            return False
        identity = self._identity_of(symbol)
        judged = identity.virtual_net + identity.house_net
        return (
            not identity.balanced
            and identity.exchange_net is not None
            and identity.exchange_net == self._net.net(symbol)
            and judged == self._ledger.expected_net(symbol)
        )
