"""Private stream events, tagged by `e` (Binance spec 5), and how one is decoded.

They are decoded through their `e` first, because the exchange adds event types and an unknown one must be
tolerated, never fatal.
"""

from __future__ import annotations

import msgspec
from msgspec import UNSET, Raw, Struct, UnsetType, field

from pms.exchange.messages_base import decode_message, kept


class OrderUpdate(Struct, frozen=True, gc=False, omit_defaults=True):
    """The order inside ORDER_TRADE_UPDATE (spec 5.3). Only rows with `trade_id` > 0 are fills.

    Commission and trailing fields may be null as well as absent. `modify_id` comes with an AMENDMENT.
    """

    symbol: str = field(name="s")
    client_order_id: str = field(name="c")
    side: str = field(name="S")
    order_type: str = field(name="o")
    time_in_force: str = field(name="f")
    original_quantity: str = field(name="q")
    price: str = field(name="p")
    average_price: str = field(name="ap")
    execution_type: str = field(name="x")
    status: str = field(name="X")
    order_id: int = field(name="i")
    last_quantity: str = field(name="l")
    cumulative_quantity: str = field(name="z")
    last_price: str = field(name="L")
    trade_time: int = field(name="T")
    trade_id: int = field(name="t")
    stop_price: str | None = kept("0", "sp")
    commission_asset: str | UnsetType | None = field(name="N", default=UNSET)
    commission: str | UnsetType | None = field(name="n", default=UNSET)
    bid_notional: str = kept("0", "b")
    ask_notional: str = kept("0", "a")
    is_maker: bool = kept(False, "m")
    reduce_only: bool = kept(False, "R")
    working_type: str = kept("CONTRACT_PRICE", "wt")
    original_type: str = kept("", "ot")
    position_side: str = kept("BOTH", "ps")
    close_all: bool = kept(False, "cp")
    activation_price: str | UnsetType | None = field(name="AP", default=UNSET)
    callback_rate: str | UnsetType | None = field(name="cr", default=UNSET)
    price_protect: bool = kept(False, "pP")
    ignored_si: int = kept(0, "si")
    ignored_ss: int = kept(0, "ss")
    realized_profit: str = kept("0", "rp")
    self_trade_prevention_mode: str | UnsetType | None = field(name="V", default=UNSET)
    price_match: str | None = field(name="pm", default=None)
    good_till_date: int | None = field(name="gtd", default=None)
    expiry_reason: str | None = field(name="er", default=None)
    working_time: int | UnsetType | None = field(name="W", default=UNSET)
    modify_id: int | str | None = field(name="M", default=None)


class OrderTradeUpdate(
    Struct, frozen=True, gc=False, omit_defaults=True, tag_field="e", tag="ORDER_TRADE_UPDATE"
):
    """An order changed or filled; portfolio margin accounts add the business `fs`."""

    event_time: int = field(name="E")
    transaction_time: int = field(name="T")
    order: OrderUpdate = field(name="o")
    business: str | None = field(name="fs", default=None)


class BalanceChange(Struct, frozen=True, gc=False):
    """One asset of ACCOUNT_UPDATE; `change` excludes PnL and commission."""

    asset: str = field(name="a")
    wallet_balance: str = field(name="wb")
    cross_wallet_balance: str = field(name="cw")
    change: str = field(name="bc", default="0")


class PositionChange(Struct, frozen=True, gc=False, omit_defaults=True):
    """One position of ACCOUNT_UPDATE; `amount` is signed in one-way mode (side BOTH)."""

    symbol: str = field(name="s")
    amount: str = field(name="pa")
    entry_price: str = field(name="ep")
    accumulated_realized: str = kept("0", "cr")
    unrealized_profit: str = kept("0", "up")
    margin_type: str = kept("cross", "mt")
    isolated_wallet: str = kept("0", "iw")
    position_side: str = kept("BOTH", "ps")
    margin_asset: str | None = field(name="ma", default=None)
    break_even_price: str | None = field(name="bep", default=None)


def _no_balances() -> list[BalanceChange]:
    return []


def _no_positions() -> list[PositionChange]:
    return []


class AccountChange(Struct, frozen=True, gc=False, omit_defaults=True):
    """Body of ACCOUNT_UPDATE: only what changed, and why (`reason`: ORDER, FUNDING_FEE, DEPOSIT, …)."""

    reason: str = field(name="m")
    balances: list[BalanceChange] = field(name="B", default_factory=_no_balances)
    positions: list[PositionChange] = field(name="P", default_factory=_no_positions)
    funding_symbol: str | None = field(name="S", default=None)


class AccountUpdate(Struct, frozen=True, gc=False, omit_defaults=True, tag_field="e", tag="ACCOUNT_UPDATE"):
    """Balances or positions changed."""

    event_time: int = field(name="E")
    transaction_time: int = field(name="T")
    account: AccountChange = field(name="a")
    business: str | None = field(name="fs", default=None)


