"""An engine with hand-set markets, for tests without sockets."""

from __future__ import annotations

from decimal import Decimal

from pms.simulator.config import Fees
from pms.simulator.core import Engine
from pms.simulator.errors import Reject
from pms.simulator.order_params import parse_order
from pms.simulator.recordings_index import reference_info, reference_rules
from pms.simulator.state import Account, Order

NOW = 1_795_000_000_000
RULES = reference_rules(reference_info())
D = Decimal


def engine_with(
    wallet: str = "100000", symbols: tuple[str, ...] = ("BTCUSDT", "ETHUSDT")
) -> tuple[Engine, Account]:
    """Return an engine with one funded account; BTC is at 60000.0/60000.1, ETH at 3000.00/3000.01."""
    engine = Engine({s: RULES[s] for s in symbols}, Fees())
    account = engine.open_account("key", "secret", D(wallet), NOW)
    engine.set_listen_key(account, "k" * 64, NOW + 3_600_000)
    quote(engine, "BTCUSDT", "60000.0", "60000.1")
    if "ETHUSDT" in symbols:
        quote(engine, "ETHUSDT", "3000.00", "3000.01")
    engine.tick(NOW)  # the first one notes from when on funding is owed
    engine.drain()
    return engine, account


def quote(engine: Engine, symbol: str, bid: str, ask: str, size: str = "10") -> None:
    """Set the best quote of a symbol, its mark to the mid, and match."""
    market = engine.markets[symbol]
    market.bid, market.ask, market.bid_quantity, market.ask_quantity = D(bid), D(ask), D(size), D(size)
    market.mark = market.mid
    engine.quote(market, NOW)


def place(engine: Engine, account: Account, **params: str) -> Order | Reject:
    """Place an order from wire parameters; `symbol` defaults to BTCUSDT, `type` to MARKET."""
    wanted = {"symbol": "BTCUSDT", "side": "BUY", "type": "MARKET", "quantity": "1", **params}
    if wanted["type"] == "LIMIT":
        wanted.setdefault("timeInForce", "GTC")
    parsed = parse_order({name: value for name, value in wanted.items() if value}, engine.rules)
    return parsed if isinstance(parsed, Reject) else engine.place(account, parsed, NOW)


def placed(engine: Engine, account: Account, **params: str) -> Order:
    """Place an order that must be accepted."""
    order = place(engine, account, **params)
    assert isinstance(order, Order), order
    return order
