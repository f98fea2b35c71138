"""`price_update` for the symbols that browsers watch: newest mark and touch, four times a second at most."""

from collections.abc import Sequence

from pms.execution.api import TradingService
from pms.gateway import frames
from pms.gateway.bounds import WATCHED_SYMBOLS_MAX
from pms.gateway.session import Session
from pms.model.clock import Clock
from pms.model.symbol import Symbol

PERIOD_SECONDS = 0.25


class PriceFeed:
    """Samples the service's prices; sends a symbol only when it changed. Event-loop thread only."""

    def __init__(self, service: TradingService, clock: Clock) -> None:
        self._service = service
        self._clock = clock
        self._watchers: dict[Symbol, set[Session]] = {}
        self._sent: dict[Symbol, tuple[float | None, float | None, float | None]] = {}

    @property
    def symbol_count(self) -> int:
        return len(self._watchers)

    def watch(self, session: Session, symbols: Sequence[Symbol]) -> bool:
        """Replace what a session watches, send what is known at once; False if the bound would be passed."""
        if len(set(self._watchers) | set(symbols)) > WATCHED_SYMBOLS_MAX:
            return False
        self.unwatch(session)
        session.watched.update(symbols)
        for symbol in session.watched:
            self._service.watch(symbol)
            self._watchers.setdefault(symbol, set()).add(session)
            frame = self._frame(symbol)
            if frame is not None:
                session.put_latest(f"price {symbol}", frame)
        return True

    def unwatch(self, session: Session) -> None:
        for symbol in session.watched:
            watchers = self._watchers.get(symbol)
            if watchers is not None:
                watchers.discard(session)
                if not watchers:
                    del self._watchers[symbol]
                    self._sent.pop(symbol, None)
        session.watched.clear()

    async def run(self) -> None:
        """Send changes until cancelled."""
        while True:
            await self._clock.sleep(PERIOD_SECONDS)
            for symbol, watchers in self._watchers.items():
                current = self._values(symbol)
                if current == self._sent.get(symbol):
                    continue
                self._sent[symbol] = current
                frame = self._frame(symbol)
                if frame is not None:
                    for session in watchers:
                        session.put_latest(f"price {symbol}", frame)

    def _values(self, symbol: Symbol) -> tuple[float | None, float | None, float | None]:
        mark, book = self._service.mark(symbol), self._service.book(symbol)
        return (
            mark.price if mark else None,
            book.bid if book else None,
            book.ask if book else None,
        )

    def _frame(self, symbol: Symbol) -> frames.Frame | None:
        mark, book = self._service.mark(symbol), self._service.book(symbol)
        if mark is None:
            return None
        bid = book.bid if book else mark.price
        ask = book.ask if book else mark.price
        time_ms = max(mark.exchange_time_ms, book.exchange_time_ms if book else 0)
        data = {"symbol": symbol, "mark": mark.price, "bid": bid, "ask": ask, "ts": time_ms}
        return frames.message("price_update", data, self._clock.now_ms())
