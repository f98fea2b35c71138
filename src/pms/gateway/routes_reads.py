"""`/api/trade` reads of one account: positions, margin, history, statistics, chart (gateway spec 6.6)."""

from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, Query, Response

from pms.gateway import render, statistics, wire
from pms.gateway.bounds import HISTORY_ROWS_MAX
from pms.gateway.context import GatewayOf, PrincipalOf
from pms.gateway.errors import invalid
from pms.gateway.listing import rendered
from pms.gateway.ports import HistoryFilter
from pms.gateway.requests import SYMBOL_CHARACTERS_MAX, SymbolText
from pms.gateway.routes_trade import open_orders
from pms.gateway.routing import UserRoute, router
from pms.model.symbol import Symbol

user = router("/api/trade", "account reads", UserRoute)
ROUTERS: tuple[APIRouter, ...] = (user,)

CHART_TRADES = 200

OffsetOf = Annotated[int, Query(ge=0, le=10**9)]
ActionOf = Annotated[str | None, Query(pattern="^[A-Z0-9_]{1,40}$")]


@user.get("/positions/{sub_account_id}", operation_id="positions")
async def positions(sub_account_id: str, principal: PrincipalOf, gateway: GatewayOf) -> wire.PositionsBody:
    """Return the account with live positions, summary and rules, all of one moment."""
    return render.account_state(gateway.state(principal, sub_account_id))


@user.get("/balance/{sub_account_id}", operation_id="balance")
async def balance(sub_account_id: str, principal: PrincipalOf, gateway: GatewayOf) -> wire.SummaryBody:
    """Return the summary."""
    return render.summary(gateway.state(principal, sub_account_id))


@user.get("/margin/{sub_account_id}", operation_id="margin")
async def margin(sub_account_id: str, principal: PrincipalOf, gateway: GatewayOf) -> wire.MarginBody:
    """Return the summary with account and rules."""
    return render.margin(gateway.state(principal, sub_account_id))


def _moment(text: str | None, name: str) -> int | None:
    """Return epoch ms of an ISO date, UTC when it names no zone."""
    if text is None:
        return None
    try:
        moment = datetime.fromisoformat(text)
        if moment.tzinfo is None:
            moment = datetime.fromisoformat(text + "+00:00" if "T" in text else text + "T00:00:00+00:00")
        return int(moment.timestamp() * 1000)
    except (ValueError, OverflowError):
        raise invalid(f"{name} is not an ISO 8601 date.", path=name) from None


@user.get("/history/{sub_account_id}", response_model=wire.HistoryBody, operation_id="history")
async def history(
    sub_account_id: str,
    principal: PrincipalOf,
    gateway: GatewayOf,
    limit: Annotated[int, Query(ge=1, le=HISTORY_ROWS_MAX)] = 50,
    offset: OffsetOf = 0,
    symbol: Annotated[SymbolText | None, Query(max_length=SYMBOL_CHARACTERS_MAX)] = None,
    since: Annotated[str | None, Query(alias="from", max_length=40)] = None,
    until: Annotated[str | None, Query(alias="to", max_length=40)] = None,
    action: ActionOf = None,
) -> Response:
    """List executions, newest first."""
    account = gateway.account(principal, sub_account_id)
    wanted = HistoryFilter(
        limit,
        offset,
        symbol=Symbol(symbol) if symbol else None,
        since_ms=_moment(since, "from"),
        until_ms=_moment(until, "to"),
        action=action,
    )
    page = await gateway.deps.queries.history(account.id, wanted)
    trades = await rendered(
        render.history_trade(row, page.positions.get(row.position_id) if row.position_id else None)
        for row in page.trades
    )
    text = f'{{"trades":{trades},"total":{page.total},"offset":{offset},"limit":{limit}}}'
    return Response(text, media_type="application/json")


@user.get("/stats/{sub_account_id}", operation_id="stats")
async def stats(sub_account_id: str, principal: PrincipalOf, gateway: GatewayOf) -> wire.StatsBody:
    """Return realised results by period, and the curve of the balance (down-sampled to 2,000 points)."""
    account = gateway.account(principal, sub_account_id)
    trades = await gateway.deps.queries.all_trades(account.id)
    logs = await gateway.deps.queries.balance_logs(account.id, HISTORY_ROWS_MAX)
    return statistics.of_account(account, trades, logs, gateway.deps.clock.now_ms())


@user.get("/chart-data/{sub_account_id}", operation_id="chart_data")
async def chart_data(
    sub_account_id: str,
    principal: PrincipalOf,
    gateway: GatewayOf,
    symbol: Annotated[SymbolText, Query(max_length=SYMBOL_CHARACTERS_MAX)],
) -> wire.ChartDataBody:
    """Return what a chart of one symbol marks: positions, the last 200 trades, resting orders."""
    state = gateway.state(principal, sub_account_id)
    page = await gateway.deps.queries.history(
        state.account.id, HistoryFilter(CHART_TRADES, symbol=Symbol(symbol))
    )
    return wire.ChartDataBody(
        positions=[render.live_position(live) for live in state.positions if live.position.symbol == symbol],
        trades=[render.trade(row) for row in page.trades],
        open_orders=[
            render.pending_order(order)
            for order in open_orders(gateway, state.account.id)
            if order.symbol == symbol
        ],
    )
