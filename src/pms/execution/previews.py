"""Previews on the live state: one account with what would be done, or the whole desk, at other prices."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal

from pms.execution.exchange_net import ExchangeNet
from pms.execution.holdings import Holdings
from pms.execution.prices import Prices
from pms.ledger.api import Ledger
from pms.limits import PREVIEW_ACCOUNTS_MAX
from pms.model.ids import SubAccountId
from pms.model.symbol import Symbol, SymbolRules
from pms.risk.book import RiskBook
from pms.risk.maintenance import MaintenanceBasis
from pms.risk.preview import AccountPreview, PriceMove, preview
from pms.risk.scenario import Scenario


@dataclass(frozen=True, slots=True)
class DeskPreview:
    """All accounts after a move. `virtual_equity` is Σ equity of all accounts, those below zero included;
    `real_equity` the real account's margin balance then, and `coverage` the one divided by the other, as
    the real account's statistics show it; both None when the real account's balance is not known."""

    move: PriceMove
    scenario: Scenario
    virtual_equity: float
    real_equity: float | None
    coverage: float | None


class Previews:
    """Reads only; synchronous, each answer of one moment. Event-loop thread only."""

    def __init__(
        self,
        ledger: Ledger,
        book: RiskBook,
        holdings: Holdings,
        prices: Prices,
        exchange_net: ExchangeNet,
        rules: Callable[[], Mapping[Symbol, SymbolRules]],
        maintenance: MaintenanceBasis,
        margin_balance: Callable[[], Decimal | None],
    ) -> None:
        """`margin_balance`: the real account's, None while it is not known."""
        self._ledger = ledger
        self._book = book
        self._holdings = holdings
        self._prices = prices
        self._net = exchange_net
        self._rules = rules
        self._maintenance = maintenance
        self._margin_balance = margin_balance

    def account(self, account_id: SubAccountId, move: PriceMove) -> AccountPreview | None:
        """Return an account after a move of prices; None for an unknown account."""
        account = self._ledger.account(account_id)
        if account is None:
            return None
        positions = self._holdings.of_account(account_id)
        marks = {
            position.symbol: Decimal(repr(mark))
            for position in positions
            if (mark := self._prices.mark_price(position.symbol)) is not None
        }
        return preview(
            account,
            self._ledger.rules(account_id),
            positions,
            dict(marks.items()),
            move,
            self._rules(),
            self._maintenance.exact,
        )

    def desk(self, moves: Sequence[PriceMove]) -> list[DeskPreview]:
        """Return all accounts after each of the moves."""
        return [self._desk(move) for move in moves]

    def _desk(self, move: PriceMove) -> DeskPreview:
        found = self._book.scenario(move, PREVIEW_ACCOUNTS_MAX)
        virtual, balance = found.equity - found.deficit, self._margin_balance()
        if balance is None:
            return DeskPreview(move, found, virtual, None, None)
        real = float(balance + self._real_profit(move))
        return DeskPreview(move, found, virtual, real, virtual / real if real > 0 else None)

    def _real_profit(self, move: PriceMove) -> Decimal:
        """What the move adds to the real account: its net of each symbol, as the exchange told it, or as
        expected."""
        profit = Decimal(0)
        for symbol in dict.fromkeys((*self._ledger.fill_symbols(), *self._holdings.symbols())):
            mark, net = self._prices.mark_price(symbol), self._net.net(symbol)
            if mark is not None:
                now = Decimal(repr(mark))
                quantity = self._ledger.expected_net(symbol) if net is None else net
                profit += quantity * (move.of(symbol, now) - now)
        return profit
