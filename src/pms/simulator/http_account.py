"""REST endpoints for the account, its settings and its listen key (Binance spec 2.4 to 2.6)."""

from __future__ import annotations

from decimal import Decimal

from pms.exchange import messages as wire
from pms.simulator import errors, margin
from pms.simulator.errors import INVALID_SYMBOL, Reject, mandatory
from pms.simulator.state import ZERO, Position, money, text
from pms.simulator.venue import Answer, Call, Endpoint, Venue
from pms.simulator.wire_events import entry_text

WEEK_MS = 7 * 86_400_000
DONE = {"code": 200, "msg": "success"}


def _totals(venue: Venue, call: Call) -> margin.AccountMargin:
    return venue.engine.margin_of(call.account)


def _symbols_in_use(venue: Venue, call: Call) -> list[str]:
    mine = call.account.account_id
    held = {s for (a, s, _), p in venue.engine.positions.items() if a == mine and p.quantity}
    return sorted(held | {o.symbol for o in venue.engine.open_orders_of(call.account)})


def balance(venue: Venue, call: Call) -> Answer:
    """GET balance, v2 and v3."""
    totals = _totals(venue, call)
    row = wire.Balance(
        account_alias=f"Sim{call.account.account_id}",
        asset="USDT",
        balance=money(totals.wallet),
        cross_wallet_balance=money(totals.wallet),
        cross_un_pnl=money(totals.unrealized),
        available_balance=money(totals.available),
        max_withdraw_amount=money(min(totals.available, max(totals.wallet, ZERO))),
        update_time=call.account.updated_ms,
    )
    return [row]


def account_v3(venue: Venue, call: Call) -> Answer:
    """GET v3/account: only symbols with a position or an open order."""
    return _account(venue, call, _symbols_in_use(venue, call), v2=False)


def account_v2(venue: Venue, call: Call) -> Answer:
    """GET v2/account: all symbols."""
    return _account(venue, call, sorted(venue.engine.rules), v2=True)


def _account(venue: Venue, call: Call, symbols: list[str], v2: bool) -> wire.AccountInfo:
    totals = _totals(venue, call)
    initial = totals.position_initial + totals.order_initial
    free = money(totals.available)
    withdrawable = money(min(totals.available, max(totals.wallet, ZERO)))
    asset = wire.AccountAsset(
        asset="USDT",
        wallet_balance=money(totals.wallet),
        unrealized_profit=money(totals.unrealized),
        margin_balance=money(totals.wallet + totals.unrealized),
        maint_margin=money(totals.maintenance),
        initial_margin=money(initial),
        position_initial_margin=money(totals.position_initial),
        open_order_initial_margin=money(totals.order_initial),
        cross_wallet_balance=money(totals.wallet),
        cross_un_pnl=money(totals.unrealized),
        available_balance=free,
        max_withdraw_amount=withdrawable,
        update_time=call.account.updated_ms,
    )
    return wire.AccountInfo(
        total_initial_margin=asset.initial_margin,
        total_maint_margin=asset.maint_margin,
        total_wallet_balance=asset.wallet_balance,
        total_unrealized_profit=asset.unrealized_profit,
        total_margin_balance=asset.margin_balance,
        total_position_initial_margin=asset.position_initial_margin,
        total_open_order_initial_margin=asset.open_order_initial_margin,
        total_cross_wallet_balance=asset.wallet_balance,
        total_cross_un_pnl=asset.unrealized_profit,
        available_balance=free,
        max_withdraw_amount=withdrawable,
        assets=[asset],
        positions=[_account_position(venue, call, totals, symbol, v2) for symbol in symbols],
        fee_tier=0 if v2 else None,
        fee_burn=False if v2 else None,
        can_trade=True if v2 else None,
        can_deposit=True if v2 else None,
        can_withdraw=True if v2 else None,
        multi_assets_margin=False if v2 else None,
        trade_group_id=-1 if v2 else None,
        update_time=0 if v2 else None,
    )


