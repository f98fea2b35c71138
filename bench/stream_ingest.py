"""Market frames of 300 symbols, from the wire to the handlers (design, "Budgets").

First without a socket: the frame as bytes, decoded, checked, conflated and delivered, for bursts of one, 32
and 300 frames in one turn of the loop. Then over loopback, from another process: at the pace of the budget
and as fast as it goes, with the processor time of this process and the delay from sending to the handler.
"""

import asyncio
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random

from bench.frames import listing, natives, quotes
from bench.machine import machine, percentile
from pms.exchange.binance.config import BinanceConfig
from pms.exchange.binance.stream_connection import StreamConnection
from pms.exchange.binance.streams import MarketStreams
from pms.exchange.binance.symbols import SymbolDirectory, SymbolMap
from pms.exchange.census import Census
from pms.exchange.errors import ExchangeUnavailable
from pms.exchange.messages import Depth, ExchangeInfo
from pms.model.price import BookTicker, MarkPrice
from pms.model.symbol import Symbol
from pms.runtime import SystemClock

FRAMES = 60_000
BUDGET_PER_SECOND = 30_000
BUDGET_SHARE = 0.4
SECONDS = 6.0


@dataclass(slots=True)
class Handler:
    """The end of the way: counts, and keeps the delays of what carries a time of sending."""

    books: int = 0
    marks: int = 0
    delays_us: list[float] = field(default_factory=list)

    def book(self, book: BookTicker) -> None:
        self.books += 1
        self.delays_us.append(time.monotonic_ns() / 1000 - book.ask_quantity)

    def mark(self, mark: MarkPrice) -> None:
        self.marks += 1


async def _no_listing() -> ExchangeInfo:
    return listing()


async def _no_snapshot(symbol: Symbol) -> Depth:
    raise ExchangeUnavailable(f"no snapshot of {symbol}: the benchmark has no exchange to ask")


def _streams(url: str, handler: Handler, census: Census) -> MarketStreams:
    clock = SystemClock()
    symbols = SymbolDirectory(_no_listing, "USDT", clock)
    symbols.map = SymbolMap.of(listing(), "USDT")
    config = BinanceConfig.at("http://unused", url)
    streams = MarketStreams(config, symbols, clock, Random(1), clock.now_ms, _no_snapshot, census)  # noqa: S311
    streams.on_book(handler.book)
    streams.on_mark(handler.mark)
    return streams


async def _turns(frames: list[bytes], burst: int) -> tuple[float, list[float], int]:
    """Return frames a second, microseconds of each burst by its frames, and how many were delivered."""
    handler, census = Handler(), Census(lambda: 0)
    streams = _streams("ws://unused", handler, census)
    take: Callable[[memoryview], None] = StreamConnection("bench", streams._take, lambda: None, census)._take
    samples = []
    started = time.perf_counter()
    for begin in range(0, len(frames), burst):
        before = time.perf_counter_ns()
        part = frames[begin : begin + burst]
        for frame in part:
            take(memoryview(frame))
        await asyncio.sleep(0)
        samples.append((time.perf_counter_ns() - before) / 1000 / len(part))
    for _ in range(len(natives())):
        await asyncio.sleep(0)
    return len(frames) / (time.perf_counter() - started), samples, handler.books


def _in_process() -> None:
    now_ms = time.time_ns() // 1_000_000
    frames = [quote.frame(number, now_ms) for number, quote in enumerate(quotes(FRAMES))]
    print(f"  without a socket, {FRAMES:,} recorded quotes, in microseconds for each message:")
    for burst in (1, 32, 300):
        rate, samples, delivered = asyncio.run(_turns(frames, burst))
        p50, p99 = percentile(samples, 0.5), percentile(samples, 0.99)
        share = BUDGET_PER_SECOND * (1 / rate) * 100
        print(
            f"    bursts of {burst:3}: p50 {p50:5.2f}, p99 {p99:6.2f}, max {max(samples):7.2f}; {rate:9,.0f} "
            f"messages/s, {delivered:,} delivered; {share:4.1f} % of a core at {BUDGET_PER_SECOND:,}/s"
        )


@dataclass(frozen=True, slots=True)
class Loopback:
    """What came over the socket."""

    sent: int
    received: int
    seconds: float
    busy_seconds: float
    handler: Handler


async def _over_loopback(rate: int) -> Loopback:
    server = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "bench.frame_server", str(rate), str(SECONDS), stdout=asyncio.subprocess.PIPE
    )
    assert server.stdout is not None  # noqa: S101 - for the type checker
    port = int(await server.stdout.readline())
    handler = Handler()
    streams = _streams(f"ws://127.0.0.1:{port}", handler, Census(lambda: 0))
    for symbol in streams._symbols.map.native:
        streams.subscribe(symbol)
    running = asyncio.create_task(streams.run())
    while not handler.books:  # noqa: ASYNC110 - the server begins when it likes
        await asyncio.sleep(0.001)
    started, busy = time.perf_counter(), time.process_time()
    sent = int(await server.stdout.readline())
    ended, busy = time.perf_counter(), time.process_time() - busy
    await asyncio.sleep(0.5)
    received = sum(each.frames for each in streams.supervisor.sockets())
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    await server.wait()
    return Loopback(sent, received, ended - started, busy, handler)


def _loopback() -> None:
    for rate, label in (
        (BUDGET_PER_SECOND, f"{BUDGET_PER_SECOND:,} messages/s"),
        (0, "as fast as the sender goes"),
    ):
        result = asyncio.run(_over_loopback(rate))
        delays = [each / 1000 for each in result.handler.delays_us]
        late = delays[len(delays) // 2 :]
        per_second, share = result.received / result.seconds, result.busy_seconds / result.seconds
        print(
            f"  over loopback, {label}: {per_second:,.0f} messages/s, {share * 100:.0f} % of a core, "
            f"{result.sent - result.received} lost, {result.handler.books:,} delivered"
        )
        print(
            f"    from sending to the handler: p50 {percentile(delays, 0.5):.2f} ms, p99 "
            f"{percentile(delays, 0.99):.2f} ms; p99 of the second half {percentile(late, 0.99):.2f} ms"
        )
        if rate:
            met = per_second >= 0.99 * rate and share < BUDGET_SHARE and result.sent == result.received
            print(
                f"    budget >= {rate:,}/s at < {BUDGET_SHARE:.0%} of a core, without the risk book: "
                f"{'met' if met else 'MISSED'}"
            )


def main() -> None:
    """Print the figures."""
    print(f"stream ingest: book tickers of {len(natives())} symbols and their mark prices")
    print(f"  machine: {machine()}")
    _in_process()
    _loopback()


if __name__ == "__main__":
    main()
