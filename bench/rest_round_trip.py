"""Requests of the adapter to the embedded simulator over loopback: milliseconds, as percentiles.

Both run in this process, as the default exchange of a demonstration does, so a figure holds both sides:
signing, HTTP, the simulator's checks and matching, its commit (in memory here, no disk), the judged answer.
"""

import asyncio
import time
from collections.abc import Awaitable
from dataclasses import replace
from decimal import Decimal
from random import Random

from bench.machine import machine, percentile
from pms.exchange.binance import BinanceConfig, BinanceExchange
from pms.exchange.port import Confirmed
from pms.model.ids import ClientOrderId
from pms.model.money import Price, Quantity
from pms.model.order import ApprovedOrder, OrderSide, OrderType, SelfMatchPrevention, TimeInForce
from pms.model.symbol import Symbol
from pms.runtime import SystemClock
from pms.simulator import Simulator, SimulatorConfig

ROUNDS = 300
WARM_UP = 20
BTC = Symbol("BTC/USDT:USDT")
UNLIMITED = 1_000_000_000


def _order(number: int) -> ApprovedOrder:
    return ApprovedOrder(
        client_order_id=ClientOrderId(f"PMSabcdefgh_LM_{number}"),
        symbol=BTC,
        side=OrderSide.BUY,
        type=OrderType.LIMIT,
        quantity=Quantity(Decimal("0.010")),
        price=Price(Decimal("40000.0")),
        time_in_force=TimeInForce.GTC,
        reduce_only_wire=False,
        self_match=SelfMatchPrevention.EXPIRE_TAKER,
        risk_reducing=False,
    )


async def _timed(samples: dict[str, list[float]], name: str, call: Awaitable[object]) -> object:
    before = time.perf_counter_ns()
    result = await call
    samples.setdefault(name, []).append((time.perf_counter_ns() - before) / 1e6)
    return result


async def _measured(exchange: BinanceExchange) -> dict[str, list[float]]:
    samples: dict[str, list[float]] = {}
    for number in range(WARM_UP + ROUNDS):
        order = _order(number)
        outcome = await _timed(samples, "place a limit order (POST)", exchange.trading.place(order))
        if not isinstance(outcome, Confirmed):
            raise TypeError(f"the order was not taken: {outcome}")
        await _timed(samples, "query it (GET)", exchange.trading.query(BTC, order.client_order_id))
        await _timed(samples, "cancel it (DELETE)", exchange.trading.cancel(BTC, order.client_order_id))
        await _timed(samples, "positions (GET)", exchange.account.positions())
        await _timed(samples, "server time (unsigned GET)", exchange.account.server_time_ms())
    return samples


async def _run() -> None:
    config = SimulatorConfig(symbols=("BTCUSDT",), accounts=(("key", "secret", Decimal(1_000_000)),))
    limits = replace(config.limits, request_weight_1m=UNLIMITED, orders_10s=UNLIMITED, orders_1m=UNLIMITED)
    simulator = Simulator(replace(config, limits=limits))
    await simulator.start()
    try:
        simulator.set_quote("BTCUSDT", Decimal("50000.0"), Decimal("50000.1"))
        exchange = BinanceExchange(
            BinanceConfig.at(simulator.url, simulator.ws_url, "key", "secret"),
            SystemClock(),
            Random(1),  # noqa: S311 - jitter, nothing secret
        )
        try:
            await exchange.start()
            for name, samples in (await _measured(exchange)).items():
                p50, p90, p99 = (percentile(samples[WARM_UP:], fraction) for fraction in (0.5, 0.9, 0.99))
                print(f"  {name:28} p50 {p50:6.2f}, p90 {p90:6.2f}, p99 {p99:6.2f}")
        finally:
            await exchange.close()
    finally:
        await simulator.stop()


def main() -> None:
    """Print the figures."""
    print("REST round trip, adapter and embedded simulator over loopback, milliseconds")
    print(f"  machine: {machine()}")
    asyncio.run(_run())


if __name__ == "__main__":
    main()
