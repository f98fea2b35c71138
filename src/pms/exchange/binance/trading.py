"""Orders on the venue: placing, cancelling and querying, each ending in a value that says what is certain."""

import msgspec

from pms.exchange.binance.convert import report_of_answer
from pms.exchange.binance.costs import Lane
from pms.exchange.binance.outcome import Effect, Finding, refusal_of
from pms.exchange.binance.rest import Answer, RestClient, Security, Silence
from pms.exchange.binance.symbols import SymbolDirectory
from pms.exchange.errors import ExchangeRefusal, UnreadablePayload
from pms.exchange.messages import OrderAnswer
from pms.exchange.port import (
    Absent,
    CancelOutcome,
    CancelVerdict,
    Confirmed,
    NotSent,
    OrderReport,
    OutcomeUnknown,
    PlaceOutcome,
    RefusedByExchange,
)
from pms.model.ids import ClientOrderId, owner_prefix
from pms.model.money import plain
from pms.model.order import ApprovedOrder, ExchangeOrderStatus, OrderType, TimeInForce
from pms.model.refusal import RefusalCode
from pms.model.symbol import Symbol

ORDER_PATH = "/fapi/v1/order"
NO_SUCH_ORDER = -2013
INVALID_SYMBOL = -1121

_order_decoder = msgspec.json.Decoder(OrderAnswer)


def placement(order: ApprovedOrder, native: str) -> list[tuple[str, str]]:
    """Return the parameters of POST order. MARKET has no time in force, `reduceOnly` goes only when set."""
    final_at_once = order.type is OrderType.MARKET or order.time_in_force in (
        TimeInForce.IOC,
        TimeInForce.FOK,
    )
    parameters = [
        ("symbol", native),
        ("side", order.side.value),
        ("type", order.type.value),
        ("quantity", plain(order.quantity)),
    ]
    if order.type is OrderType.LIMIT:
        if order.price is None:
            raise ValueError(f"the limit order {order.client_order_id} has no price")
        parameters += [("timeInForce", order.time_in_force.value), ("price", plain(order.price))]
    if order.reduce_only_wire:
        parameters.append(("reduceOnly", "true"))
    parameters += [
        ("selfTradePreventionMode", order.self_match.value),
        ("newClientOrderId", order.client_order_id),
        # RESULT answers with the final state of orders that cannot rest (spec 2.2); fills come by the stream.
        ("newOrderRespType", "RESULT" if final_at_once else "ACK"),
    ]
    return parameters


def lane_of(order: ApprovedOrder) -> Lane:
    """Return the lane of a placement: what reduces risk may use the reserve (decision 22)."""
    return Lane.RISK if order.risk_reducing else Lane.ORDINARY


def owner_of(client_order_id: ClientOrderId) -> str:
    """Return the sub-account's prefix of one of our orders (decision 23), "" for others."""
    return owner_prefix(client_order_id) or ""


class BinanceTrading:
    """Implements `Trading`. Concurrent calls are independent; no order of arrival is promised."""

    def __init__(self, rest: RestClient, symbols: SymbolDirectory) -> None:
        self._rest = rest
        self._symbols = symbols

    async def place(self, order: ApprovedOrder) -> PlaceOutcome:
        """Send one order once. Never repeats: repeating is the caller's decision after proof (decision 2)."""
        native = self._symbols.map.native.get(order.symbol)
        if native is None:
            text = f"the exchange does not list {order.symbol}"
            return RefusedByExchange(INVALID_SYMBOL, text, RefusalCode.UNKNOWN_SYMBOL, 0, 0)
        answer = await self._rest.send(
            "POST",
            ORDER_PATH,
            placement(order, native),
            Security.ORDER,
            lane=lane_of(order),
            owner=owner_of(order.client_order_id),
        )
        if isinstance(answer, Silence):
            if answer.written:
                return OutcomeUnknown(answer.reason, answer.timestamp_ms, answer.recv_window_ms)
            return NotSent(answer.reason, answer.retry_after_ms)
        if answer.verdict.resync:
            await self._rest.resync()
        return self._place_outcome(answer)

    def _place_outcome(self, answer: Answer) -> PlaceOutcome:
        stamps = answer.timestamp_ms, answer.recv_window_ms
        reason = answer.reason()
        match answer.verdict.effect:
            case Effect.NONE:
                return NotSent(reason, answer.verdict.retry_after_ms)
            case Effect.UNKNOWN:
                return OutcomeUnknown(reason, *stamps)
            case Effect.REFUSED:
                code = answer.code or 0
                return RefusedByExchange(code, answer.message, refusal_of(code), *stamps)
            case Effect.ACCEPTED:
                report = self._report(answer)
                if report is None:
                    return OutcomeUnknown("the answer cannot be read; the order must be looked up", *stamps)
                return Confirmed(report, *stamps)

    def _report(self, answer: Answer) -> OrderReport | None:
        try:
            return report_of_answer(_order_decoder.decode(answer.body), self._symbols)
        except (msgspec.DecodeError, UnreadablePayload):
            return None

    async def cancel(self, symbol: Symbol, client_order_id: ClientOrderId) -> CancelOutcome:
        """Cancel by our id. NOT_OPEN says nothing about how the order ended: query it and its fills."""
        native = self._symbols.map.native.get(symbol)
        if native is None:
            return CancelOutcome(CancelVerdict.NOT_SENT, None, f"the exchange does not list {symbol}")
        parameters = (("symbol", native), ("origClientOrderId", client_order_id))
        owner = owner_of(client_order_id)
        answer = await self._rest.send("DELETE", ORDER_PATH, parameters, Security.ORDER, owner=owner)
        if isinstance(answer, Silence):
            verdict = CancelVerdict.UNKNOWN if answer.written else CancelVerdict.NOT_SENT
            return CancelOutcome(verdict, None, answer.reason)
        if answer.verdict.resync:
            await self._rest.resync()
        return self._cancel_outcome(answer)

    def _cancel_outcome(self, answer: Answer) -> CancelOutcome:
        reason = answer.reason()
        if answer.verdict.finding is Finding.NOT_OPEN:
            return CancelOutcome(CancelVerdict.NOT_OPEN, None, answer.message)
        match answer.verdict.effect:
            case Effect.NONE | Effect.REFUSED:
                return CancelOutcome(CancelVerdict.NOT_SENT, None, reason)
            case Effect.UNKNOWN:
                return CancelOutcome(CancelVerdict.UNKNOWN, None, reason)
            case Effect.ACCEPTED:
                report = self._report(answer)
                if report is None:
                    return CancelOutcome(CancelVerdict.UNKNOWN, None, "the answer cannot be read")
                if report.status is ExchangeOrderStatus.CANCELLED:
                    return CancelOutcome(CancelVerdict.CANCELLED, report, "")
                verdict = CancelVerdict.NOT_OPEN if report.status.terminal else CancelVerdict.UNKNOWN
                return CancelOutcome(verdict, report, f"the order is {report.status}")

    async def query(self, symbol: Symbol, client_order_id: ClientOrderId) -> OrderReport | Absent:
        """Return the order's state. ABSENT is not yet proof (decision 2). Raises ExchangeError."""
        parameters = (("symbol", self._symbols.native(symbol)), ("origClientOrderId", client_order_id))
        try:
            answer = await self._rest.read(ORDER_PATH, parameters, _order_decoder)
        except ExchangeRefusal as refusal:
            if refusal.code == NO_SUCH_ORDER:
                return Absent.ABSENT
            raise
        return report_of_answer(answer, self._symbols)
