"""REST endpoints that show the account: balances, margin, positions, limits and configuration (spec 2.4)."""

from __future__ import annotations

from pms.exchange import messages as wire
from pms.simulator import http_history, http_settings, margin
from pms.simulator.commission import tier_of
from pms.simulator.errors import INVALID_SYMBOL, Reject
from pms.simulator.http_settings import wanted_symbol
from pms.simulator.scale import scale_of
from pms.simulator.state import BNB, BOTH, CROSSED, LONG, SHORT, USDT, ZERO, Account, margin_text, money, text
from pms.simulator.venue import Answer, Call, Endpoint, Venue
from pms.simulator.wire_events import entry_text, isolated_text

ALWAYS_SHOWN = (USDT, BNB, "USDC")
"""Assets with a row in every answer, whatever their balance."""
Side = tuple[str, str]


def _assets(account: Account) -> list[str]:
    held = sorted(asset for asset, amount in account.wallets.items() if amount)
    return [*ALWAYS_SHOWN, *(asset for asset in held if asset not in ALWAYS_SHOWN)]


def _sides_in_use(venue: Venue, account: Account) -> list[Side]:
    return sorted(venue.engine.margin_desk.used(account))


def _all_sides(venue: Venue, account: Account) -> list[Side]:
    sides = (BOTH, LONG, SHORT) if account.hedge_mode else (BOTH,)
    return [(symbol, side) for symbol in sorted(venue.engine.rules) for side in sides]


def balance(venue: Venue, call: Call) -> Answer:
    """GET balance, v2 and v3."""
    rows = []
    for asset in _assets(call.account):
        totals = venue.engine.margin_of(call.account, asset)
        rows.append(
            wire.Balance(
                account_alias=f"Sim{call.account.account_id}",
                asset=asset,
                balance=money(totals.wallet),
                cross_wallet_balance=money(totals.cross_wallet),
                cross_un_pnl=money(totals.cross_unrealized),
                available_balance=money(totals.available),
                max_withdraw_amount=money(totals.withdrawable),
                update_time=call.account.updated_ms,
            )
        )
    return rows


def account_v3(venue: Venue, call: Call) -> Answer:
    """GET v3/account: only symbols with a position or an open order."""
    return _account(venue, call, _sides_in_use(venue, call.account), v2=False)


def account_v2(venue: Venue, call: Call) -> Answer:
    """GET v2/account: all symbols."""
    return _account(venue, call, _all_sides(venue, call.account), v2=True)


def _account(venue: Venue, call: Call, sides: list[Side], v2: bool) -> wire.AccountInfo:
    account = call.account
    totals = {asset: venue.engine.margin_of(account, asset) for asset in _assets(account)}
    assets = [_asset_row(account, one, v2) for one in totals.values()]
    usdt = assets[0]
    return wire.AccountInfo(
        total_initial_margin=usdt.initial_margin,
        total_maint_margin=usdt.maint_margin,
        total_wallet_balance=usdt.wallet_balance,
        total_unrealized_profit=usdt.unrealized_profit,
        total_margin_balance=usdt.margin_balance,
        total_position_initial_margin=usdt.position_initial_margin,
        total_open_order_initial_margin=usdt.open_order_initial_margin,
        total_cross_wallet_balance=usdt.cross_wallet_balance,
        total_cross_un_pnl=usdt.cross_un_pnl,
        available_balance=usdt.available_balance,
        max_withdraw_amount=usdt.max_withdraw_amount,
        assets=assets,
        positions=[_account_position(venue, call, symbol, side, v2) for symbol, side in sides],
        fee_tier=account.fee_tier if v2 else None,
        fee_burn=account.fee_burn if v2 else None,
        can_trade=True if v2 else None,
        can_deposit=True if v2 else None,
        can_withdraw=True if v2 else None,
        multi_assets_margin=False if v2 else None,
        trade_group_id=-1 if v2 else None,
        update_time=0 if v2 else None,
    )