def _account_position(
    venue: Venue, call: Call, totals: margin.AccountMargin, symbol: str, v2: bool
) -> wire.AccountPosition:
    position, part = venue.engine.position_of(call.account, symbol), totals.symbols.get(symbol)
    leverage = venue.engine.leverage_of(call.account, symbol)
    initial = part.position_initial + part.order_initial if part else ZERO
    return wire.AccountPosition(
        symbol=symbol,
        position_side="BOTH",
        position_amt=text(position.quantity),
        unrealized_profit=money(part.unrealized if part else ZERO),
        isolated_margin="0.00000000",
        notional=money(part.notional if part else ZERO),
        isolated_wallet="0",
        initial_margin=money(initial),
        maint_margin=money(part.maintenance if part else ZERO),
        update_time=position.updated_ms,
        leverage=str(leverage) if v2 else None,
        isolated=False if v2 else None,
        entry_price=entry_text(position.entry) if v2 else None,
        max_notional=text(venue.engine.rules[symbol].max_notional(leverage)) if v2 else None,
        bid_notional=money(part.bid_notional if part else ZERO) if v2 else None,
        ask_notional=money(part.ask_notional if part else ZERO) if v2 else None,
    )


def position_risk_v3(venue: Venue, call: Call) -> Answer:
    """GET v3/positionRisk: only symbols with a position or an open order."""
    return _position_risk(venue, call, _symbols_in_use(venue, call), v2=False)


def position_risk_v2(venue: Venue, call: Call) -> Answer:
    """GET v2/positionRisk: all symbols, with leverage and margin type."""
    return _position_risk(venue, call, sorted(venue.engine.rules), v2=True)


def _position_risk(venue: Venue, call: Call, symbols: list[str], v2: bool) -> Answer:
    wanted = call.params.get("symbol")
    if wanted is not None and wanted not in venue.engine.rules:
        return INVALID_SYMBOL
    totals = _totals(venue, call)
    return [_risk_row(venue, call, totals, s, v2) for s in symbols if wanted in (None, s)]


def _break_even(venue: Venue, position: Position) -> Decimal:
    """Entry moved by the taker fee, the price at which closing costs nothing (spec section 7)."""
    direction = 1 if position.quantity > 0 else -1
    return position.entry * (1 + direction * venue.config.fees.taker)


def _risk_row(
    venue: Venue, call: Call, totals: margin.AccountMargin, symbol: str, v2: bool
) -> wire.PositionRisk:
    engine, rules = venue.engine, venue.engine.rules[symbol]
    position, part = engine.position_of(call.account, symbol), totals.symbols.get(symbol)
    leverage = engine.leverage_of(call.account, symbol)
    position_initial = part.position_initial if part else ZERO
    order_initial = part.order_initial if part else ZERO
    liquidation = margin.liquidation_price(position, totals, rules) if part else ZERO
    return wire.PositionRisk(
        symbol=symbol,
        position_side="BOTH",
        position_amt=text(position.quantity),
        entry_price=entry_text(position.entry),
        break_even_price=entry_text(_break_even(venue, position)) if position.quantity else "0",
        mark_price=money(engine.markets[symbol].mark),
        unrealized_profit=money(part.unrealized if part else ZERO),
        liquidation_price=money(liquidation) if liquidation else "0",
        isolated_margin="0",
        notional=money(part.notional if part else ZERO),
        margin_asset="USDT",
        isolated_wallet="0",
        initial_margin=money(position_initial + order_initial),
        maint_margin=money(part.maintenance if part else ZERO),
        position_initial_margin=money(position_initial),
        open_order_initial_margin=money(order_initial),
        adl=0,
        bid_notional=money(part.bid_notional if part else ZERO),
        ask_notional=money(part.ask_notional if part else ZERO),
        update_time=position.updated_ms,
        leverage=str(leverage) if v2 else None,
        margin_type="cross" if v2 else None,
        is_auto_add_margin="false" if v2 else None,
        max_notional_value=text(rules.max_notional(leverage)) if v2 else None,
    )


def user_trades(venue: Venue, call: Call) -> Answer:
    """GET userTrades of a symbol: by order, from an id upwards, or by time (seven days at most)."""
    symbol = call.params.get("symbol")
    if not symbol:
        return mandatory("symbol")
    if symbol not in venue.engine.rules:
        return INVALID_SYMBOL
    order_id, first = call.integer("orderId"), call.integer("fromId")
    start, end = call.integer("startTime"), call.integer("endTime")
    if first is not None and (start is not None or end is not None):
        return Reject(-1128, "Combination of optional parameters invalid.")
    rows = [
        t
        for t in venue.engine.trades_of(call.account, symbol, first or 0)
        if order_id in (None, t.order_id) and (start or 0) <= t.time_ms <= (end or call.now_ms)
    ]
    limit = call.limit(500, 1000)
    from_the_start = first is not None or start is not None
    chosen = rows[:limit] if from_the_start else rows[-limit:]
    return [
        wire.UserTrade(
            symbol=t.symbol,
            pair=t.symbol,
            id=t.trade_id,
            order_id=t.order_id,
            side=t.side,
            price=text(t.price),
            qty=text(t.quantity),
            quote_qty=text(t.price * t.quantity),
            base_qty=text(t.quantity),
            realized_pnl=money(t.realized),
            margin_asset="USDT",
            commission=money(t.commission),
            time=t.time_ms,
            buyer=t.side == "BUY",
            maker=t.maker,
        )
        for t in chosen
    ]


