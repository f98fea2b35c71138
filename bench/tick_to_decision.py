"""One tick from the raw message to the risk decision, when 10,000 accounts hold the symbol (design,
"Budgets").

Each account holds three positions. The message is decoded by the adapter's own decoder, then the risk book
takes the mark. Beside it, in the same run, a naive evaluation with one object per position does the same
work.
"""

import gc
import math
import random
import time
from dataclasses import dataclass
from decimal import Decimal

from bench.machine import machine, percentile
from pms.exchange.messages_stream import MarkPriceEvent, decode_market_event
from pms.model.account import (
    AccountStatus,
    LiquidationMode,
    Position,
    PositionSide,
    PositionStatus,
    RiskRules,
    SubAccount,
)
from pms.model.ids import PositionId, SubAccountId
from pms.model.money import Money, Price, Quantity
from pms.model.symbol import Symbol
from pms.risk.book import RiskBook

ACCOUNTS = 10_000
TICKS = 2_000
NAIVE_TICKS = 60
SEED = 20
ENTRIES = {"BTC/USDT:USDT": 50_000, "ETH/USDT:USDT": 3_000, "SOL/USDT:USDT": 150}
TICKED = Symbol("BTC/USDT:USDT")
BUDGET_P50_MS, BUDGET_P99_MS = 0.2, 1.0


@dataclass(slots=True)
class NaivePosition:
    symbol: str
    is_long: bool
    entry: float
    quantity: float
    notional: float


@dataclass(slots=True)
class NaiveAccount:
    cash: float
    positions: list[NaivePosition]


def _account(number: int) -> SubAccount:
    return SubAccount(
        SubAccountId(f"account-{number}"),
        None,
        f"bench {number}",
        "USER",
        Money(Decimal(1000)),
        Money(Decimal(1000)),
        Money(Decimal(0)),
        AccountStatus.ACTIVE,
        LiquidationMode.INSTANT_CLOSE,
        Decimal("0.005"),
        0,
        0,
    )


def _position(number: int, symbol: str, entry: int, side: PositionSide) -> Position:
    notional = Decimal(400)
    return Position(
        PositionId(f"{symbol}-{number}"),
        SubAccountId(f"account-{number}"),
        Symbol(symbol),
        side,
        Quantity(notional / entry),
        Money(notional),
        Decimal(10),
        Price(Decimal(0)),
        PositionStatus.OPEN,
        True,
        0,
        1,
    )


def build(accounts: int) -> tuple[RiskBook, list[NaiveAccount]]:
    """Return the book and its naive twin with the same accounts and positions."""
    choose = random.Random(SEED)  # noqa: S311 - a seed reproduces the run, nothing secret
    book, naive = RiskBook(), []
    rules, order = RiskRules(), list(range(accounts))
    for number in order:
        book.set_account(_account(number), rules)
    # Positions come and go in any order, so the holders of a symbol lie scattered over the account columns.
    choose.shuffle(order)
    for number in order:
        positions = []
        for symbol, entry in ENTRIES.items():
            position = _position(number, symbol, entry, choose.choice(list(PositionSide)))
            book.set_position(position)
            is_long = position.side is PositionSide.LONG
            positions.append(NaivePosition(symbol, is_long, float(entry), float(position.quantity), 400.0))
        naive.append(NaiveAccount(1000.0, positions))
    for symbol, entry in ENTRIES.items():
        book.on_mark(Symbol(symbol), float(entry), 0)
    return book, naive


def messages(count: int) -> list[bytes]:
    """Return raw mark-price messages of a random walk."""
    walk = random.Random(SEED)  # noqa: S311 - a seed reproduces the run, nothing secret
    price, raw = 50_000.0, []
    for number in range(count):
        price *= math.exp(walk.gauss(0.0, 0.0002))
        raw.append(
            b'{"e":"markPriceUpdate","E":%d,"s":"BTCUSDT","p":"%.8f","ap":"%.8f","i":"%.8f","P":"%.8f",'
            b'"r":"0.00010000","T":1762041600000}' % (1762041000000 + number, price, price, price, price)
        )
    return raw


def _tick(book: RiskBook, raw: bytes) -> int:
    event = decode_market_event(raw)
    if not isinstance(event, MarkPriceEvent):
        raise TypeError(f"expected a mark price, got {event}")
    return len(book.on_mark(TICKED, float(event.mark_price), event.event_time).crossings)


def _naive_tick(accounts: list[NaiveAccount], marks: dict[str, float], raw: bytes) -> int:
    event = decode_market_event(raw)
    if not isinstance(event, MarkPriceEvent):
        raise TypeError(f"expected a mark price, got {event}")
    marks[TICKED] = float(event.mark_price)
    breached = 0
    for account in accounts:
        equity, notional = account.cash, 0.0
        for position in account.positions:
            mark = marks.get(position.symbol) or position.entry
            difference = mark - position.entry if position.is_long else position.entry - mark
            equity += difference * position.quantity
            notional += position.notional
        ratio = notional * 0.005 / equity if equity > 0 else 999.0
        breached += ratio >= 0.9
    return breached


def main() -> None:
    """Print the figures."""
    print(f"tick to decision: {ACCOUNTS:,} accounts x {len(ENTRIES)} positions, all holding the symbol")
    print(f"  machine: {machine()}")
    book, naive = build(ACCOUNTS)
    raw = messages(TICKS)
    for message in raw[:50]:
        _tick(book, message)
    gc.collect()
    gc.freeze()
    samples = []
    for message in raw:
        start = time.perf_counter()
        _tick(book, message)
        samples.append((time.perf_counter() - start) * 1000)
    marks = {symbol: float(entry) for symbol, entry in ENTRIES.items()}
    naive_samples = []
    for message in raw[:NAIVE_TICKS]:
        start = time.perf_counter()
        _naive_tick(naive, marks, message)
        naive_samples.append((time.perf_counter() - start) * 1000)
    gc.unfreeze()
    p50, p99 = percentile(samples, 0.5), percentile(samples, 0.99)
    naive_p50, naive_p99 = percentile(naive_samples, 0.5), percentile(naive_samples, 0.99)
    print(f"  columnar book: p50 {p50:.3f} ms, p99 {p99:.3f} ms, max {max(samples):.3f} ms ({TICKS} ticks)")
    print(f"  naive objects: p50 {naive_p50:.3f} ms, p99 {naive_p99:.3f} ms ({NAIVE_TICKS} ticks)")
    print(f"  ratio: {naive_p50 / p50:.0f} times at p50; drift after the run {book.recompute():.1e} USDT")
    met = p50 < BUDGET_P50_MS and p99 < BUDGET_P99_MS
    print(f"  budget p50 < {BUDGET_P50_MS} ms, p99 < {BUDGET_P99_MS} ms: {'met' if met else 'MISSED'}")


if __name__ == "__main__":
    main()