def _asset_row(account: Account, totals: margin.AccountMargin, v2: bool) -> wire.AccountAsset:
    return wire.AccountAsset(
        asset=totals.asset,
        wallet_balance=money(totals.wallet),
        unrealized_profit=money(totals.unrealized),
        margin_balance=money(totals.equity),
        maint_margin=money(totals.maintenance),
        initial_margin=money(totals.initial),
        position_initial_margin=money(totals.position_initial),
        open_order_initial_margin=money(totals.order_initial),
        cross_wallet_balance=money(totals.cross_wallet),
        cross_un_pnl=money(totals.cross_unrealized),
        available_balance=money(totals.available),
        max_withdraw_amount=money(totals.withdrawable),
        margin_available=True if v2 else None,
        update_time=account.updated_ms,
    )


def _account_position(venue: Venue, call: Call, symbol: str, side: str, v2: bool) -> wire.AccountPosition:
    engine = venue.engine
    position, leg = engine.position_of(call.account, symbol, side), engine.leg_of(call.account, symbol, side)
    leverage = engine.leverage_of(call.account, symbol)
    return wire.AccountPosition(
        symbol=symbol,
        position_side=side,
        position_amt=scale_of(engine.rules, symbol).quantity(position.quantity),
        unrealized_profit=money(leg.unrealized),
        isolated_margin=money(leg.isolated_margin),
        notional=margin_text(leg.notional),
        isolated_wallet=isolated_text(leg.isolated_wallet),
        initial_margin=margin_text(leg.initial),
        maint_margin=margin_text(leg.maintenance),
        update_time=position.updated_ms,
        leverage=str(leverage) if v2 else None,
        isolated=leg.isolated if v2 else None,
        entry_price=entry_text(position.entry) if v2 else None,
        break_even_price=entry_text(position.break_even) if v2 else None,
        max_notional=text(engine.rules[symbol].max_notional(leverage)) if v2 else None,
        bid_notional=margin_text(leg.bid_notional) if v2 else None,
        ask_notional=margin_text(leg.ask_notional) if v2 else None,
        position_initial_margin=margin_text(leg.position_initial) if v2 else None,
        open_order_initial_margin=margin_text(leg.order_initial) if v2 else None,
    )


def position_risk_v3(venue: Venue, call: Call) -> Answer:
    """GET v3/positionRisk: only symbols with a position or an open order."""
    return _position_risk(venue, call, _sides_in_use(venue, call.account), v2=False)


def position_risk_v2(venue: Venue, call: Call) -> Answer:
    """GET v2/positionRisk: all symbols, with leverage and margin type."""
    return _position_risk(venue, call, _all_sides(venue, call.account), v2=True)


def _position_risk(venue: Venue, call: Call, sides: list[Side], v2: bool) -> Answer:
    wanted = call.params.get("symbol")
    if wanted is not None and wanted not in venue.engine.rules:
        return INVALID_SYMBOL
    totals: dict[str, margin.AccountMargin] = {}
    rows = [one for one in sides if wanted in (None, one[0])]
    return [_risk_row(venue, call.account, totals, symbol, side, v2) for symbol, side in rows]


def _risk_row(
    venue: Venue, account: Account, known: dict[str, margin.AccountMargin], symbol: str, side: str, v2: bool
) -> wire.PositionRisk:
    engine, asset = venue.engine, venue.engine.margin_desk.asset_of(symbol)
    position, leg = engine.position_of(account, symbol, side), engine.leg_of(account, symbol, side)
    leverage, liquidation = engine.leverage_of(account, symbol), ZERO
    if position.quantity:
        if asset not in known:
            known[asset] = engine.margin_of(account, asset)
        liquidation = engine.margin_desk.liquidation_price(account, symbol, known[asset], side)
    return wire.PositionRisk(
        symbol=symbol,
        position_side=side,
        position_amt=scale_of(engine.rules, symbol).quantity(position.quantity),
        entry_price=entry_text(position.entry) if position.quantity else "0.0",
        break_even_price=entry_text(position.break_even) if position.quantity else "0.0",
        mark_price=money(engine.markets[symbol].mark),
        unrealized_profit=money(leg.unrealized),
        liquidation_price=margin_text(liquidation),
        isolated_margin=isolated_text(leg.isolated_margin),
        notional=margin_text(leg.notional),
        margin_asset=asset,
        isolated_wallet=isolated_text(leg.isolated_wallet),
        initial_margin=margin_text(leg.initial),
        maint_margin=margin_text(leg.maintenance),
        position_initial_margin=margin_text(leg.position_initial),
        open_order_initial_margin=margin_text(leg.order_initial),
        adl=engine.adl_quantile(account, symbol, side),
        bid_notional=margin_text(leg.bid_notional),
        ask_notional=margin_text(leg.ask_notional),
        update_time=position.updated_ms,
        leverage=str(leverage) if v2 else None,
        margin_type=("isolated" if leg.isolated else "cross") if v2 else None,
        is_auto_add_margin="false" if v2 else None,
        max_notional_value=text(engine.rules[symbol].max_notional(leverage)) if v2 else None,
    )


