"""Names and filters from the exchange's own list."""

import asyncio
import gzip
from decimal import Decimal
from functools import partial

import msgspec
import pytest

from pms.exchange.binance.symbols import SymbolDirectory, SymbolMap, unified_name
from pms.exchange.errors import ExchangeUnavailable, UnreadablePayload
from pms.exchange.messages import ExchangeInfo, SymbolInfo
from pms.model.symbol import Symbol
from tests.support.paths import shared_data
from tests.support.waiting import until

ENDLESS = 4_133_404_800_000


def contract(native: str, base: str, margin: str = "USDT", **other: object) -> SymbolInfo:
    fields = {
        "symbol": native,
        "baseAsset": base,
        "quoteAsset": "BTC" if native.endswith("BTC") else native.removeprefix(base)[:4],
        "marginAsset": margin,
        "contractType": "PERPETUAL",
        "deliveryDate": ENDLESS,
        "status": "TRADING",
    }
    return msgspec.convert(fields | other, SymbolInfo)


NAMES = [
    (contract("BTCUSDT", "BTC"), "BTC/USDT:USDT"),
    (contract("BTCUSDC", "BTC", "USDC"), "BTC/USDC:USDC"),
    (contract("ETHBTC", "ETH", "BTC"), "ETH/BTC:BTC"),
    (contract("1000PEPEUSDT", "1000PEPE"), "1000PEPE/USDT:USDT"),
    (contract("1MBABYDOGEUSDT", "1MBABYDOGE"), "1MBABYDOGE/USDT:USDT"),
    (contract("1000000MOGUSDT", "1000000MOG"), "1000000MOG/USDT:USDT"),
    (contract("币安人生USDT", "币安人生"), "币安人生/USDT:USDT"),
    (contract("TSLAUSDT", "TSLA", contractType="TRADIFI_PERPETUAL"), "TSLA/USDT:USDT"),
    (contract("BTCUSD_PERP", "BTC", "BTC", quoteAsset="USD"), "BTC/USD:BTC"),
    (
        contract("ETHUSDT_250926", "ETH", contractType="NEXT_QUARTER", deliveryDate=1_758_873_600_000),
        "ETH/USDT:USDT-250926",
    ),
    (
        contract(
            "BTCUSDC_250627",
            "BTC",
            "USDC",
            contractType="CURRENT_QUARTER DELIVERING",
            deliveryDate=1_751_011_200_000,
        ),
        "BTC/USDC:USDC-250627",
    ),
    (
        contract("BTCUSDT_250627", "BTC", contractType="CURRENT_QUARTER", deliveryDate=1_751_011_200_000),
        "BTC/USDT:USDT-250627",
    ),
    # The traps: a perpetual whose delivery date is a real day keeps the name of a perpetual.
    (contract("XAUUSDT", "XAU", contractType="TRADIFI_PERPETUAL", deliveryDate=1), "XAU/USDT:USDT"),
    (contract("OLDUSDT", "OLD", status="SETTLING", deliveryDate=1_747_814_400_000), "OLD/USDT:USDT"),
    (contract("NEWUSDT", "NEW", contractType="", status="PENDING_TRADING"), "NEW/USDT:USDT"),
]


@pytest.mark.parametrize(("info", "name"), NAMES, ids=[name for _, name in NAMES])
def test_unified_name(info: SymbolInfo, name: str) -> None:
    assert unified_name(info) == name


def test_map_knows_all_contracts_but_trades_only_perpetuals_of_the_settle_asset() -> None:
    built = SymbolMap.of(ExchangeInfo(symbols=[info for info, _ in NAMES]), "USDT")
    assert built.native == {Symbol(name): info.symbol for info, name in NAMES}
    assert set(built.rules) == {
        "BTC/USDT:USDT",
        "1000PEPE/USDT:USDT",
        "1MBABYDOGE/USDT:USDT",
        "1000000MOG/USDT:USDT",
        "TSLA/USDT:USDT",
        "币安人生/USDT:USDT",
        "XAU/USDT:USDT",
        "OLD/USDT:USDT",
        "NEW/USDT:USDT",
    }
    assert built.rules[Symbol("XAU/USDT:USDT")].trading
    assert not built.rules[Symbol("OLD/USDT:USDT")].trading
    assert not built.rules[Symbol("NEW/USDT:USDT")].trading