class TradeLite(Struct, frozen=True, gc=False, tag_field="e", tag="TRADE_LITE"):
    """Early notice of a fill: no fee, no status. A hint only (decision 3)."""

    event_time: int = field(name="E")
    transaction_time: int = field(name="T")
    symbol: str = field(name="s")
    original_quantity: str = field(name="q")
    price: str = field(name="p")
    is_maker: bool = field(name="m")
    client_order_id: str = field(name="c")
    side: str = field(name="S")
    last_price: str = field(name="L")
    last_quantity: str = field(name="l")
    trade_id: int = field(name="t")
    order_id: int = field(name="i")


class ListenKeyExpired(Struct, frozen=True, gc=False, tag_field="e", tag="listenKeyExpired"):
    """The listen key ended: no more events come although the socket stays open."""

    event_time: int = field(name="E")
    listen_key: str = field(name="listenKey", default="")


class MarginCallPosition(Struct, frozen=True, gc=False):
    """One position of MARGIN_CALL."""

    symbol: str = field(name="s")
    position_side: str = field(name="ps")
    amount: str = field(name="pa")
    margin_type: str = field(name="mt", default="")
    isolated_wallet: str = field(name="iw", default="0")
    mark_price: str = field(name="mp", default="0")
    unrealized_profit: str = field(name="up", default="0")
    maintenance_margin: str = field(name="mm", default="0")


def _no_calls() -> list[MarginCallPosition]:
    return []


class MarginCall(Struct, frozen=True, gc=False, omit_defaults=True, tag_field="e", tag="MARGIN_CALL"):
    """Advisory; may come after the liquidation it warns of. The cross wallet is told on cross margin only."""

    event_time: int = field(name="E")
    cross_wallet_balance: str | None = field(name="cw", default=None)
    positions: list[MarginCallPosition] = field(name="p", default_factory=_no_calls)


class LeverageConfig(Struct, frozen=True, gc=False):
    """New leverage of a symbol."""

    symbol: str = field(name="s")
    leverage: int = field(name="l")


class MultiAssetsConfig(Struct, frozen=True, gc=False):
    """New multi-assets mode."""

    multi_assets: bool = field(name="j")


class AccountConfigUpdate(
    Struct, frozen=True, gc=False, omit_defaults=True, tag_field="e", tag="ACCOUNT_CONFIG_UPDATE"
):
    """Leverage or multi-assets mode changed by somebody."""

    event_time: int = field(name="E")
    transaction_time: int = field(name="T")
    leverage: LeverageConfig | None = field(name="ac", default=None)
    multi_assets: MultiAssetsConfig | None = field(name="ai", default=None)


class AlgoUpdate(Struct, frozen=True, gc=False, omit_defaults=True):
    """The conditional order inside ALGO_UPDATE.

    `actual_order_id` is the engine's order, empty before the trigger; price and quantity of it are there only
    afterwards. `reject_reason` says why it did not become an order; `activated` is told of trailing stops.
    """

    client_algo_id: str = field(name="caid")
    algo_id: int = field(name="aid")
    algo_type: str = field(name="at")
    order_type: str = field(name="o")
    symbol: str = field(name="s")
    side: str = field(name="S")
    position_side: str = field(name="ps")
    time_in_force: str = field(name="f")
    quantity: str = field(name="q")
    status: str = field(name="X")
    actual_order_id: str = kept("", "ai")
    actual_price: str | None = field(name="ap", default=None)
    actual_quantity: str | None = field(name="aq", default=None)
    actual_type: str | None = field(name="act", default=None)
    trigger_price: str = kept("", "tp")
    price: str = kept("", "p")
    self_trade_prevention_mode: str | None = field(name="V", default=None)
    working_type: str | None = field(name="wt", default=None)
    price_match: str | None = field(name="pm", default=None)
    close_all: bool | None = field(name="cp", default=None)
    price_protect: bool | None = field(name="pP", default=None)
    reduce_only: bool | None = field(name="R", default=None)
    trigger_time: int | None = field(name="tt", default=None)
    good_till_date: int | None = field(name="gtd", default=None)
    reject_reason: str | None = field(name="rm", default=None)
    activated: bool | None = field(name="ia", default=None)


class AlgoOrderUpdate(Struct, frozen=True, gc=False, tag_field="e", tag="ALGO_UPDATE"):
    """A conditional order changed (spec 5.5); the engine's order that follows has events of its own."""

    event_time: int = field(name="E")
    transaction_time: int = field(name="T")
    order: AlgoUpdate = field(name="o")


class TriggerRejection(Struct, frozen=True, gc=False):
    """Which conditional order was refused when it triggered, and why."""

    symbol: str = field(name="s")
    order_id: int = field(name="i")
    reason: str = field(name="r")


