"""The incumbent's price cascade (ledger spec 3.12) and its reading of exchange error texts (4.4)."""

import re
from collections.abc import Mapping
from typing import Any

FRESH_MS = 10_000


def fresh_price(given: Mapping[str, Any]) -> dict[str, Any]:
    """Connector if fresh, else Redis if fresh (then cached), else the REST ticker, else none."""
    now = given["nowMs"]
    stream, shared, ticker = given.get("ws") or {}, given.get("redis") or {}, given.get("ticker") or {}
    if stream.get("mark") and now - stream.get("timestamp", 0) < FRESH_MS:
        return {"price": stream["mark"], "cachedAfter": None}
    if shared.get("mark") and now - shared.get("ts", 0) < FRESH_MS:
        return {"price": shared["mark"], "cachedAfter": shared["mark"]}
    return {"price": ticker.get("mark") or ticker.get("last") or None, "cachedAfter": None}


def validation_price(given: Mapping[str, Any]) -> float | None:
    """Price of the traded symbol: connector, price service, REST mark, REST last; falsy falls through."""
    symbol = given["symbol"]
    ticker = given.get("ticker")
    rest = ticker if isinstance(ticker, dict) else {}
    price = (
        (given.get("exchangePrices") or {}).get(symbol)
        or (given.get("servicePrices") or {}).get(symbol)
        or rest.get("mark")
        or rest.get("last")
    )
    return float(price) if price else None


def other_price(given: Mapping[str, Any], position: Mapping[str, Any]) -> float:
    """Price of another position: connector, price service, its entry."""
    symbol = position["symbol"]
    return float(
        (given.get("exchangePrices") or {}).get(symbol)
        or (given.get("servicePrices") or {}).get(symbol)
        or position["entryPrice"]
    )


def exchange_error(text: str) -> tuple[int | None, str]:
    """The first `"code":` integer and the first `"msg":"…"` of an error text; the whole text without the
    latter.
    """
    code = re.search(r'"code"\s*:\s*(-?\d+)', text)
    message = re.search(r'"msg"\s*:\s*"([^"]*)"', text)
    return int(code[1]) if code else None, message[1] if message else text
