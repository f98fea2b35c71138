"""freqtrade trades live (dry_run off) on the simulator: a long and a short, each with a stop on the exchange.

The bot runs as its own process with a configuration as a user writes it: ccxt's hosts are set by
`ccxt_config`. What it did is read from its own database, and held against the exchange's.
"""

import asyncio
import contextlib
import hashlib
import hmac
import json
import signal
import sqlite3
import sys
import time
import urllib.request
from decimal import Decimal
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from steps import HTTP, KEY, SECRET, Steps, Stop, until

BINANCE = "https://fapi.binance.com"
FOLDER = Path("freqtrade")

STRATEGY = '''
from datetime import datetime
from freqtrade.persistence import Trade
from freqtrade.strategy import IStrategy


class RoundTrip(IStrategy):
    """One long, then one short, each closed after a few seconds."""

    INTERFACE_VERSION = 3
    timeframe = "1m"
    can_short = True
    minimal_roi = {}
    stoploss = -0.05
    startup_candle_count = 0
    process_only_new_candles = False
    order_types = {
        "entry": "market",
        "exit": "market",
        "stoploss": "market",
        "stoploss_on_exchange": True,
        "stoploss_on_exchange_interval": 5,
    }

    def populate_indicators(self, dataframe, metadata):
        return dataframe

    def populate_entry_trend(self, dataframe, metadata):
        closed = len(Trade.get_trades_proxy(is_open=False))
        side = ("enter_long", "enter_short")[closed] if closed < 2 else None
        if side:
            dataframe.loc[dataframe.index[-1], side] = 1
        return dataframe

    def populate_exit_trend(self, dataframe, metadata):
        return dataframe

    def leverage(self, pair, current_time, current_rate, proposed_leverage, max_leverage, *args, **kwargs):
        return 3.0

    def custom_exit(self, pair, trade, current_time: datetime, current_rate, current_profit, **kwargs):
        age = (current_time - trade.open_date_utc).total_seconds()
        return "time" if age > 6 and trade.has_open_sl_orders else None
'''


def configuration() -> dict[str, Any]:
    """Return the bot's configuration."""
    names = ("fapiPublic", "fapiPublicV2", "fapiPublicV3", "fapiPrivate", "fapiPrivateV2", "fapiPrivateV3")
    versions = ("v1", "v2", "v3") * 2
    urls = {name: f"{HTTP}/fapi/{version}" for name, version in zip(names, versions, strict=True)}
    return {
        "max_open_trades": 1,
        "stake_currency": "USDT",
        "stake_amount": 500,
        "dry_run": False,
        "trading_mode": "futures",
        "margin_mode": "isolated",
        "cancel_open_orders_on_exit": True,
        "entry_pricing": {"price_side": "other", "use_order_book": True, "order_book_top": 1},
        "exit_pricing": {"price_side": "other", "use_order_book": True, "order_book_top": 1},
        "exchange": {
            "name": "binance",
            "key": KEY,
            "secret": SECRET,
            "pair_whitelist": ["BTC/USDT:USDT"],
            "enable_ws": False,
            "ccxt_config": {
                "urls": {"api": {**urls, "fapiData": f"{HTTP}/futures/data"}},
                "options": {"fetchMarkets": {"types": ["linear"]}, "fetchCurrencies": False},
            },
        },
        "pairlists": [{"method": "StaticPairList"}],
        "internals": {"process_throttle_secs": 1},
        "initial_state": "running",
    }


def signed(path: str, **params: object) -> Any:
    """Ask the exchange itself."""
    query = urlencode({**params, "timestamp": int(time.time() * 1000)})
    signature = hmac.new(SECRET.encode(), query.encode(), hashlib.sha256).hexdigest()
    request = urllib.request.Request(
        f"{HTTP}{path}?{query}&signature={signature}", headers={"X-MBX-APIKEY": KEY}
    )
    with urllib.request.urlopen(request, timeout=10) as answer:
        return json.load(answer)