def income(venue: Venue, call: Call) -> Answer:
    """GET income: realized profit, commission and transfers of the last seven days."""
    symbol, kind = call.params.get("symbol"), call.params.get("incomeType")
    start = call.integer("startTime") or call.now_ms - WEEK_MS
    end = call.integer("endTime") or call.now_ms
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
            asset="USDT",
            info=i.info,
            time=i.time_ms,
            tran_id=i.income_id,
            trade_id=i.trade_id,
        )
        for i in chosen
    ]


def _symbol(venue: Venue, call: Call) -> str | Reject:
    symbol = call.params.get("symbol")
    if not symbol:
        return mandatory("symbol")
    return symbol if symbol in venue.engine.rules else INVALID_SYMBOL


def commission_rate(venue: Venue, call: Call) -> Answer:
    """GET commissionRate."""
    symbol = _symbol(venue, call)
    fees = venue.config.fees
    if isinstance(symbol, Reject):
        return symbol
    return wire.CommissionRate(symbol, text(fees.maker), text(fees.taker), "0")


def leverage_bracket(venue: Venue, call: Call) -> Answer:
    """GET leverageBracket: an array, of one element when a symbol is named."""
    wanted = call.params.get("symbol")
    if wanted is not None and wanted not in venue.engine.rules:
        return INVALID_SYMBOL
    return [
        wire.SymbolBrackets(symbol=r.symbol, brackets=list(r.brackets))
        for r in venue.engine.rules.values()
        if wanted in (None, r.symbol)
    ]


def account_config(venue: Venue, call: Call) -> Answer:
    """GET accountConfig."""
    return wire.AccountConfig()


def symbol_config(venue: Venue, call: Call) -> Answer:
    """GET symbolConfig."""
    wanted = call.params.get("symbol")
    if wanted is not None and wanted not in venue.engine.rules:
        return INVALID_SYMBOL
    rows = []
    for symbol, rules in venue.engine.rules.items():
        if wanted in (None, symbol):
            leverage = venue.engine.leverage_of(call.account, symbol)
            rows.append(
                wire.SymbolConfig(
                    symbol=symbol,
                    margin_type="CROSSED",
                    leverage=leverage,
                    max_notional_value=text(rules.max_notional(leverage)),
                )
            )
    return rows


def position_mode(venue: Venue, call: Call) -> Answer:
    """GET positionSide/dual: always one-way."""
    return wire.PositionMode(dual_side_position=False)


def set_position_mode(venue: Venue, call: Call) -> Answer:
    """POST positionSide/dual: one-way is in force; hedge mode belongs to a later version."""
    wanted = call.params.get("dualSidePosition", "").lower()
    if wanted not in ("true", "false"):
        return mandatory("dualSidePosition")
    if wanted == "false":
        return Reject(-4059, "No need to change position side.")
    return Reject(-4067, "Position side cannot be changed if there exists open orders.")


def multi_assets(venue: Venue, call: Call) -> Answer:
    """GET multiAssetsMargin: always single-asset."""
    return wire.MultiAssetsMode(multi_assets_margin=False)


def set_multi_assets(venue: Venue, call: Call) -> Answer:
    """POST multiAssetsMargin: single-asset mode is in force."""
    return Reject(-4171, "No need to change multi-assets mode.")


def set_leverage(venue: Venue, call: Call) -> Answer:
    """POST leverage."""
    symbol = _symbol(venue, call)
    leverage = call.integer("leverage")
    if isinstance(symbol, Reject):
        return symbol
    if leverage is None:
        return mandatory("leverage")
    refused = venue.engine.set_leverage(call.account, symbol, leverage, call.now_ms)
    if refused:
        return refused
    most = venue.engine.rules[symbol].max_notional(leverage)
    return wire.LeverageAnswer(leverage, text(most), symbol)


