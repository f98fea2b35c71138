"""Names and filters from the exchange's own list."""

import gzip
from decimal import Decimal

import msgspec
import pytest

from pms.exchange.binance.symbols import SymbolDirectory, SymbolMap, unified_name
from pms.exchange.errors import UnreadablePayload
from pms.exchange.messages import ExchangeInfo, SymbolInfo
from pms.model.symbol import Symbol
from tests.support.paths import shared_data

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
    (contract("币安人生USDT", "币安人生"), "币安人生/USDT:USDT"),
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
        "币安人生/USDT:USDT",
        "XAU/USDT:USDT",
        "OLD/USDT:USDT",
        "NEW/USDT:USDT",
    }
    assert built.rules[Symbol("XAU/USDT:USDT")].trading
    assert not built.rules[Symbol("OLD/USDT:USDT")].trading
    assert not built.rules[Symbol("NEW/USDT:USDT")].trading


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
        self.seconds = 100.0

    def now_ms(self) -> int:
        return round(self.seconds * 1000)

    def monotonic(self) -> float:
        return self.seconds

    async def sleep(self, seconds: float) -> None:
        self.seconds += seconds


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
