"""Several accounts on one engine, their events and their money, for tests of the exchange's money side."""

from __future__ import annotations

import json
from decimal import Decimal as D
from typing import Any

from pms.simulator.core import Engine
from pms.simulator.state import ZERO, Account
from tests.unit.simulator.market_support import NOW, engine_with

HOUR = 3_600_000
AT = (NOW // (8 * HOUR) + 1) * 8 * HOUR
"""A full interval of funding after `NOW`."""


def engine_of(*wallets: str) -> tuple[Engine, list[Account]]:
    """Return an engine with one account for each wallet, all listening; nothing is left to drain."""
    engine, first = engine_with(wallets[0])
    accounts = [first]
    for number, wallet in enumerate(wallets[1:]):
        account = engine.open_account(f"key-{number}", "secret", D(wallet), NOW)
        engine.set_listen_key(account, f"{number}" * 64, NOW + 100 * HOUR)
        accounts.append(account)
    engine.tick(NOW)
    engine.drain()
    return engine, accounts


def events_of(engine: Engine, account: Account) -> list[dict[str, Any]]:
    """Return and forget the private events of one account (those of the others are lost)."""
    return [json.loads(e) for key, e in engine.drain().events if key == account.listen_key]


def told(events: list[dict[str, Any]]) -> list[str]:
    """Return the events in short: type, then reason or execution/status and expiry reason."""
    return [_short(event) for event in events]


def _short(event: dict[str, Any]) -> str:
    name = event["e"]
    if name == "ORDER_TRADE_UPDATE":
        order = event["o"]
        return f"order {order['x']}/{order['X']}" + (f" er{order['er']}" if order["er"] != "0" else "")
    return f"account {event['a']['m']}" if name == "ACCOUNT_UPDATE" else name


def set_mark(engine: Engine, symbol: str, mark: str) -> None:
    """Move the mark alone."""
    engine.markets[symbol].mark = D(mark)


def income_of(engine: Engine, account: Account, kind: str, asset: str = "USDT") -> D:
    """Return the sum of one kind of income."""
    mine = (i for i in engine.income if i.account_id == account.account_id)
    return sum((i.amount for i in mine if i.income_type == kind and i.asset == asset), ZERO)


def check_money(engine: Engine) -> None:
    """Every wallet is the sum of its income, every position the sum of its trades."""
    for account in engine.accounts.values():
        for asset, amount in account.wallets.items():
            mine = (i for i in engine.income if i.account_id == account.account_id and i.asset == asset)
            assert amount == sum((i.amount for i in mine), ZERO), (account.account_id, asset)
    for (account_id, symbol, side), position in engine.positions.items():
        trades = [
            t
            for t in engine.trades
            if (t.account_id, t.symbol, t.position_side) == (account_id, symbol, side)
        ]
        signed = sum((t.quantity if t.side == "BUY" else -t.quantity for t in trades), ZERO)
        assert position.quantity == signed, (account_id, symbol, side)
