"""`pms house ...`: what the house holds and may hold; closing or assigning it by the running engine."""

from collections.abc import Callable, Mapping
from uuid import uuid4

import msgspec

from pms.commands import inputs
from pms.commands.accounts import ACTOR, find_account
from pms.commands.opened import opened_ledger
from pms.commands.running import is_running, running_engine
from pms.model.money import plain
from pms.model.symbol import Symbol
from pms.settings import SettingsError

Say = Callable[[str], None]
Overrides = Mapping[str, object]


class _Closed(msgspec.Struct, frozen=True, rename="camel"):
    symbol: str
    closed: float
    left: float


class _Assigned(msgspec.Struct, frozen=True, rename="camel"):
    symbol: str
    quantity: float
    price: float


async def show(overrides: Overrides, say: Say) -> int:
    """List what the house holds of each symbol, signed, at cost; no engine is needed."""
    async with opened_ledger(overrides, say, writing=False) as ledger:
        held = [one for one in ledger.house_positions() if one.signed_quantity]
        for one in held:
            passing_on = ledger.passing_on(one.symbol)
            note = f"  {plain(passing_on)} on its way to closers" if passing_on else ""
            say(f"{one.symbol:20}  {plain(one.signed_quantity):>18}  cost {one.signed_cost:>18.8f}{note}")
        if not held:
            say("the house holds nothing")
        say(f"cash {plain(ledger.house_cash())} USDT")
    return 0


async def close(overrides: Overrides, symbol: str, quantity: str | None, say: Say) -> int:
    """Trade away what the house holds of a symbol, or a part of it."""
    _needs_engine(overrides)
    body: dict[str, object] = {"symbol": symbol}
    if quantity is not None:
        body["quantity"] = str(inputs.amount(quantity))
    async with running_engine(overrides) as engine:
        content = await engine.request(
            "POST", "/api/admin/house/close", body, idempotency_key=f"cli-{uuid4()}"
        )
    done = msgspec.json.decode(content, type=_Closed)
    say(f"{done.symbol}: closed {done.closed}, the house holds {done.left}")
    return 0


async def assign(
    overrides: Overrides, symbol: str, account: str, quantity: str, leverage: str, say: Say
) -> int:
    """Give a part of what the house holds to an account, at the fresh mark."""
    _needs_engine(overrides)
    async with opened_ledger(overrides, say, writing=False) as ledger:
        found = find_account(ledger, account)
    body = {
        "symbol": symbol,
        "subAccountId": found.id,
        "quantity": str(inputs.amount(quantity)),
        "leverage": str(inputs.amount(leverage)),
    }
    async with running_engine(overrides) as engine:
        content = await engine.request(
            "POST", "/api/admin/house/assign", body, idempotency_key=f"cli-{uuid4()}"
        )
    done = msgspec.json.decode(content, type=_Assigned)
    say(f"{found.name}: got {done.quantity} {done.symbol} at {done.price}")
    return 0


async def limit(overrides: Overrides, symbol: str, notional: str, say: Say) -> int:
    """Bound what the house may hold of a symbol (`*`: of every other one), USDT; `none` lifts the bound.
    Works while no engine runs; the next start acts on it."""
    bound = None if notional == "none" else inputs.amount(notional)
    async with opened_ledger(overrides, say, writing=True) as ledger:
        await ledger.set_house_limit(None if symbol == "*" else Symbol(symbol), bound, ACTOR)
        for known, most in ledger.house_limits().items():
            say(f"{known or '*':20}  at most {plain(most)} USDT")
    return 0


def _needs_engine(overrides: Overrides) -> None:
    if not is_running(overrides):
        raise SettingsError("no engine runs on this folder; closing and assigning need its prices: start it")
