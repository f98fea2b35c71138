"""Symbols: the unified and the native names of every contract, and the filters of those we trade."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from decimal import Decimal

from pms.exchange.errors import ExchangeError, UnreadablePayload
from pms.exchange.messages import ExchangeInfo, SymbolFilter, SymbolInfo
from pms.model.clock import Clock, set_within
from pms.model.symbol import Symbol, SymbolRules

log = logging.getLogger("pms.exchange.binance")

ENDLESS_DELIVERY_MS = 4_133_404_800_000
"""Delivery date of contracts that never deliver (Binance spec section 9)."""

TRADING = "TRADING"
"""The only status in which new exposure is taken; every other, known or to come, allows reducing at most."""

ENDED = frozenset({"CLOSE", "DELIVERED"})
"""Statuses after which a contract is settled and never trades again."""

REFRESH_SECONDS_MIN = 5.0
"""Shortest time between two refreshes caused by unlisted symbols: a strange event must not cause a storm."""

DOUBT_SECONDS_MIN = 60.0
"""Shortest time between two refreshes caused by refusals: an order that is wrong stays so."""

FILTER_CODES = frozenset({-1111, -4014, -4164})
"""Refusals that say that our filters are not the exchange's any more: precision, tick, minimum notional."""


def unified_name(info: SymbolInfo) -> Symbol:
    """Return the unified name, by ccxt's rule, from the contract's assets and never from the native text.

    Every kind of perpetual counts as one whatever its delivery date says: a perpetual that is being delisted
    gets a real date, and a position must keep its name then (also the trap of TRADIFI_PERPETUAL, section 9).
    """
    name = f"{info.base_asset}/{info.quote_asset}:{info.margin_asset}"
    if is_perpetual(info):
        return Symbol(name)
    day = datetime.fromtimestamp(info.delivery_date / 1000, UTC).strftime("%y%m%d")
    return Symbol(f"{name}-{day}")


def is_perpetual(info: SymbolInfo) -> bool:
    """Tell perpetuals of every kind from dated contracts."""
    return "PERPETUAL" in info.contract_type or info.delivery_date == ENDLESS_DELIVERY_MS


def rules_of(info: SymbolInfo) -> SymbolRules:
    """Return the filters as exact numbers; a filter that is missing is switched off (0)."""
    filters = {each.filter_type: each for each in info.filters}
    nothing = SymbolFilter(filter_type="")
    price, lot, market_lot, notional, percent, count = (
        filters.get(kind, nothing)
        for kind in (
            "PRICE_FILTER",
            "LOT_SIZE",
            "MARKET_LOT_SIZE",
            "MIN_NOTIONAL",
            "PERCENT_PRICE",
            "MAX_NUM_ORDERS",
        )
    )
    return SymbolRules(
        symbol=unified_name(info),
        base=info.base_asset,
        quote=info.quote_asset,
        settle=info.margin_asset,
        price_tick=_number(price.tick_size),
        price_min=_number(price.min_price),
        price_max=_number(price.max_price),
        quantity_step=_number(lot.step_size),
        quantity_min=_number(lot.min_qty),
        quantity_max=_number(lot.max_qty),
        market_quantity_step=_number(market_lot.step_size),
        market_quantity_min=_number(market_lot.min_qty),
        market_quantity_max=_number(market_lot.max_qty),
        notional_min=_number(notional.notional),
        price_precision=info.price_precision,
        quantity_precision=info.quantity_precision,
        open_orders_max=count.limit or 200,
        percent_price_up=_number(percent.multiplier_up),
        percent_price_down=_number(percent.multiplier_down),
        trading=info.status == TRADING,
        ended=info.status in ENDED,
    )


def _number(text: str | None) -> Decimal:
    return Decimal(text) if text else Decimal(0)


