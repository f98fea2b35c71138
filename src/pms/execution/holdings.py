"""Open positions by sub-account and symbol, and each account's event sequence, as committed."""

from collections.abc import Callable, Iterable

from pms.ledger.api import Committed
from pms.model.account import Position, PositionStatus
from pms.model.ids import PositionId, SubAccountId
from pms.model.symbol import Symbol


class Holdings:
    """Follows commits. Bounded by the open positions. Event-loop thread only."""

    def __init__(self, positions: Iterable[Position], sequence: Callable[[SubAccountId], int]) -> None:
        """`sequence` answers the last durable event sequence of an account, 0 before the first."""
        self._by_account: dict[SubAccountId, dict[PositionId, Position]] = {}
        self._holders: dict[Symbol, dict[SubAccountId, None]] = {}
        self._sequence = sequence
        for position in positions:
            self._put(position)

    def apply(self, committed: Committed) -> None:
        for position in committed.positions:
            if position.status is PositionStatus.OPEN:
                self._put(position)
            else:
                self._drop(position)

    def of_account(self, account: SubAccountId) -> tuple[Position, ...]:
        """Return the account's open positions, oldest first."""
        return tuple(self._by_account.get(account, {}).values())

    def holders(self, symbol: Symbol) -> tuple[SubAccountId, ...]:
        """Return the accounts that hold the symbol."""
        return tuple(self._holders.get(symbol, ()))

    def holds(self, account: SubAccountId, symbol: Symbol) -> bool:
        """True when the account has an open position on the symbol."""
        return account in self._holders.get(symbol, ())

    def symbols(self) -> tuple[Symbol, ...]:
        """Return the symbols that somebody holds."""
        return tuple(self._holders)

    def sequence(self, account: SubAccountId) -> int:
        """Return the last durable event sequence of the account, 0 before the first (decision 27)."""
        return self._sequence(account)

    def _put(self, position: Position) -> None:
        self._by_account.setdefault(position.sub_account_id, {})[position.id] = position
        self._holders.setdefault(position.symbol, {})[position.sub_account_id] = None

    def _drop(self, position: Position) -> None:
        held = self._by_account.get(position.sub_account_id, {})
        held.pop(position.id, None)
        if not held:
            self._by_account.pop(position.sub_account_id, None)
        if not any(other.symbol == position.symbol for other in held.values()):
            holders = self._holders.get(position.symbol, {})
            holders.pop(position.sub_account_id, None)
            if not holders:
                self._holders.pop(position.symbol, None)
