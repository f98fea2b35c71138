"""One tick from the raw message to the risk decision, when 10 to 100,000 accounts hold the symbol (design,
"Budgets").

Each account holds three positions (one, of the 100,000). The message is decoded by the adapter's own decoder,
then the risk book takes the mark: with the compiled step, with NumPy, and by brackets. Beside it, in the same
run, a naive evaluation with one object per position does the same work.
"""

import gc
import math
import random
import time
from collections.abc import Callable
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
from pms.risk.kernel import Kernel, NativeKernel, NumpyKernel, native_module
from pms.risk.maintenance import Brackets

SIZES = (10, 1_000, 10_000, 100_000)
BUDGETED = 10_000
TICKS = {10: 4_000, 1_000: 4_000, 10_000: 2_000, 100_000: 300}
NAIVE_TICKS = {10: 1_000, 1_000: 200, 10_000: 40, 100_000: 6}
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


def build(accounts: int, kernel: Kernel, brackets: Brackets[float] | None = None) -> RiskBook:
    """Return a book of that many accounts, priced."""
    choose = random.Random(SEED)  # noqa: S311 - a seed reproduces the run, nothing secret
    book, rules, order = RiskBook(kernel, brackets), RiskRules(), list(range(accounts))
    for number in order:
        book.set_account(_account(number), rules)
    # Positions come and go in any order, so the holders of a symbol lie scattered over the account columns.
    choose.shuffle(order)
    for number in order:
        for symbol, entry in _entries(accounts).items():
            book.set_position(_position(number, symbol, entry, choose.choice(list(PositionSide))))
    for symbol, entry in _entries(accounts).items():
        book.on_mark(Symbol(symbol), float(entry), 0)
    return book


def naive_accounts(accounts: int) -> list[NaiveAccount]:
    """Return the same accounts as objects."""
    choose = random.Random(SEED)  # noqa: S311 - a seed reproduces the run, nothing secret
    sides = list(PositionSide)
    return [
        NaiveAccount(
            1000.0,
            [
                NaivePosition(
                    symbol, choose.choice(sides) is PositionSide.LONG, float(entry), 400 / entry, 400.0
                )
                for symbol, entry in _entries(accounts).items()
            ],
        )
        for _ in range(accounts)
    ]


def _entries(accounts: int) -> dict[str, int]:
    return ENTRIES if accounts <= BUDGETED else {TICKED: ENTRIES[TICKED]}


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


def _timed(raw: list[bytes], tick: Callable[[bytes], object]) -> list[float]:
    """Return the ms of each tick, without the collector's pauses for what the benchmark itself made."""
    for message in raw[:20]:
        tick(message)
    gc.collect()
    gc.freeze()
    samples = []
    for message in raw:
        start = time.perf_counter()
        tick(message)
        samples.append((time.perf_counter() - start) * 1000)
    gc.unfreeze()
    return samples


def _row(label: str, samples: list[float], note: str = "") -> None:
    p50, p99 = percentile(samples, 0.5), percentile(samples, 0.99)
    print(f"    {label:<17} p50 {p50:8.4f} ms, p99 {p99:8.4f} ms, max {max(samples):8.3f} ms{note}")


def _brackets() -> Brackets[float]:
    """Five brackets; the positions of 400 USDT lie around the first border."""
    lines = [(0.004, 0.0), (0.005, 0.4), (0.01, 5.4), (0.025, 155.4), (0.1, 7_655.4)]
    return Brackets({TICKED: lines}, 0.0)


def _compare(accounts: int) -> None:
    raw = messages(TICKS[accounts])
    print(f"  {accounts:,} holders, {len(_entries(accounts))} positions each")
    native = native_module()
    kernels: list[tuple[str, Kernel, Brackets[float] | None]] = [
        *([] if native is None else [("compiled", NativeKernel(native), None)]),
        ("NumPy", NumpyKernel(), None),
        *([] if native is None else [("compiled, brackets", NativeKernel(native), _brackets())]),
        ("NumPy, brackets", NumpyKernel(), _brackets()),
    ]
    best: list[float] = []
    for label, kernel, brackets in kernels:
        book = build(accounts, kernel, brackets)
        samples = _timed(raw, lambda message, book=book: _tick(book, message))  # type: ignore[misc]
        _row(label, samples, f", drift {book.recompute():.0e} USDT")
        best = best or samples
    objects, marks = naive_accounts(accounts), {symbol: float(entry) for symbol, entry in ENTRIES.items()}
    naive = _timed(raw[: NAIVE_TICKS[accounts]], lambda message: _naive_tick(objects, marks, message))
    _row("naive objects", naive, f": {percentile(naive, 0.5) / percentile(best, 0.5):.0f} times the first")
    if accounts == BUDGETED:
        met = percentile(best, 0.5) < BUDGET_P50_MS and percentile(best, 0.99) < BUDGET_P99_MS
        print(f"    budget p50 < {BUDGET_P50_MS} ms, p99 < {BUDGET_P99_MS} ms: {'met' if met else 'MISSED'}")


def main() -> None:
    """Print the figures."""
    print(f"tick to decision: one mark price, raw message to crossings\n  machine: {machine()}")
    for accounts in SIZES:
        _compare(accounts)


if __name__ == "__main__":
    main()