def test_a_contract_that_cannot_be_read_does_not_take_the_others_away() -> None:
    lot = {"filterType": "LOT_SIZE", "stepSize": "one"}
    strange = [
        contract("ODDUSDT", "ODD", filters=[lot]),
        contract("FARUSDT_9", "FAR", contractType="CURRENT_QUARTER", deliveryDate=10**17),
    ]
    built = SymbolMap.of(ExchangeInfo(symbols=[*strange, contract("BTCUSDT", "BTC")]), "USDT")
    assert list(built.unified) == ["BTCUSDT"]


def test_the_trading_contract_wins_a_contested_name() -> None:
    old = contract("BTCUSDTOLD", "BTC", status="SETTLING", quoteAsset="USDT")
    built = SymbolMap.of(ExchangeInfo(symbols=[old, contract("BTCUSDT", "BTC")]), "USDT")
    assert built.native[Symbol("BTC/USDT:USDT")] == "BTCUSDT"
    assert "BTCUSDTOLD" not in built.unified


@pytest.mark.skipif(shared_data() is None, reason="shared reference data not present")
def test_real_exchange_list() -> None:
    folder = shared_data()
    assert folder is not None
    raw = gzip.decompress((folder / "market/reference/exchangeInfo_2026-07-04.json.gz").read_bytes())
    built = SymbolMap.of(msgspec.json.decode(raw, type=ExchangeInfo), "USDT")
    rules = built.rules[Symbol("BTC/USDT:USDT")]
    assert rules.price_tick == Decimal("0.10")
    assert (rules.quantity_step, rules.quantity_min, rules.quantity_max) == (
        Decimal("0.001"),
        Decimal("0.001"),
        Decimal(1000),
    )
    assert rules.market_quantity_max == Decimal(120)
    assert rules.notional_min == Decimal(50)
    assert rules.open_orders_max == 200
    assert (rules.percent_price_up, rules.percent_price_down) == (Decimal("1.05"), Decimal("0.95"))
    assert len(built.rules) == 530 + 122 + 2 + 118
    assert sum(each.trading for each in built.rules.values()) == 530 + 118
    assert all(built.unified[native] == symbol for symbol, native in built.native.items())


class StoppedClock:
    """A clock that the test sets."""

    def __init__(self) -> None:
        self._seconds = 100.0
        self._moved = asyncio.Event()

    @property
    def seconds(self) -> float:
        return self._seconds

    @seconds.setter
    def seconds(self, value: float) -> None:
        self._seconds = value
        self._moved.set()
        self._moved = asyncio.Event()

    def now_ms(self) -> int:
        return round(self.seconds * 1000)

    def monotonic(self) -> float:
        return self.seconds

    async def sleep(self, seconds: float) -> None:
        due = self.seconds + seconds
        while self.seconds < due:
            await self._moved.wait()


async def test_directory_refreshes_for_unlisted_symbols_but_not_in_a_storm() -> None:
    listed = [contract("BTCUSDT", "BTC")]
    clock = StoppedClock()

    async def load() -> ExchangeInfo:
        return ExchangeInfo(symbols=list(listed))

    directory = SymbolDirectory(load, "USDT", clock)
    await directory.refresh()
    with pytest.raises(UnreadablePayload, match="SOLUSDT"):
        directory.unified("SOLUSDT")
    with pytest.raises(UnreadablePayload, match="SOL/USDT:USDT"):
        directory.native(Symbol("SOL/USDT:USDT"))
    listed.append(contract("SOLUSDT", "SOL"))
    await directory.know({"SOLUSDT"})
    assert directory.refreshes == 1, "too soon after the last refresh"
    clock.seconds += 6
    await directory.know({"BTCUSDT"})
    assert directory.refreshes == 1, "nothing unlisted"
    await directory.know({"SOLUSDT"})
    assert directory.refreshes == 2
    assert directory.unified("SOLUSDT") == "SOL/USDT:USDT"
    assert directory.native(Symbol("SOL/USDT:USDT")) == "SOLUSDT"


