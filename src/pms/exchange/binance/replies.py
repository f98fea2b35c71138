"""From answers of the venue to outcomes of the port, for one order and for each element of a batch. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import msgspec

from pms.exchange.binance.conversation import Answer, Silence
from pms.exchange.binance.convert import report_of_answer
from pms.exchange.binance.outcome import Effect, Finding, Request, Verdict, judge, refusal_of
from pms.exchange.binance.symbols import SymbolDirectory
from pms.exchange.errors import UnreadablePayload
from pms.exchange.messages import OrderAnswer, decode_message
from pms.exchange.port import (
    CancelOutcome,
    CancelVerdict,
    Confirmed,
    NotSent,
    OrderReport,
    OutcomeUnknown,
    PlaceOutcome,
    RefusedByExchange,
)
from pms.model.ids import ClientOrderId
from pms.model.order import ExchangeOrderStatus

UNREADABLE = "the answer cannot be read; the order must be looked up"
UNTIED = "the answer does not say which order it is about; the order must be looked up"

_UNKNOWN = Verdict(Effect.UNKNOWN)


@dataclass(frozen=True, slots=True)
class Reply:
    """What came back for one order. `report` only with ACCEPTED, and only of the order that was asked for."""

    verdict: Verdict
    reason: str
    code: int
    message: str
    report: OrderReport | None
    timestamp_ms: int
    recv_window_ms: int


class _Element(msgspec.Struct, frozen=True, gc=False):
    code: int | None = None
    msg: str = ""


_order_decoder = msgspec.json.Decoder(OrderAnswer)
_list_decoder = msgspec.json.Decoder(list[msgspec.Raw])
_element_decoder = msgspec.json.Decoder(_Element)


def reply_of(answer: Answer, client_order_id: ClientOrderId, symbols: SymbolDirectory) -> Reply:
    """Return the reply for a request about one order."""
    stamps = answer.timestamp_ms, answer.recv_window_ms
    if answer.verdict.effect is not Effect.ACCEPTED:
        return Reply(answer.verdict, answer.reason(), answer.code or 0, answer.message, None, *stamps)
    report = _report(answer.body, symbols)
    if report is None or report.client_order_id != client_order_id:
        return Reply(_UNKNOWN, UNREADABLE if report is None else UNTIED, 0, "", None, *stamps)
    return Reply(answer.verdict, "", 0, "", report, *stamps)


def replies_of(
    answer: Answer,
    client_order_ids: Sequence[ClientOrderId],
    symbols: SymbolDirectory,
    request: Request,
    now_ms: int,
) -> list[Reply]:
    """Return one reply for each element of a batch, in the order of the request.

    An error of the whole request applies to each. Elements are tied by their place in the list, and an order
    must carry the id that was asked for there; when the list has another length, only orders are tied, by
    their id. What cannot be tied is unknown (Binance spec 2.2).
    """
    stamps = answer.timestamp_ms, answer.recv_window_ms
    if answer.verdict.effect is not Effect.ACCEPTED:
        one = Reply(answer.verdict, answer.reason(), answer.code or 0, answer.message, None, *stamps)
        return [one] * len(client_order_ids)
    try:
        raws = decode_message(_list_decoder, answer.body)
    except msgspec.DecodeError:
        raws = []
    elements = [_element_reply(raw, symbols, request, now_ms, stamps) for raw in raws]
    by_id: Mapping[ClientOrderId, Reply] = {
        each.report.client_order_id: each for each in elements if each.report is not None
    }
    replies = []
    for place, client_order_id in enumerate(client_order_ids):
        tied = by_id.get(client_order_id)
        if tied is None and len(elements) == len(client_order_ids) and elements[place].report is None:
            tied = elements[place]
        replies.append(tied or Reply(_UNKNOWN, UNTIED, 0, "", None, *stamps))
    return replies


def _element_reply(
    raw: msgspec.Raw, symbols: SymbolDirectory, request: Request, now_ms: int, stamps: tuple[int, int]
) -> Reply:
    try:
        error = decode_message(_element_decoder, raw)
    except msgspec.DecodeError:
        return Reply(_UNKNOWN, UNREADABLE, 0, "", None, *stamps)
    if error.code is not None and error.code < 0:
        verdict = judge(400, error.code, error.msg, now_ms=now_ms, request=request)
        return Reply(verdict, f"{error.msg} ({error.code})", error.code, error.msg, None, *stamps)
    report = _report(raw, symbols)
    if report is None:
        return Reply(_UNKNOWN, UNREADABLE, 0, "", None, *stamps)
    return Reply(Verdict(Effect.ACCEPTED), "", 0, "", report, *stamps)


def _report(body: bytes | msgspec.Raw, symbols: SymbolDirectory) -> OrderReport | None:
    try:
        return report_of_answer(decode_message(_order_decoder, body), symbols)
    except (msgspec.DecodeError, UnreadablePayload):
        return None


# --- outcomes of the port


def place_outcome(reply: Reply | Silence) -> PlaceOutcome:
    """Return what is certain of a placement, or of a change."""
    stamps = reply.timestamp_ms, reply.recv_window_ms
    if isinstance(reply, Silence):
        return (
            OutcomeUnknown(reply.reason, *stamps)
            if reply.written
            else NotSent(reply.reason, reply.retry_after_ms)
        )
    match reply.verdict.effect:
        case Effect.NONE:
            return NotSent(reply.reason, reply.verdict.retry_after_ms)
        case Effect.REFUSED:
            return RefusedByExchange(reply.code, reply.message, refusal_of(reply.code), *stamps)
        case Effect.ACCEPTED if reply.report is not None:
            return Confirmed(reply.report, *stamps)
        case _:
            return OutcomeUnknown(reply.reason, *stamps)


def cancel_outcome(reply: Reply | Silence) -> CancelOutcome:
    """Return what is certain of a cancel."""
    if isinstance(reply, Silence):
        verdict = CancelVerdict.UNKNOWN if reply.written else CancelVerdict.NOT_SENT
        return CancelOutcome(verdict, None, reply.reason)
    if reply.verdict.finding is Finding.NOT_OPEN:
        return CancelOutcome(CancelVerdict.NOT_OPEN, None, reply.message)
    match reply.verdict.effect:
        case Effect.NONE | Effect.REFUSED:
            return CancelOutcome(CancelVerdict.NOT_SENT, None, reply.reason)
        case Effect.ACCEPTED if reply.report is not None:
            report = reply.report
            if report.status is ExchangeOrderStatus.CANCELLED:
                return CancelOutcome(CancelVerdict.CANCELLED, report, "")
            verdict = CancelVerdict.NOT_OPEN if report.status.terminal else CancelVerdict.UNKNOWN
            return CancelOutcome(verdict, report, f"the order is {report.status}")
        case _:
            return CancelOutcome(CancelVerdict.UNKNOWN, None, reply.reason)