def rows(query: str) -> list[sqlite3.Row]:
    """Read the bot's database; it may not be there yet."""
    with contextlib.suppress(sqlite3.OperationalError):
        database = sqlite3.connect(f"file:{FOLDER / 'trades.sqlite'}?mode=ro", uri=True)
        database.row_factory = sqlite3.Row
        with contextlib.closing(database):
            return database.execute(query).fetchall()
    return []


def wallet() -> Decimal:
    """Return the wallet balance in USDT."""
    return next(Decimal(b["balance"]) for b in signed("/fapi/v3/balance") if b["asset"] == "USDT")


async def bot() -> asyncio.subprocess.Process:
    """Start `freqtrade trade`."""
    (FOLDER / "strategies").mkdir(parents=True)
    (FOLDER / "strategies" / "round_trip.py").write_text(STRATEGY)
    (FOLDER / "config.json").write_text(json.dumps(configuration()))
    arguments = ["--config", "config.json", "--strategy", "RoundTrip", "--userdir", "."]
    return await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "freqtrade",
        "trade",
        *arguments,
        *("--strategy-path", "strategies", "--db-url", "sqlite:///trades.sqlite"),
        stdout=sys.stderr,
        stderr=sys.stderr,
        cwd=FOLDER,
    )


async def trade(steps: Steps, process: asyncio.subprocess.Process, number: int) -> None:
    """Follow one trade of the bot from entry to exit."""
    kind = ("long", "short")[number - 1]

    def found(condition: str) -> list[sqlite3.Row]:
        if process.returncode is not None:
            raise AssertionError(f"freqtrade ended with {process.returncode}; its lines are in the log")
        return rows(f"select * from trades where id = {number} and {condition}")

    async with steps.step(f"open a {kind}, with its events", 90) as note:
        (opened,) = await until(lambda: found("amount > 0 and open_rate > 0"), "an open trade", 85)
        assert bool(opened["is_short"]) == (kind == "short")
        note(opened["amount"], "at", opened["open_rate"])
    async with steps.step("conditional orders: place, query, cancel", 60):
        query = f"select * from orders where ft_trade_id = {number} and ft_order_side = 'stoploss'"
        (stop,) = await until(lambda: rows(query), "a stop on the exchange", 55)
        kept = await asyncio.to_thread(signed, "/fapi/v1/algoOrder", algoId=stop["order_id"])
        assert kept["orderType"] == "STOP_MARKET"
    async with steps.step(f"close the {kind}", 90) as note:
        (closed,) = await until(lambda: found("is_open = 0"), "a closed trade", 85)
        assert closed["exit_reason"] == "time"
        note("profit", closed["close_profit_abs"])


async def main() -> int:
    """Run the bot until both round trips are done."""
    steps = Steps("one-way")
    before = wallet()
    process = await bot()
    try:
        with contextlib.suppress(Stop):
            await trade(steps, process, 1)
            await trade(steps, process, 2)
            async with steps.step("flat, and the balance moved by PnL less fees") as note:
                positions = signed("/fapi/v3/positionRisk")
                assert not [p for p in positions if Decimal(p["positionAmt"])]
                await until(lambda: signed("/fapi/v1/openAlgoOrders") == [], "the stop cancelled", 15)
                done = signed("/fapi/v1/userTrades", symbol="BTCUSDT", limit=1000)
                change = sum(Decimal(t["realizedPnl"]) - Decimal(t["commission"]) for t in done)
                assert wallet() - before == change != 0
                profit = sum(Decimal(str(row["close_profit_abs"])) for row in rows("select * from trades"))
                assert abs(profit - change) < Decimal("0.01"), (profit, change)
                note("wallet", change, "freqtrade says", profit)
    finally:
        if process.returncode is None:
            process.send_signal(signal.SIGINT)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(process.wait(), 30)
        if process.returncode is None:
            process.kill()
    return 1 if steps.failed else 0


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
