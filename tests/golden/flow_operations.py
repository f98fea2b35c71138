"""The operations of `ledger_flows.jsonl` by the product's own parts (ledger spec, section 5 and 7.3 to 7.5).

Each answers what the incumbent's callers read of a result: `success`, the `codes` of its errors, `source`.
"""

from collections.abc import Callable, Coroutine
from dataclasses import replace
from decimal import Decimal
from typing import Any

from pms.execution.api import Executed, MarketRequest
from pms.ledger.api import Actor, HouseLineKind
from pms.model.account import PositionSide
from pms.model.ids import ClientOrderId, ExchangeOrderId, PositionId, SubAccountId
from pms.model.money import Price, Quantity
from pms.model.order import ExchangeOrderStatus, OrderCode, OrderSide, Priority
from pms.model.refusal import RefusalCode, Refused
from pms.model.symbol import Symbol
from tests.golden.flow_exchange import exact, native
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


async def partial_close(
    world: World, position_id: str, fraction: Any, action: str = "PARTIAL_LIQUIDATION"
) -> dict[str, Any]:
    outcome = await world.wired.trader.close_partly(
        PositionId(position_id), exact(fraction), ACTOR, action=action
    )
    return _done(outcome)


async def close_by_price(
    world: World, position_id: str, price: Any, reason: str = "BABYSITTER_TP"
) -> dict[str, Any]:
    outcome = await world.wired.trader.close_by_price(
        PositionId(position_id), None if price is None else exact(price), reason, ACTOR
    )
    if isinstance(outcome, Refused):
        return _refused(outcome)
    return {"success": True, "source": outcome.source}


async def take_over(world: World, position_id: str, admin: str) -> dict[str, Any]:
    position = world.ledger.position(PositionId(position_id))
    if position is None:
        return _refused(Refused.because(RefusalCode.POSITION_NOT_FOUND))
    mark = world.wired.core.prices.mark_price(position.symbol)
    assert mark is not None
    await world.ledger.take_over(position.id, Actor(admin, "jwt"), Price(exact(mark)))
    return {"success": True}


async def reconcile(world: World, symbol: str, price: Any) -> dict[str, Any]:
    held = [one for one in world.ledger.open_positions() if one.symbol == symbol]
    for position in held:
        await world.ledger.transfer_to_house(
            position.id,
            position.quantity,
            Price(exact(price)),
            HouseLineKind.NETTING_DIFFERENCE,
            "RECONCILE",
        )
    return {"closed": len(held)}


_STATUSES = {
    "PARTIALLY_FILLED": ExchangeOrderStatus.PARTIALLY_FILLED,
    "FILLED": ExchangeOrderStatus.FILLED,
    "CLOSED": ExchangeOrderStatus.FILLED,
    "CANCELED": ExchangeOrderStatus.CANCELLED,
    "CANCELLED": ExchangeOrderStatus.CANCELLED,
    "EXPIRED": ExchangeOrderStatus.EXPIRED,
    "REJECTED": ExchangeOrderStatus.REJECTED,
}


async def order_update(world: World, update: dict[str, Any]) -> bool:
    """The stream's word on a resting order; whether it is one of ours that is no chase (7.3, fast path)."""
    row = _pending(world, update.get("orderId"))
    status = _STATUSES.get(str(update.get("status")).upper())
    if row is None or row.get("type") == "CHASE_LIMIT" or status is None:
        return False
    filled = not status.terminal or status is ExchangeOrderStatus.FILLED
    price = update.get("avgPrice") or update.get("price") or row["price"]
    quantity = update.get("filledQty") or (row["quantity"] if filled else 0)
    await _tell(world, row, world.exchange.client_ids[row["exchangeOrderId"]], status, price, quantity)
    return True


async def chase_fill(world: World, fill: dict[str, Any]) -> None:
    """A chase's order filled, perhaps under the id of the order that replaced the one in the row."""
    order_id = ExchangeOrderId(fill["exchangeOrderId"])
    row = _pending(world, order_id)
    known = row is not None
    if row is None:
        place = (fill["subAccountId"], fill.get("symbol"))
        rows = [one for one in _pending_rows(world) if (one["subAccountId"], one["symbol"]) == place]
        row = rows[-1] if rows else None
    if row is None:
        return
    client_id = world.exchange.client_ids[row["exchangeOrderId"]]
    if not known:
        world.exchange.reports.pop(client_id, None)  # the exchange has replaced it
        client_id = ClientOrderId(f"PMS{row['subAccountId'][:8]}_CL_{order_id}")
    filled = ExchangeOrderStatus.FILLED
    told = {**row, "exchangeOrderId": order_id}
    await _tell(world, told, client_id, filled, fill["fillPrice"], fill.get("fillQty") or row["quantity"])


async def user_stream(world: World, *events: dict[str, Any]) -> None:
    """Raw events of the private stream, as far as the vectors write them out."""
    by_native = {native(symbol): symbol for symbol in world.exchange.symbols}
    for event in events:
        if event["e"] == "ACCOUNT_UPDATE":
            for position in event["a"]["P"]:
                await world.exchange.move(by_native[position["s"]], Decimal(position["pa"]))
            world.persist()
        elif event["e"] == "ORDER_TRADE_UPDATE":
            order = event["o"]
            report = world.exchange.report(
                ExchangeOrderId(str(order["i"])),
                ClientOrderId(order["c"]),
                by_native[order["s"]],
                OrderSide(order["S"]),
                ExchangeOrderStatus.FILLED,
                Quantity(Decimal(order.get("z", "0"))),
            )
            # Without a trade id and a last quantity nothing was executed by it (decision 3).
            last = Decimal(order.get("l") or 0) if order.get("t") else Decimal(0)
            fee = Decimal(order.get("n") or 0)
            await world.exchange.tell(report, Price(Decimal(order.get("L") or 0)), Quantity(last), fee)


async def summary(world: World, account: str) -> dict[str, Any] | None:
    state = world.wired.trader.account_state(SubAccountId(account))
    return None if state is None else {"account": state.account.id}


def _pending_rows(world: World) -> list[dict[str, Any]]:
    return list(world.given["db"].get("pendingOrder") or ())


def _pending(world: World, order_id: object) -> dict[str, Any] | None:
    return next((row for row in _pending_rows(world) if row.get("exchangeOrderId") == order_id), None)


async def _tell(
    world: World,
    row: dict[str, Any],
    client_id: ClientOrderId,
    status: ExchangeOrderStatus,
    price: Any,
    quantity: Any,
) -> None:
    asked, executed = Quantity(exact(row["quantity"])), Quantity(exact(quantity))
    side = OrderSide.opening(PositionSide(row["side"]))
    order_id = ExchangeOrderId(row["exchangeOrderId"])
    report = world.exchange.report(order_id, client_id, Symbol(row["symbol"]), side, status, asked)
    report = replace(report, executed_quantity=executed)
    await world.exchange.tell(report, Price(exact(price)), executed, Decimal(0))


OPERATIONS: dict[str, Operation] = {
    "executeTrade": execute_trade,
    "closePosition": close_position,
    "liquidatePosition": liquidate_position,
    "partialClose": partial_close,
    "takeoverPosition": take_over,
    "reconcilePosition": reconcile,
    "closeVirtualPositionByPrice": close_by_price,
    "handleExchangeOrderUpdate": order_update,
    "processChaseOrderFill": chase_fill,
    "userStream": user_stream,
    "getAccountSummary": summary,
    "getMarginInfo": summary,
}
