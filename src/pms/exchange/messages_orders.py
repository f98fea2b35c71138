"""Orders by request (Binance spec 2.2 and 2.3): answers, batches, amendments, conditional orders."""

from __future__ import annotations

from msgspec import UNSET, UnsetType

from pms.exchange.messages_base import Wire, kept


class OrderAnswer(Wire, frozen=True, omit_defaults=True):
    """An order, as placing, amending, cancelling and querying answer it.

    Since 2026-06-30 placing, amending and cancelling answer without `avgPrice`, `cumQuote` and `cumBase`
    (None then); queries have them, and `time`, but no `cumQty`. `pair` came with amending and, in 2026-08,
    with lists.
    """

    order_id: int
    symbol: str
    status: str
    client_order_id: str = kept("")
    price: str = kept("")
    avg_price: str | None = None
    orig_qty: str = kept("")
    executed_qty: str = kept("")
    cum_qty: str | None = None
    cum_quote: str | None = None
    time_in_force: str = kept("")
    type: str = kept("")
    reduce_only: bool | None = None
    close_position: bool | None = None
    side: str = kept("")
    position_side: str = kept("")
    stop_price: str = kept("")
    working_type: str = kept("")
    price_protect: bool | None = None
    orig_type: str = kept("")
    price_match: str | None = None
    self_trade_prevention_mode: str | None = None
    good_till_date: int | None = None
    time: int | None = None
    update_time: int | None = None
    pair: str | None = None
    modify_id: int | None = None
    cum_base: str | None = None
    activate_price: str | None = None
    price_rate: str | None = None


class CountdownAnswer(Wire, frozen=True):
    """POST /fapi/v1/countdownCancelAll; `countdown_time` in ms, as text."""

    symbol: str
    countdown_time: str


# --- amendments


class AmendedValue(Wire, frozen=True):
    """A value before and after an amendment."""

    before: str
    after: str


class Amendment(Wire, frozen=True, omit_defaults=True):
    """What one amendment changed; `count` is how many the order has had."""

    price: AmendedValue
    orig_qty: AmendedValue
    count: int
    modify_id: int | None = None


class OrderAmendment(Wire, frozen=True, omit_defaults=True):
    """One row of GET /fapi/v1/orderAmendment. `time` in Unix ms."""

    amendment_id: int
    symbol: str
    order_id: int
    client_order_id: str
    time: int
    amendment: Amendment
    pair: str | None = None
    price_match: str | None = None


# --- conditional (algo) orders


class AlgoOrder(Wire, frozen=True, omit_defaults=True):
    """A conditional order, as placing and querying answer it.

    `actual_order_id` is the order that it became, empty before its trigger. `iceberg_quantity` is null on the
    wire. Lists of older answers call the kind `type` instead of `orderType`.
    """

    algo_id: int
    client_algo_id: str
    algo_type: str
    symbol: str
    side: str
    algo_status: str
    order_type: str | None = None
    type: str | None = None
    position_side: str = kept("BOTH")
    time_in_force: str = kept("GTC")
    quantity: str = kept("")
    trigger_price: str = kept("")
    price: str | None = None
    actual_order_id: str | None = None
    actual_price: str | None = None
    actual_qty: str | None = None
    actual_type: str | None = None
    iceberg_quantity: str | UnsetType | None = UNSET
    tp_trigger_price: str | None = None
    tp_price: str | None = None
    sl_trigger_price: str | None = None
    sl_price: str | None = None
    tp_order_type: str | None = None
    self_trade_prevention_mode: str | None = None
    working_type: str | None = None
    price_match: str | None = None
    close_position: bool | None = None
    price_protect: bool | None = None
    reduce_only: bool | None = None
    activate_price: str | None = None
    callback_rate: str | None = None
    create_time: int | None = None
    update_time: int | None = None
    trigger_time: int | None = None
    good_till_date: int | None = None


class AlgoCancel(Wire, frozen=True):
    """DELETE /fapi/v1/algoOrder; `code` is text here ("200")."""

    algo_id: int
    client_algo_id: str
    code: str
    msg: str


class ServerAlgoOrder(Wire, frozen=True):
    """One order of the venue's own execution algos (VP, TWAP) under /sapi/v1/algo/futures."""

    algo_id: int
    symbol: str
    side: str
    position_side: str
    total_qty: str
    executed_qty: str
    executed_amt: str
    avg_price: str
    client_algo_id: str
    book_time: int
    end_time: int
    algo_status: str
    algo_type: str
    urgency: str


class ServerAlgoOrders(Wire, frozen=True):
    """GET /sapi/v1/algo/futures/openOrders."""

    total: int
    orders: list[ServerAlgoOrder]


class ServerAlgoCancel(Wire, frozen=True):
    """DELETE /sapi/v1/algo/futures/order."""

    algo_id: int
    success: bool
    code: int
    msg: str
