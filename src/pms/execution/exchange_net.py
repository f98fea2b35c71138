"""What is known of the real account's net positions, and the netting identity judged at a watermark.

Per symbol Σ signed virtual + house = exchange net (decision 9). Fills and position reports travel separately,
so a difference counts only when it outlives two observations that lie `PERSISTENCE_MS` apart with nothing
changing between.
"""

from dataclasses import dataclass
from decimal import Decimal

from pms.exchange.port import AccountView, ExchangePosition
from pms.model.symbol import Symbol

PERSISTENCE_MS = 2_000


@dataclass(frozen=True, slots=True)
class Identity:
    """The identity as last judged. `exchange_net` None: the exchange has not been heard yet."""

    virtual_net: Decimal
    house_net: Decimal
    exchange_net: Decimal | None
    balanced: bool
    watermark_ms: int

    @property
    def undecided(self) -> bool:
        """True before the first verdict: the figures are as seen, and may lie on both sides of a fill."""
        return self.exchange_net is not None and self.watermark_ms == 0

    @property
    def difference(self) -> Decimal | None:
        if self.exchange_net is None:
            return None
        return self.exchange_net - self.virtual_net - self.house_net


@dataclass(slots=True)
class _SymbolState:
    exchange_net: Decimal | None = None
    update_time_ms: int = -1
    suspect: tuple[Decimal, Decimal, Decimal] | None = None
    suspect_since_ms: int = 0
    judged: Identity | None = None


class ExchangeNet:
    """Net positions of the real account as reported, newest first by the exchange's clock. Event-loop thread
    only."""

    def __init__(self) -> None:
        self._symbols: dict[Symbol, _SymbolState] = {}
        self._complete = False

    def report(self, position: ExchangePosition) -> None:
        """Take one reported position; a report older than the known one is ignored."""
        state = self._symbols.setdefault(position.symbol, _SymbolState())
        if position.update_time_ms >= state.update_time_ms:
            state.exchange_net = position.signed_quantity
            state.update_time_ms = position.update_time_ms

    def snapshot(self, positions: "tuple[ExchangePosition, ...]", as_of_ms: int) -> None:
        """Take the complete list of non-zero positions: every other symbol is flat as of that time."""
        listed = {position.symbol for position in positions}
        for symbol, state in self._symbols.items():
            if symbol not in listed and state.update_time_ms <= as_of_ms:
                state.exchange_net, state.update_time_ms = Decimal(0), as_of_ms
        for position in positions:
            self.report(position)
        self._complete = True

    def forget(self) -> None:
        """The stream is gone: nothing is known until the next snapshot (unknown is never "flat", decision
        2)."""
        self._complete = False

    def net(self, symbol: Symbol) -> Decimal | None:
        """Return the signed net, 0 for a symbol that a complete snapshot left out, None when unknown."""
        if not self._complete:
            return None
        state = self._symbols.get(symbol)
        return Decimal(0) if state is None or state.exchange_net is None else state.exchange_net

    def judge(self, symbol: Symbol, virtual_net: Decimal, house_net: Decimal, now_ms: int) -> Identity:
        """Observe the identity now and return the verdict at its watermark."""
        state = self._symbols.setdefault(symbol, _SymbolState())
        net = self.net(symbol)
        if net is None:
            balanced = state.judged.balanced if state.judged else True
            return Identity(
                virtual_net, house_net, None, balanced, state.judged.watermark_ms if state.judged else 0
            )
        if net == virtual_net + house_net:
            state.suspect = None
            state.judged = Identity(virtual_net, house_net, net, True, now_ms)
            return state.judged
        observed = (net, virtual_net, house_net)
        if state.suspect != observed:
            state.suspect, state.suspect_since_ms = observed, now_ms
        if now_ms - state.suspect_since_ms >= PERSISTENCE_MS:
            state.judged = Identity(virtual_net, house_net, net, False, now_ms)
        # A first look is no verdict: a fill may be booked while its position report is still on the way.
        return state.judged or Identity(virtual_net, house_net, net, True, 0)


async def read_net(account: AccountView, net: ExchangeNet) -> None:
    """Ask for every real position and take the answer as of the exchange's time before the question: an
    event of a later moment stays newer. Raises ExchangeError; then nothing changed."""
    as_of_ms = await account.server_time_ms()
    net.snapshot(tuple(await account.positions()), as_of_ms)
