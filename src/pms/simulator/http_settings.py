"""REST endpoints that change the account's settings and its listen key (Binance spec 2.5 and 2.6)."""

from __future__ import annotations

from pms.exchange import messages as wire
from pms.simulator import errors
from pms.simulator.errors import INVALID_SYMBOL, Reject, mandatory
from pms.simulator.rules import number
from pms.simulator.state import BOTH, CROSSED, ISOLATED, LONG, SHORT, round_money, text
from pms.simulator.venue import Answer, Call, Endpoint, Venue

DONE = {"code": 200, "msg": "success"}


def wanted_symbol(venue: Venue, call: Call) -> str | Reject:
    """Return the mandatory symbol, or the refusal of a missing or unknown one."""
    symbol = call.params.get("symbol")
    if not symbol:
        return mandatory("symbol")
    return symbol if symbol in venue.engine.rules else INVALID_SYMBOL


def _flag(call: Call, name: str) -> bool | Reject:
    raw = call.params.get(name, "").lower()
    return raw == "true" if raw in ("true", "false") else mandatory(name)


def position_mode(venue: Venue, call: Call) -> Answer:
    """GET positionSide/dual."""
    return wire.PositionMode(dual_side_position=call.account.hedge_mode)


def set_position_mode(venue: Venue, call: Call) -> Answer:
    """POST positionSide/dual."""
    hedge = _flag(call, "dualSidePosition")
    if isinstance(hedge, Reject):
        return hedge
    return venue.engine.settings.set_position_mode(call.account, hedge) or DONE


def multi_assets(venue: Venue, call: Call) -> Answer:
    """GET multiAssetsMargin: always single-asset."""
    return wire.MultiAssetsMode(multi_assets_margin=False)


def set_multi_assets(venue: Venue, call: Call) -> Answer:
    """POST multiAssetsMargin: single-asset mode is in force."""
    joint = _flag(call, "multiAssetsMargin")
    if isinstance(joint, Reject):
        return joint
    return venue.engine.settings.set_multi_assets(call.account, joint) or DONE


def fee_burn(venue: Venue, call: Call) -> Answer:
    """GET feeBurn."""
    return {"feeBurn": call.account.fee_burn}


def set_fee_burn(venue: Venue, call: Call) -> Answer:
    """POST feeBurn."""
    burn = _flag(call, "feeBurn")
    if isinstance(burn, Reject):
        return burn
    venue.engine.settings.set_fee_burn(call.account, burn)
    return DONE


def set_leverage(venue: Venue, call: Call) -> Answer:
    """POST leverage."""
    symbol = wanted_symbol(venue, call)
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
    """POST marginType of a symbol."""
    symbol = wanted_symbol(venue, call)
    if isinstance(symbol, Reject):
        return symbol
    kind = call.params.get("marginType", "")
    if kind not in (CROSSED, ISOLATED):
        return mandatory("marginType")
    return venue.engine.settings.set_margin_type(call.account, symbol, kind, call.now_ms) or DONE


def change_position_margin(venue: Venue, call: Call) -> Answer:
    """POST positionMargin: move margin into (type 1) or out of (type 2) an isolated position."""
    symbol = wanted_symbol(venue, call)
    if isinstance(symbol, Reject):
        return symbol
    amount = number(call.params.get("amount"))
    if amount is None:
        return mandatory("amount")
    direction = call.integer("type")
    if direction not in (1, 2):
        return mandatory("type")
    if amount <= 0:
        return Reject(-4055, "Amount must be positive.")
    if amount != round_money(amount):
        return errors.PRECISION
    side = call.params.get("positionSide", BOTH)
    if side not in ((LONG, SHORT) if call.account.hedge_mode else (BOTH,)):
        return errors.POSITION_SIDE
    position = venue.engine.position_of(call.account, symbol, side)
    signed = amount if direction == 1 else -amount
    refused = venue.engine.settings.change_position_margin(call.account, position, signed, call.now_ms)
    return refused or wire.PositionMarginAnswer(
        amount=amount, code=200, msg="Successfully modify position margin.", type=direction
    )


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


ENDPOINTS: dict[tuple[str, str], Endpoint] = {
    ("GET", "/fapi/v1/positionSide/dual"): Endpoint(position_mode, weight=30),
    ("POST", "/fapi/v1/positionSide/dual"): Endpoint(set_position_mode),
    ("GET", "/fapi/v1/multiAssetsMargin"): Endpoint(multi_assets, weight=30),
    ("POST", "/fapi/v1/multiAssetsMargin"): Endpoint(set_multi_assets),
    ("GET", "/fapi/v1/feeBurn"): Endpoint(fee_burn, weight=30),
    ("POST", "/fapi/v1/feeBurn"): Endpoint(set_fee_burn),
    ("POST", "/fapi/v1/leverage"): Endpoint(set_leverage),
    ("POST", "/fapi/v1/marginType"): Endpoint(set_margin_type),
    ("POST", "/fapi/v1/positionMargin"): Endpoint(change_position_margin),
    ("POST", "/fapi/v1/listenKey"): Endpoint(start_listen_key, "KEY"),
    ("PUT", "/fapi/v1/listenKey"): Endpoint(keep_listen_key, "KEY"),
    ("DELETE", "/fapi/v1/listenKey"): Endpoint(close_listen_key, "KEY"),
}
