"""The operations of `ledger_flows.jsonl` by the product's own parts (ledger spec, section 5 and 7.3 to 7.5).

Each answers what the incumbent's callers read of a result: `success`, the `codes` of its errors, `source`.
"""

from collections.abc import Callable, Coroutine
from typing import Any

from pms.execution.api import Executed, MarketRequest
from pms.ledger.api import Actor
from pms.model.account import PositionSide
from pms.model.ids import PositionId, SubAccountId
from pms.model.order import OrderCode, Priority
from pms.model.refusal import RefusalCode, Refused
from pms.model.symbol import Symbol
from tests.golden.flow_exchange import exact
from tests.golden.flow_world import World

ACTOR = Actor("golden", "system")
_CODES = {"LIQUIDATE": OrderCode.LIQUIDATION, "TRAIL_STOP": OrderCode.TRAILING_STOP}

Operation = Callable[..., Coroutine[Any, Any, Any]]


def _refused(outcome: Refused) -> dict[str, Any]:
    return {"success": False, "codes": [one.code.name for one in outcome.refusals]}


def _done(outcome: Executed | Refused) -> dict[str, Any]:
    if isinstance(outcome, Refused):
        return _refused(outcome)
    return {"success": True, "source": source_of(outcome)}


def source_of(outcome: Executed) -> str | None:
    """`virtual_only` for what the exchange did not back, `virtual_fallback` for what it refused (5.4)."""
    trade = outcome.trades[-1] if outcome.trades else None
    if trade is None or trade.exchange_order_id is not None:
        return None
    return "virtual_only" if trade.action == "DESYNC_CLOSE" else "virtual_fallback"


async def execute_trade(
    world: World,
    account: str,
    symbol: str,
    side: str,
    quantity: Any,
    leverage: Any,
    kind: str = "MARKET",
    options: dict[str, Any] | None = None,
) -> dict[str, Any]:
    chosen = options or {}
    excluded = chosen.get("babysitterExcluded")
    request = MarketRequest(
        SubAccountId(account),
        Symbol(symbol),
        PositionSide(side),
        exact(quantity),
        exact(leverage),
        reduce_only=bool(chosen.get("reduceOnly")),
        babysitter_excluded=True if excluded is None else bool(excluded),
        origin=str(chosen.get("origin") or "MANUAL"),
    )
    outcome = await world.wired.trader.market(request, ACTOR)
    return _refused(outcome) if isinstance(outcome, Refused) else {"success": True}


async def _known(world: World, position_id: str) -> Refused | None:
    """What the gateway asks before it closes: whether there is such a position, and whether it is open."""
    if world.ledger.position(PositionId(position_id)) is not None:
        return None
    stored = await world.ledger.queries.position(PositionId(position_id))
    code = RefusalCode.POSITION_NOT_FOUND if stored is None else RefusalCode.POSITION_CLOSED
    return Refused.because(code)


async def close_position(world: World, position_id: str, action: str = "CLOSE") -> dict[str, Any]:
    unknown = await _known(world, position_id)
    if unknown is not None:
        return _refused(unknown)
    code = _CODES.get(action, OrderCode.CLOSE)
    trader = world.wired.trader
    return _done(await trader.close_with(PositionId(position_id), code, action, Priority.USER_CLOSE))


async def liquidate_position(world: World, position_id: str) -> dict[str, Any]:
    unknown = await _known(world, position_id)
    if unknown is not None:
        return _refused(unknown)
    trader = world.wired.trader
    outcome = await trader.close_with(
        PositionId(position_id), OrderCode.LIQUIDATION, "LIQUIDATE", Priority.LIQUIDATION
    )
    return _done(outcome)


OPERATIONS: dict[str, Operation] = {
    "executeTrade": execute_trade,
    "closePosition": close_position,
    "liquidatePosition": liquidate_position,
}
