"""REST endpoints for what happened to the account's money: trades, income, forced orders (spec 2.4)."""

from __future__ import annotations

from pms.exchange import messages as wire
from pms.simulator.errors import INVALID_SYMBOL, Reject, invalid
from pms.simulator.exchange_orders import ADL_PREFIX, LIQUIDATION_PREFIX
from pms.simulator.http_order_queries import shown
from pms.simulator.http_settings import wanted_symbol
from pms.simulator.state import Trade, money, text
from pms.simulator.venue import Answer, Call, Endpoint, Venue

DAY_MS = 86_400_000
WEEK_MS = 7 * DAY_MS
TRADES_KEPT_MS = INCOME_KEPT_MS = 92 * DAY_MS
"""Three months, taken as the longest ones."""
FORCED_KEPT_MS = 90 * DAY_MS
MOVES_WINDOW_MS = 30 * DAY_MS
FORCED_PREFIXES = {"LIQUIDATION": (LIQUIDATION_PREFIX,), "ADL": (ADL_PREFIX,)}


def _window(call: Call, longest_ms: int, kept_ms: int) -> tuple[int, int] | Reject:
    """Return the time range asked for: seven days by default, beside the one end that is given."""
    start, end = call.integer("startTime"), call.integer("endTime")
    if start is not None and end is not None:
        if start > end:
            return Reject(-1023, "Start time is greater than end time.")
        if end - start > longest_ms:
            return Reject(-4165, f"Maximum time interval is {longest_ms // DAY_MS} days")
    if start is None:
        end = call.now_ms if end is None else end
        start = end - WEEK_MS
    elif end is None:
        end = min(call.now_ms, start + longest_ms)
    return max(start, call.now_ms - kept_ms), end


def user_trades(venue: Venue, call: Call) -> Answer:
    """GET userTrades of a symbol: by order, from an id upwards, or by time (seven days at most)."""
    symbol = wanted_symbol(venue, call)
    if isinstance(symbol, Reject):
        return symbol
    order_id, first = call.integer("orderId"), call.integer("fromId")
    timed = "startTime" in call.params or "endTime" in call.params
    if first is not None and timed:
        return Reject(-1128, "Combination of optional parameters invalid.")
    window = _window(call, WEEK_MS, TRADES_KEPT_MS)
    if isinstance(window, Reject):
        return window
    start, end = window
    if not timed and (first is not None or order_id is not None):
        start = call.now_ms - TRADES_KEPT_MS
    rows = [
        t
        for t in venue.engine.trades_of(call.account, symbol, first or 0)
        if order_id in (None, t.order_id) and start <= t.time_ms <= end
    ]
    limit = call.limit(500, 1000)
    from_the_start = first is not None or "startTime" in call.params
    return [_trade(t) for t in (rows[:limit] if from_the_start else rows[-limit:])]


def _trade(trade: Trade) -> wire.UserTrade:
    return wire.UserTrade(
        symbol=trade.symbol,
        pair=trade.symbol,
        id=trade.trade_id,
        order_id=trade.order_id,
        side=trade.side,
        price=text(trade.price),
        qty=text(trade.quantity),
        quote_qty=text(trade.price * trade.quantity),
        base_qty=text(trade.quantity),
        realized_pnl=money(trade.realized),
        margin_asset=trade.margin_asset,
        commission=money(trade.commission),
        commission_asset=trade.commission_asset,
        time=trade.time_ms,
        position_side=trade.position_side,
        buyer=trade.side == "BUY",
        maker=trade.maker,
    )


def income(venue: Venue, call: Call) -> Answer:
    """GET income of all kinds; seven days by default, three months kept."""
    symbol, kind = call.params.get("symbol"), call.params.get("incomeType")
    if symbol is not None and symbol not in venue.engine.rules:
        return INVALID_SYMBOL
    window = _window(call, INCOME_KEPT_MS, INCOME_KEPT_MS)
    if isinstance(window, Reject):
        return window
    start, end = window
    rows = [
        i
        for i in venue.engine.income
        if i.account_id == call.account.account_id
        and symbol in (None, i.symbol)
        and kind in (None, i.income_type)
        and start <= i.time_ms <= end
    ]
    limit = call.limit(100, 1000)
    chosen = rows[:limit] if "startTime" in call.params else rows[-limit:]
    return [
        wire.Income(
            symbol=i.symbol,
            income_type=i.income_type,
            income=money(i.amount),
            asset=i.asset,
            info=i.info,
            time=i.time_ms,
            tran_id=i.income_id,
            trade_id=i.trade_id,
        )
        for i in chosen
    ]


def forced_orders(venue: Venue, call: Call) -> Answer:
    """GET forceOrders: liquidation and ADL orders of the account, shown as LIMIT IOC as the venue does."""
    symbol, kind = call.params.get("symbol"), call.params.get("autoCloseType")
    if symbol is not None and symbol not in venue.engine.rules:
        return INVALID_SYMBOL
    if kind is not None and kind not in FORCED_PREFIXES:
        return Reject(-1130, "Data sent for parameter 'autoCloseType' is not valid.")
    window = _window(call, FORCED_KEPT_MS, FORCED_KEPT_MS)
    if isinstance(window, Reject):
        return window
    prefixes = FORCED_PREFIXES.get(kind or "", (LIQUIDATION_PREFIX, ADL_PREFIX))
    rows = [
        order
        for order in venue.engine.all_orders(call.account)
        if order.client_order_id.startswith(prefixes)
        and symbol in (None, order.symbol)
        and window[0] <= order.created_ms <= window[1]
    ]
    chosen = [shown(venue, order, listed=True) for order in rows[-call.limit(50, 100) :]]
    return [row | {"type": "LIMIT", "origType": "LIMIT"} for row in chosen]


def position_margin_history(venue: Venue, call: Call) -> Answer:
    """GET positionMargin/history: movements of isolated margin in a symbol, by trades and by the user."""
    symbol = wanted_symbol(venue, call)
    if isinstance(symbol, Reject):
        return symbol
    kind = call.integer("type")
    if kind not in (None, 1, 2):
        return invalid("type")
    window = _window(call, MOVES_WINDOW_MS, TRADES_KEPT_MS)
    if isinstance(window, Reject):
        return window
    rows = [
        move
        for move in venue.engine.clearing.margin_moves
        if (move.account_id, move.symbol) == (call.account.account_id, symbol)
        and kind in (None, 1 if move.added else 2)
        and window[0] <= move.time_ms <= window[1]
    ]
    return [
        wire.PositionMarginChange(
            symbol=move.symbol,
            type=1 if move.added else 2,
            delta_type="USER_ADJUST" if move.by_user else "TRADE",
            amount=money(move.amount),
            asset=move.asset,
            time=move.time_ms,
            position_side=move.side,
        )
        for move in rows[-call.limit(500, 500) :]
    ]


ENDPOINTS: dict[tuple[str, str], Endpoint] = {
    ("GET", "/fapi/v1/userTrades"): Endpoint(user_trades, weight=5),
    ("GET", "/fapi/v1/positionMargin/history"): Endpoint(position_margin_history),
    ("GET", "/fapi/v1/income"): Endpoint(income, weight=30),
    ("GET", "/fapi/v1/forceOrders"): Endpoint(forced_orders, weight=20, weight_without_symbol=50),
}
