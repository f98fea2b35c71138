"""What the outside may see: account states and the exposure identity."""

from collections.abc import Sequence
from decimal import Decimal

from pms.execution.api import Exposure
from pms.execution.exchange_net import ExchangeNet, Identity
from pms.execution.holdings import Holdings
from pms.execution.prices import Prices
from pms.ledger.api import Ledger
from pms.model.account import Position, SubAccount
from pms.model.clock import Clock
from pms.model.ids import SubAccountId
from pms.model.symbol import Symbol
from pms.risk import view
from pms.risk.maintenance import MaintenanceBasis
from pms.risk.view import AccountState


class Views:
    """Synchronous reads; each answer is consistent in itself. Event-loop thread only."""

    def __init__(
        self,
        ledger: Ledger,
        holdings: Holdings,
        prices: Prices,
        exchange_net: ExchangeNet,
        clock: Clock,
        maintenance: MaintenanceBasis,
    ) -> None:
        self._ledger = ledger
        self._holdings = holdings
        self.prices = prices
        self._net = exchange_net
        self._clock = clock
        self._maintenance = maintenance

    def account_state(self, account_id: SubAccountId) -> AccountState | None:
        """Return an account's rows, live positions, summary and rules; None for an unknown account."""
        account = self._ledger.account(account_id)
        if account is None:
            return None
        positions = self._holdings.of_account(account_id)
        return view.account_state(
            account,
            positions,
            self._marks(positions),
            self._ledger.rules(account_id),
            self._holdings.sequence(account_id),
            self._maintenance.ticks,
        )

    def exposure(self) -> Sequence[Exposure]:
        """Return the identity of every symbol that somebody, the house or the exchange holds or ever held."""
        symbols = dict.fromkeys((*self._ledger.fill_symbols(), *self._holdings.symbols()))
        return [self.exposure_of(symbol) for symbol in symbols]

    def identity_of(self, symbol: Symbol) -> Identity:
        """Judge the identity of one symbol now; independent of the number of holders."""
        virtual_net = self._ledger.virtual_net(symbol)
        house_net = self._ledger.expected_net(symbol) - virtual_net
        return self._net.judge(symbol, virtual_net, house_net, self._clock.now_ms())

    def exposure_of(self, symbol: Symbol) -> Exposure:
        """Return the identity of one symbol at its watermark, with its holders as of now."""
        holders = tuple(
            (account.id, account.name, position.side, Decimal(position.quantity))
            for account, position in self._held(symbol)
        )
        identity = self.identity_of(symbol)
        return Exposure(
            symbol=symbol,
            virtual_net=identity.virtual_net,
            house_net=identity.house_net,
            exchange_net=identity.exchange_net,
            difference=identity.difference,
            balanced=identity.balanced,
            watermark_ms=identity.watermark_ms,
            holders=holders,
        )

    def _held(self, symbol: Symbol) -> Sequence[tuple[SubAccount, Position]]:
        held = []
        for account_id in self._holdings.holders(symbol):
            account = self._ledger.account(account_id)
            position = self._ledger.open_position(account_id, symbol)
            if account is not None and position is not None:
                held.append((account, position))
        return held

    def _marks(self, positions: Sequence[Position]) -> dict[str, float]:
        marks: dict[str, float] = {}
        for position in positions:
            mark = self.prices.mark_price(position.symbol)
            if mark is not None:
                marks[position.symbol] = mark
        return marks
