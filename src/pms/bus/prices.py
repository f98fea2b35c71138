"""The latest price of each symbol on its way to `pms:price:*`: conflated, one write per 500 ms (spec 3.1)."""

from dataclasses import dataclass

from pms import limits
from pms.model.event import JsonValue
from pms.model.price import BookTicker, MarkPrice
from pms.model.symbol import Symbol
from pms.settings import PublishedPrice


@dataclass(slots=True)
class _Latest:
    mark: MarkPrice | None = None
    book: BookTicker | None = None
    book_is_newer: bool = False
    written_ms: int = -limits.PUBLISHED_PRICE_INTERVAL_MS


class PriceBoard:
    """Keeps the last mark and book of each symbol; the taking side is the tick path and does little."""

    def __init__(self, published: PublishedPrice = PublishedPrice.MARK) -> None:
        self._published = published
        self._latest: dict[Symbol, _Latest] = {}
        self._changed: set[Symbol] = set()

    def take_mark(self, mark: MarkPrice) -> bool:
        """Keep a mark price; False when the bound on symbols is reached and it was dropped."""
        latest = self._of(mark.symbol)
        if latest is None:
            return False
        latest.mark = mark
        latest.book_is_newer = False
        self._changed.add(mark.symbol)
        return True

    def take_book(self, book: BookTicker) -> bool:
        """Keep a book ticker; False when the bound on symbols is reached and it was dropped."""
        latest = self._of(book.symbol)
        if latest is None:
            return False
        latest.book = book
        latest.book_is_newer = True
        self._changed.add(book.symbol)
        return True

    def due(self, now_ms: int, count_max: int) -> list[Symbol]:
        """Return, and take as written, up to `count_max` changed symbols whose interval has passed."""
        symbols: list[Symbol] = []
        for symbol in tuple(self._changed):
            if len(symbols) >= count_max:
                break
            latest = self._latest[symbol]
            if now_ms - latest.written_ms >= limits.PUBLISHED_PRICE_INTERVAL_MS and self._price(latest):
                latest.written_ms = now_ms
                self._changed.discard(symbol)
                symbols.append(symbol)
        return symbols

    def put_back(self, symbols: list[Symbol]) -> None:
        """Take symbols as changed again, because their write failed."""
        for symbol in symbols:
            self._latest[symbol].written_ms = -limits.PUBLISHED_PRICE_INTERVAL_MS
        self._changed.update(symbols)

    def all_due(self) -> None:
        """Take every symbol as changed: shared state came back, perhaps empty. Readers judge by `ts`."""
        self.put_back(list(self._latest))

    def value(self, symbol: Symbol) -> dict[str, JsonValue]:
        """Return the value of `pms:price:{symbol}`. `ts` is our clock at its arrival, `E` the exchange's."""
        latest = self._latest[symbol]
        mark, book = latest.mark, latest.book
        newest = book if book is not None and (latest.book_is_newer or mark is None) else mark
        return {
            "mark": self._price(latest),
            "ts": 0 if newest is None else newest.received_ms,
            "source": "py",
            "bid": None if book is None else book.bid,
            "ask": None if book is None else book.ask,
            "markPrice": None if mark is None else mark.price,
            "mid": None if book is None else book.mid,
            "E": 0 if newest is None else newest.exchange_time_ms,
            "v": 1,
        }

    def _of(self, symbol: Symbol) -> _Latest | None:
        latest = self._latest.get(symbol)
        if latest is None and len(self._latest) < limits.BUS_PRICES_MAX:
            latest = self._latest[symbol] = _Latest()
        return latest

    def _price(self, latest: _Latest) -> float | None:
        mark, book = latest.mark, latest.book
        wants_book = self._published is PublishedPrice.MID or (
            self._published is PublishedPrice.INCUMBENT and latest.book_is_newer
        )
        if wants_book:
            return None if book is None else book.mid
        return None if mark is None else mark.price