class ConditionalOrderReject(
    Struct, frozen=True, gc=False, tag_field="e", tag="CONDITIONAL_ORDER_TRIGGER_REJECT"
):
    """Retired by the venue on 2025-12-15 in favour of `reject_reason` of ALGO_UPDATE."""

    event_time: int = field(name="E")
    transaction_time: int = field(name="T")
    rejection: TriggerRejection = field(name="or")


class StrategyState(Struct, frozen=True, gc=False):
    """The strategy of STRATEGY_UPDATE; `operation` is a code from 8001 to 8015."""

    strategy_id: int = field(name="si")
    strategy_type: str = field(name="st")
    status: str = field(name="ss")
    symbol: str = field(name="s")
    update_time: int = field(name="ut")
    operation: int = field(name="c")


class StrategyUpdate(Struct, frozen=True, gc=False, tag_field="e", tag="STRATEGY_UPDATE"):
    """A strategy run by the venue itself was made, ended or changed."""

    event_time: int = field(name="E")
    transaction_time: int = field(name="T")
    strategy: StrategyState = field(name="su")


class GridState(Struct, frozen=True, gc=False):
    """The grid of GRID_UPDATE: profits in the margin asset, quantity in base asset."""

    strategy_id: int = field(name="si")
    strategy_type: str = field(name="st")
    status: str = field(name="ss")
    symbol: str = field(name="s")
    realized: str = field(name="r")
    unmatched_average_price: str = field(name="up")
    unmatched_quantity: str = field(name="uq")
    unmatched_fee: str = field(name="uf")
    matched_profit: str = field(name="mp")
    update_time: int = field(name="ut")


class GridUpdate(Struct, frozen=True, gc=False, tag_field="e", tag="GRID_UPDATE"):
    """A grid run by the venue changed (deprecated by it)."""

    event_time: int = field(name="E")
    transaction_time: int = field(name="T")
    grid: GridState = field(name="gu")


class UnknownEvent(Struct, frozen=True, gc=False):
    """A private event of a type this code does not know; counted, otherwise ignored."""

    event_type: str = field(name="e", default="")
    event_time: int = field(name="E", default=0)


UserEvent = (
    OrderTradeUpdate
    | AccountUpdate
    | TradeLite
    | ListenKeyExpired
    | MarginCall
    | AccountConfigUpdate
    | AlgoOrderUpdate
    | ConditionalOrderReject
    | StrategyUpdate
    | GridUpdate
    | UnknownEvent
)


class _RawFrame(Struct, frozen=True, gc=False):
    stream: str | None = None
    data: Raw = Raw()
    event_type: str = field(name="e", default="")


_frame_decoder = msgspec.json.Decoder(_RawFrame)
_head_decoder: msgspec.json.Decoder[UserEvent] = msgspec.json.Decoder(UnknownEvent)
USER_EVENT_TYPES: dict[str, type[UserEvent]] = {
    "ORDER_TRADE_UPDATE": OrderTradeUpdate,
    "ACCOUNT_UPDATE": AccountUpdate,
    "TRADE_LITE": TradeLite,
    "listenKeyExpired": ListenKeyExpired,
    "MARGIN_CALL": MarginCall,
    "ACCOUNT_CONFIG_UPDATE": AccountConfigUpdate,
    "ALGO_UPDATE": AlgoOrderUpdate,
    "CONDITIONAL_ORDER_TRIGGER_REJECT": ConditionalOrderReject,
    "STRATEGY_UPDATE": StrategyUpdate,
    "GRID_UPDATE": GridUpdate,
}
"""The type of each private event, by its `e`."""
ADVISORY_TYPES = frozenset({"CONDITIONAL_ORDER_TRIGGER_REJECT", "STRATEGY_UPDATE", "GRID_UPDATE"})
"""Types which move no money and no order of ours: a strange one is not worth asking for the truth."""
_decoders: dict[str, msgspec.json.Decoder[UserEvent]] = {
    name: msgspec.json.Decoder(kind) for name, kind in USER_EVENT_TYPES.items()
}


def decode_user_event(raw: bytes | str) -> UserEvent:
    """Decode one private event, wrapped in `{"stream","data"}` or not.

    An unknown type gives `UnknownEvent`, and so does a strange one of `ADVISORY_TYPES`. Raises
    `msgspec.DecodeError` when any other known type is malformed: the caller must then resynchronise by
    REST, because no event may be dropped silently (decision 22).
    """
    frame = decode_message(_frame_decoder, raw)
    if bytes(frame.data) and not frame.event_type:
        return decode_user_event(bytes(frame.data))
    try:
        return decode_message(_decoders.get(frame.event_type, _head_decoder), raw)
    except msgspec.ValidationError:
        if frame.event_type not in ADVISORY_TYPES:
            raise
        return UnknownEvent(frame.event_type)