class Listed:
    """A directory over a list that the test changes."""

    def __init__(self, *infos: SymbolInfo) -> None:
        self.infos = list(infos)
        self.clock = StoppedClock()
        self.down = False
        self.directory = SymbolDirectory(self.load, "USDT", self.clock)

    async def load(self) -> ExchangeInfo:
        if self.down:
            raise ExchangeUnavailable("down")
        return ExchangeInfo(symbols=list(self.infos))


BTC, SOL = Symbol("BTC/USDT:USDT"), Symbol("SOL/USDT:USDT")


async def test_a_contract_that_is_listed_no_more_keeps_its_name_and_does_not_trade() -> None:
    listed = Listed(contract("BTCUSDT", "BTC"), contract("SOLUSDT", "SOL"))
    await listed.directory.refresh()
    del listed.infos[1]
    await listed.directory.refresh()
    await listed.directory.refresh()
    assert listed.directory.unified("SOLUSDT") == SOL
    assert listed.directory.native(SOL) == "SOLUSDT"
    assert not listed.directory.map.rules[SOL].trading
    assert listed.directory.reduce_only == (SOL,)
    # Listed again under another native name: the new one owns the unified name.
    listed.infos.append(contract("SOLUSDT2", "SOL", quoteAsset="USDT"))
    await listed.directory.refresh()
    assert listed.directory.native(SOL) == "SOLUSDT2"
    assert listed.directory.reduce_only == ()


@pytest.mark.parametrize("status", ["SETTLING", "TRADING_CANCEL_ONLY", "SOMETHING_NEW", ""])
async def test_a_contract_that_leaves_trading_is_reduce_only(
    status: str, caplog: pytest.LogCaptureFixture
) -> None:
    listed = Listed(contract("BTCUSDT", "BTC"), contract("SOLUSDT", "SOL"))
    directory = listed.directory
    await directory.refresh()
    directory.note_status("SOLUSDT", "TRADING")
    assert directory.reduce_only == ()
    directory.note_status("SOLUSDT", status)
    assert directory.reduce_only == (SOL,)
    assert "SOL/USDT:USDT has left trading" in caplog.text
    directory.note_status("SOLUSDT", "TRADING")
    assert directory.reduce_only == ()
    listed.infos[1] = contract("SOLUSDT", "SOL", status=status)
    await directory.refresh()
    assert directory.reduce_only == (SOL,)
    assert directory.map.rules[BTC].trading
    assert not directory.map.rules[SOL].ended, "only what is closed for good is settled"
    directory.note_status("SOLUSDT", "CLOSE")
    assert directory.map.rules[SOL].ended
    del listed.infos[1]
    await directory.refresh()
    assert directory.map.rules[SOL].ended


async def test_refusals_load_the_filters_again_but_not_in_a_storm() -> None:
    listed = Listed(contract("BTCUSDT", "BTC"))
    directory = listed.directory
    await directory.refresh()
    directory.doubt()
    assert directory.doubts == 0, "just loaded"
    listed.clock.seconds += 61
    keeper = asyncio.create_task(directory.keep(1000.0))
    listed.down = True
    for _ in range(50):
        directory.doubt()
    await until(lambda: not directory._doubted.is_set(), "the attempt")
    assert (directory.doubts, directory.refreshes) == (1, 1)
    listed.down = False
    listed.clock.seconds += 61
    directory.note_status("NEWUSDT", "TRADING")
    await until(lambda: directory.refreshes == 2, "the refresh for a new contract")
    keeper.cancel()


def _refreshed(listed: Listed, times: int) -> bool:
    return listed.directory.refreshes == times


async def test_the_list_is_loaded_again_in_time() -> None:
    listed = Listed(contract("BTCUSDT", "BTC"))
    day_seconds = 86_400.0
    keeper = asyncio.create_task(listed.directory.keep(day_seconds))
    for day in (1, 2):
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert listed.directory.refreshes == day - 1
        listed.clock.seconds += day_seconds
        await until(partial(_refreshed, listed, day), "the day's refresh")
    keeper.cancel()