def set_margin_type(venue: Venue, call: Call) -> Answer:
    """POST marginType: cross margin is in force everywhere."""
    symbol = _symbol(venue, call)
    if isinstance(symbol, Reject):
        return symbol
    if call.params.get("marginType") == "CROSSED":
        return Reject(-4046, "No need to change margin type.")
    if call.params.get("marginType") != "ISOLATED":
        return Reject(-4045, "Invalid marginType.")
    if venue.engine.position_of(call.account, symbol).quantity:
        return Reject(-4048, "Margin type cannot be changed if there exists position.")
    return Reject(-4047, "Margin type cannot be changed if there exists open orders.")


def start_listen_key(venue: Venue, call: Call) -> Answer:
    """POST listenKey: the account's key, drawn when there is none, extended by its full life."""
    key = call.account.listen_key or venue.draw_listen_key()
    venue.engine.set_listen_key(call.account, key, call.now_ms + venue.config.listen_key_ms)
    return wire.ListenKey(key)


def keep_listen_key(venue: Venue, call: Call) -> Answer:
    """PUT listenKey: extend it; -1125 when there is none."""
    return start_listen_key(venue, call) if call.account.listen_key else errors.NO_LISTEN_KEY


def close_listen_key(venue: Venue, call: Call) -> Answer:
    """DELETE listenKey."""
    if not call.account.listen_key:
        return errors.NO_LISTEN_KEY
    venue.hub.end_key(call.account.listen_key)
    venue.engine.set_listen_key(call.account, "", 0)
    return {}


def order_limits(venue: Venue, call: Call) -> Answer:
    """GET rateLimit/order."""
    limits = venue.config.limits
    return [
        wire.RateLimit("ORDERS", "SECOND", 10, limits.orders_10s),
        wire.RateLimit("ORDERS", "MINUTE", 1, limits.orders_1m),
    ]


def trading_status(venue: Venue, call: Call) -> Answer:
    """GET apiTradingStatus: no indicator is ever raised here."""
    return {"indicators": {}, "updateTime": call.now_ms}


ENDPOINTS: dict[tuple[str, str], Endpoint] = {
    ("GET", "/fapi/v3/balance"): Endpoint(balance, weight=5),
    ("GET", "/fapi/v2/balance"): Endpoint(balance, weight=5),
    ("GET", "/fapi/v3/account"): Endpoint(account_v3, weight=5),
    ("GET", "/fapi/v2/account"): Endpoint(account_v2, weight=5),
    ("GET", "/fapi/v3/positionRisk"): Endpoint(position_risk_v3, weight=5),
    ("GET", "/fapi/v2/positionRisk"): Endpoint(position_risk_v2, weight=5),
    ("GET", "/fapi/v1/userTrades"): Endpoint(user_trades, weight=5),
    ("GET", "/fapi/v1/income"): Endpoint(income, weight=30),
    ("GET", "/fapi/v1/commissionRate"): Endpoint(commission_rate, weight=20),
    ("GET", "/fapi/v1/leverageBracket"): Endpoint(leverage_bracket),
    ("GET", "/fapi/v1/accountConfig"): Endpoint(account_config, weight=5),
    ("GET", "/fapi/v1/symbolConfig"): Endpoint(symbol_config, weight=5),
    ("GET", "/fapi/v1/positionSide/dual"): Endpoint(position_mode, weight=30),
    ("POST", "/fapi/v1/positionSide/dual"): Endpoint(set_position_mode),
    ("GET", "/fapi/v1/multiAssetsMargin"): Endpoint(multi_assets, weight=30),
    ("POST", "/fapi/v1/multiAssetsMargin"): Endpoint(set_multi_assets),
    ("POST", "/fapi/v1/leverage"): Endpoint(set_leverage),
    ("POST", "/fapi/v1/marginType"): Endpoint(set_margin_type),
    ("POST", "/fapi/v1/listenKey"): Endpoint(start_listen_key, "KEY"),
    ("PUT", "/fapi/v1/listenKey"): Endpoint(keep_listen_key, "KEY"),
    ("DELETE", "/fapi/v1/listenKey"): Endpoint(close_listen_key, "KEY"),
    ("GET", "/fapi/v1/rateLimit/order"): Endpoint(order_limits),
    ("GET", "/fapi/v1/apiTradingStatus"): Endpoint(trading_status),
}