@dataclass(frozen=True, slots=True)
class SymbolMap:
    """Both directions of the names of all contracts; `rules` only of perpetuals that settle in our asset."""

    unified: dict[str, Symbol]
    native: dict[Symbol, str]
    rules: dict[Symbol, SymbolRules]

    def with_former(self, former: "SymbolMap") -> "SymbolMap":
        """Return this map with what only the former one lists: a contract that the exchange lists no more
        keeps its name, so that its position and its last events can still be read, and does not trade."""
        unified, native, rules = dict(self.unified), dict(self.native), dict(self.rules)
        for name, symbol in former.unified.items():
            if name not in unified and symbol not in native:
                unified[name], native[symbol] = symbol, name
                if symbol in former.rules:
                    rules[symbol] = replace(former.rules[symbol], trading=False)
        return SymbolMap(unified, native, rules)

    def with_status(self, native: str, status: str) -> "SymbolMap":
        """Return this map with one contract's status; itself when that changes nothing."""
        symbol = self.unified.get(native)
        rules = None if symbol is None else self.rules.get(symbol)
        if symbol is None or rules is None:
            return self
        after = replace(rules, trading=status == TRADING, ended=status in ENDED)
        if after == rules:
            return self
        return SymbolMap(self.unified, self.native, {**self.rules, symbol: after})

    @staticmethod
    def of(info: ExchangeInfo, settle_asset: str) -> "SymbolMap":
        """Build the map. If two contracts claim one unified name, the one that trades wins."""
        unified: dict[str, Symbol] = {}
        native: dict[Symbol, str] = {}
        rules: dict[Symbol, SymbolRules] = {}
        # Stable sort: trading contracts first, then the exchange's own order.
        for each in sorted(info.symbols, key=lambda one: one.status != TRADING):
            try:
                name = unified_name(each)
                traded = each.margin_asset == settle_asset and is_perpetual(each)
                read = rules_of(each) if traded else None
            except (ValueError, ArithmeticError, OSError) as error:
                # One contract that cannot be read must not take the others away.
                log.error("the contract %s cannot be read and is left out: %r", each.symbol, error)
                continue
            if name in native:
                continue
            unified[each.symbol] = name
            native[name] = each.symbol
            if read is not None:
                rules[name] = read
        return SymbolMap(unified, native, rules)


class SymbolDirectory:
    """The current map, loaded from the exchange and loaded again when an unlisted symbol appears."""

    def __init__(self, load: Callable[[], Awaitable[ExchangeInfo]], settle_asset: str, clock: Clock) -> None:
        self._load = load
        self._settle_asset = settle_asset
        self._clock = clock
        self._refreshed_at = float("-inf")
        self._doubted_at = float("-inf")
        self._doubted = asyncio.Event()
        self.map = SymbolMap({}, {}, {})
        self.refreshes = 0
        self.doubts = 0
        self.reduce_only: tuple[Symbol, ...] = ()

    async def refresh(self) -> SymbolMap:
        """Load the map. Raises ExchangeError; the old map stays then."""
        self._refreshed_at = self._clock.monotonic()
        loaded = SymbolMap.of(await self._load(), self._settle_asset)
        self._take(loaded.with_former(self.map))
        self.refreshes += 1
        return self.map

    async def keep(self, seconds: float) -> None:
        """Load the map at least every `seconds`, and soon after a doubt, until cancelled."""
        while True:
            await set_within(self._doubted, self._clock, seconds)
            self._doubted.clear()
            try:
                await self.refresh()
            except ExchangeError as error:
                log.warning("the symbols could not be refreshed: %s", error)

    def doubt(self) -> None:
        """An order was refused for its precision, tick or notional: load the filters again, at most once in
        `DOUBT_SECONDS_MIN`."""
        now = self._clock.monotonic()
        if now - max(self._doubted_at, self._refreshed_at) >= DOUBT_SECONDS_MIN:
            self._doubted_at = now
            self.doubts += 1
            self._doubted.set()

    def note_status(self, native: str, status: str) -> None:
        """The stream tells the status of a contract; one that is not listed yet is loaded."""
        if native not in self.map.unified:
            self.doubt()
        else:
            self._take(self.map.with_status(native, status))

    def _take(self, new: SymbolMap) -> None:
        old, self.map = self.map, new
        for symbol, rules in new.rules.items():
            before = old.rules.get(symbol)
            if before is not None and before.trading and not rules.trading:
                log.error("%s has left trading on the exchange: only reducing is possible", symbol)
            elif before is not None and rules.trading and not before.trading:
                log.warning("%s trades on the exchange", symbol)
        self.reduce_only = tuple(symbol for symbol, rules in new.rules.items() if not rules.trading)

    async def know(self, natives: set[str]) -> SymbolMap:
        """Return a map that lists the native symbols if the exchange does; refreshed when one is missing.

        Raises ExchangeError when the refresh fails.
        """
        unlisted = natives - self.map.unified.keys()
        if unlisted and self._clock.monotonic() - self._refreshed_at >= REFRESH_SECONDS_MIN:
            await self.refresh()
        return self.map

    def unified(self, native: str) -> Symbol:
        """Return the unified name. Raises UnreadablePayload for a symbol that the map does not list."""
        symbol = self.map.unified.get(native)
        if symbol is None:
            raise UnreadablePayload(f"the exchange names a symbol that it does not list: {native}")
        return symbol

    def native(self, symbol: Symbol) -> str:
        """Return the native name. Raises UnreadablePayload for a symbol that the exchange does not list."""
        native = self.map.native.get(symbol)
        if native is None:
            raise UnreadablePayload(f"the exchange does not list {symbol}; check the symbol's spelling")
        return native