def adl_quantile(venue: Venue, call: Call) -> Answer:
    """GET adlQuantile of the symbols with a position: 4 is closed first; HEDGE is only a sign, always 0."""
    wanted, engine, account = call.params.get("symbol"), venue.engine, call.account
    if wanted is not None and wanted not in engine.rules:
        return INVALID_SYMBOL
    held = sorted({p.symbol for p in engine.clearing.held_by(account)})
    rows = []
    for symbol in held if wanted is None else [wanted]:
        sides = (LONG, SHORT) if account.hedge_mode else (LONG, SHORT, BOTH)
        quantiles = {side: engine.adl_quantile(account, symbol, side) for side in sides}
        rows.append(
            {"symbol": symbol, "adlQuantile": quantiles | ({"HEDGE": 0} if account.hedge_mode else {})}
        )
    return rows


def commission_rate(venue: Venue, call: Call) -> Answer:
    """GET commissionRate."""
    symbol = wanted_symbol(venue, call)
    if isinstance(symbol, Reject):
        return symbol
    asset = venue.engine.margin_desk.asset_of(symbol)
    rates = tier_of(venue.engine.clearing.fees, call.account.fee_tier, asset)
    return wire.CommissionRate(symbol, text(rates.maker), text(rates.taker), text(rates.maker))


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
    account = call.account
    return wire.AccountConfig(fee_tier=account.fee_tier, dual_side_position=account.hedge_mode)


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
                    margin_type=call.account.margin_type.get(symbol, CROSSED),
                    leverage=leverage,
                    max_notional_value=text(rules.max_notional(leverage)),
                )
            )
    return rows


def order_limits(venue: Venue, call: Call) -> Answer:
    """GET rateLimit/order."""
    limits = venue.config.limits
    return [
        wire.RateLimit("ORDERS", "SECOND", 10, limits.orders_10s),
        wire.RateLimit("ORDERS", "MINUTE", 1, limits.orders_1m),
    ]


def trading_status(venue: Venue, call: Call) -> Answer:
    """GET apiTradingStatus: the ratios of the account's own orders in the current ten minutes."""
    rules = venue.engine.trading_rules
    indicators = rules.indicators(call.account, call.params.get("symbol"), call.now_ms)
    return {"indicators": indicators, "updateTime": call.now_ms}


ENDPOINTS: dict[tuple[str, str], Endpoint] = {
    ("GET", "/fapi/v3/balance"): Endpoint(balance, weight=5),
    ("GET", "/fapi/v2/balance"): Endpoint(balance, weight=5),
    ("GET", "/fapi/v3/account"): Endpoint(account_v3, weight=5),
    ("GET", "/fapi/v2/account"): Endpoint(account_v2, weight=5),
    ("GET", "/fapi/v3/positionRisk"): Endpoint(position_risk_v3, weight=5),
    ("GET", "/fapi/v2/positionRisk"): Endpoint(position_risk_v2, weight=5),
    ("GET", "/fapi/v1/commissionRate"): Endpoint(commission_rate, weight=20),
    ("GET", "/fapi/v1/leverageBracket"): Endpoint(leverage_bracket),
    ("GET", "/fapi/v1/accountConfig"): Endpoint(account_config, weight=5),
    ("GET", "/fapi/v1/symbolConfig"): Endpoint(symbol_config, weight=5),
    ("GET", "/fapi/v1/rateLimit/order"): Endpoint(order_limits),
    ("GET", "/fapi/v1/apiTradingStatus"): Endpoint(trading_status),
    ("GET", "/fapi/v1/adlQuantile"): Endpoint(adl_quantile, weight=5),
    **http_settings.ENDPOINTS,
    **http_history.ENDPOINTS,
}
