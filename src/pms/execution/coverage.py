"""Σ equity of all sub-accounts, followed commit by commit: the numerator of the real account's coverage."""

from collections.abc import Callable, Iterable
from decimal import Decimal

from pms.ledger.api import Committed
from pms.model.account import Position, PositionStatus, SubAccount
from pms.model.ids import PositionId, SubAccountId
from pms.model.money import ZERO
from pms.model.symbol import Symbol


class Coverage:
    """Sums of cash, and of quantity and cost for each symbol. Bounded by accounts and open positions; the
    cost of an answer grows with the symbols held only. Event-loop thread only."""

    def __init__(
        self,
        accounts: Iterable[SubAccount],
        positions: Iterable[Position],
        mark: Callable[[Symbol], Decimal | None],
    ) -> None:
        self._mark = mark
        self._cash: dict[SubAccountId, Decimal] = {}
        self._held: dict[PositionId, tuple[Symbol, Decimal, Decimal]] = {}
        self._cash_total = ZERO
        self._sums: dict[Symbol, tuple[Decimal, Decimal]] = {}
        for account in accounts:
            self._account(account)
        for position in positions:
            self._position(position)

    def apply(self, committed: Committed) -> None:
        """Follow one commit."""
        for account in committed.accounts:
            self._account(account)
        for position in committed.positions:
            self._position(position)

    def equity(self) -> Decimal:
        """Return Σ (cash - owed + unrealised profit) at the newest marks; without a mark at cost."""
        total = self._cash_total
        for symbol, (quantity, cost) in self._sums.items():
            mark = self._mark(symbol)
            if mark is not None:
                total += quantity * mark - cost
        return total

    def _account(self, account: SubAccount) -> None:
        self._cash_total += account.cash - self._cash.get(account.id, ZERO)
        self._cash[account.id] = account.cash

    def _position(self, position: Position) -> None:
        symbol = position.symbol
        _, quantity_before, cost_before = self._held.pop(position.id, (symbol, ZERO, ZERO))
        quantity, cost = ZERO, ZERO
        if position.status is PositionStatus.OPEN:
            quantity, cost = position.signed_quantity, position.cost * position.side.sign
            self._held[position.id] = (symbol, quantity, cost)
        sums = self._sums.get(symbol, (ZERO, ZERO))
        after = (sums[0] + quantity - quantity_before, sums[1] + cost - cost_before)
        if any(after):
            self._sums[symbol] = after
        else:
            self._sums.pop(symbol, None)
