"""Orders on the venue: single ones and batches, each order ending in a value that says what is certain."""

import asyncio
from collections.abc import Callable, Hashable, Iterator, Sequence
from typing import TypeVar

import msgspec

from pms.exchange.binance import parameters
from pms.exchange.binance.conduct import Conduct
from pms.exchange.binance.control import RequestControl
from pms.exchange.binance.conversation import Answer, Parameters, Security, Sender, Silence, read
from pms.exchange.binance.convert import report_of_answer
from pms.exchange.binance.costs import Lane
from pms.exchange.binance.outcome import Blocks, Finding, Request
from pms.exchange.binance.replies import Reply, cancel_outcome, place_outcome, replies_of, reply_of
from pms.exchange.binance.symbols import SymbolDirectory
from pms.exchange.errors import ExchangeError, ExchangeRefusal
from pms.exchange.messages import OrderAnswer
from pms.exchange.port import (
    Absent,
    AmendOutcome,
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
from pms.model.order import ApprovedAmendment, ApprovedOrder
from pms.model.refusal import RefusalCode
from pms.model.symbol import Symbol

ORDER_PATH = "/fapi/v1/order"
BATCH_PATH = "/fapi/v1/batchOrders"
NO_SUCH_ORDER = -2013
INVALID_SYMBOL = -1121
RULES_BROKEN = -4400

BATCH_MAX = 5
CANCELS_MAX = 10
"""Elements of one request (Binance spec 2.2); more are split, in order."""

_order_decoder = msgspec.json.Decoder(OrderAnswer)

E = TypeVar("E")
_METHODS = {Request.PLACE: "POST", Request.AMEND: "PUT", Request.CANCEL: "DELETE"}


def lane_of(order: ApprovedOrder | ApprovedAmendment) -> Lane:
    """Return the lane of a placement or a change: what reduces risk may use the reserve (decision 22)."""
    return Lane.RISK if order.risk_reducing else Lane.ORDINARY


def owner_of(client_order_id: ClientOrderId) -> str:
    """Return the sub-account's prefix of one of our orders (decision 23), "" for others."""
    return owner_prefix(client_order_id) or ""


def _unheard(outcome: PlaceOutcome) -> None:
    """Nobody listens."""


class BinanceTrading:
    """Implements `Trading`. Concurrent calls are independent; no order of arrival is promised.

    `sender` carries single orders, `batches` what only REST can do.
    """

    def __init__(
        self,
        sender: Sender,
        batches: Sender,
        symbols: SymbolDirectory,
        control: RequestControl,
        conduct: Conduct,
        rules_broken: Callable[[], None] = lambda: None,
    ) -> None:
        self._sender = sender
        self._batches = batches
        self._symbols = symbols
        self._control = control
        self._conduct = conduct
        self._rules_broken = rules_broken
        self.on_outcome: Callable[[PlaceOutcome], None] = _unheard
        """Told what came of each placement before the caller is."""

    # --- one order

    async def place(self, order: ApprovedOrder) -> PlaceOutcome:
        """Send one order once. Never repeats: repeating is the caller's decision after proof (decision 2)."""
        native = self._native(order.symbol)
        if native is None:
            return _unlisted(order.symbol)
        held = self._held(order)
        if held is not None:
            return held
        fields = parameters.placement(order, native)
        self._count(order)
        reply = await self._single(Request.PLACE, fields, order.client_order_id, lane_of(order))
        return self._placed(order, place_outcome(reply))

    async def amend(self, change: ApprovedAmendment) -> AmendOutcome:
        """Send one change once; "nothing to change" (-5027) is answered with the order as it is."""
        native = self._native(change.symbol)
        if native is None:
            return _unlisted(change.symbol)
        fields = parameters.amendment(change, native)
        reply = await self._single(Request.AMEND, fields, change.client_order_id, lane_of(change))
        return await self._amended(change, reply)

    async def cancel(self, symbol: Symbol, client_order_id: ClientOrderId) -> CancelOutcome:
        """Cancel by our id. NOT_OPEN says nothing about how the order ended: query it and its fills."""
        native = self._native(symbol)
        if native is None:
            return CancelOutcome(CancelVerdict.NOT_SENT, None, f"the exchange does not list {symbol}")
        fields = (("symbol", native), ("origClientOrderId", client_order_id))
        return self._cancelled(
            cancel_outcome(await self._single(Request.CANCEL, fields, client_order_id, Lane.RISK))
        )

    async def query(self, symbol: Symbol, client_order_id: ClientOrderId) -> OrderReport | Absent:
        """Return the order's state. ABSENT is not yet proof (decision 2). Raises ExchangeError."""
        fields = (("symbol", self._symbols.native(symbol)), ("origClientOrderId", client_order_id))
        try:
            answer = await read(self._sender, ORDER_PATH, fields, _order_decoder)
        except ExchangeRefusal as refusal:
            if refusal.code == NO_SUCH_ORDER:
                return Absent.ABSENT
            raise
        return report_of_answer(answer, self._symbols)

    # --- many orders

    async def place_many(self, orders: Sequence[ApprovedOrder]) -> Sequence[PlaceOutcome]:
        """Place any number; one outcome for each, in order. Parts of one lane travel together, one after the
        other; a part of one element travels as a single order, which leaves less unknown."""
        outcomes: list[PlaceOutcome] = []
        for part in _parts(orders, lambda one: (lane_of(one), self._alone(one)), BATCH_MAX):
            if len(part) == 1 or self._alone(part[0]):
                outcomes += [await self.place(one) for one in part]
                continue
            fields = [parameters.placement(one, self._symbols.native(one.symbol)) for one in part]
            ids = [one.client_order_id for one in part]
            for one in part:
                self._count(one)
            replies = await self._batch(Request.PLACE, parameters.batch(fields), ids, lane_of(part[0]))
            outcomes += [
                self._placed(one, place_outcome(reply)) for one, reply in zip(part, replies, strict=True)
            ]
        return outcomes

    async def amend_many(self, changes: Sequence[ApprovedAmendment]) -> Sequence[AmendOutcome]:
        """Change any number of orders; as `place_many`."""
        outcomes: list[AmendOutcome] = []
        for part in _parts(changes, lambda one: (lane_of(one), self._native(one.symbol) is None), BATCH_MAX):
            if len(part) == 1 or self._native(part[0].symbol) is None:
                outcomes += [await self.amend(one) for one in part]
                continue
            fields = [parameters.amendment(one, self._symbols.native(one.symbol)) for one in part]
            ids = [one.client_order_id for one in part]
            replies = await self._batch(Request.AMEND, parameters.batch(fields), ids, lane_of(part[0]))
            outcomes += [await self._amended(one, reply) for one, reply in zip(part, replies, strict=True)]
        return outcomes

    async def cancel_many(self, orders: Sequence[tuple[Symbol, ClientOrderId]]) -> Sequence[CancelOutcome]:
        """Cancel any number, of any symbols; one outcome for each, in order. Symbols do not wait for one
        another."""
        outcomes: dict[int, CancelOutcome] = {}
        by_symbol: dict[Symbol, list[int]] = {}
        for place, (symbol, _) in enumerate(orders):
            by_symbol.setdefault(symbol, []).append(place)

        async def cancel_on(symbol: Symbol, places: list[int]) -> None:
            for part in _parts(places, lambda _: None, CANCELS_MAX):
                ids = [orders[place][1] for place in part]
                outcomes.update(zip(part, await self._cancel_part(symbol, ids), strict=True))

        async with asyncio.TaskGroup() as group:
            for symbol, places in by_symbol.items():
                group.create_task(cancel_on(symbol, places), name=f"cancels on {symbol}")
        return [outcomes[place] for place in range(len(orders))]

    async def _cancel_part(self, symbol: Symbol, ids: Sequence[ClientOrderId]) -> list[CancelOutcome]:
        native = self._native(symbol)
        if native is None or len(ids) == 1:
            return [await self.cancel(symbol, each) for each in ids]
        fields = parameters.cancels(ids, native)
        replies = await self._batch(Request.CANCEL, fields, ids, Lane.RISK)
        return [self._cancelled(cancel_outcome(each)) for each in replies]

    # --- inside

    def _alone(self, order: ApprovedOrder) -> bool:
        """Tell an order that is not sent: unlisted, or held by the trading rules."""
        return self._native(order.symbol) is None or self._held(order) is not None

    def _held(self, order: ApprovedOrder) -> NotSent | None:
        if order.risk_reducing:
            return None
        owner = owner_of(order.client_order_id)
        pause = self._conduct.pause(order.symbol, owner, self._control.now_ms())
        return None if pause is None else NotSent(pause.reason, pause.retry_after_ms)

    def _count(self, order: ApprovedOrder) -> None:
        owner = owner_of(order.client_order_id)
        self._conduct.contributions.placed(order, owner, self._control.now_ms())

    def _placed(self, order: ApprovedOrder, outcome: PlaceOutcome) -> PlaceOutcome:
        now_ms, contributions = self._control.now_ms(), self._conduct.contributions
        if isinstance(outcome, Confirmed):
            contributions.ended(outcome.report, now_ms)
        elif not isinstance(outcome, OutcomeUnknown):
            contributions.withdrawn(order, owner_of(order.client_order_id), now_ms)
        if isinstance(outcome, RefusedByExchange) and outcome.code == RULES_BROKEN:
            self._conduct.refused(order.symbol, now_ms)
            self._rules_broken()
        self.on_outcome(outcome)
        return outcome

    def _cancelled(self, outcome: CancelOutcome) -> CancelOutcome:
        if outcome.report is not None:
            self._conduct.contributions.ended(outcome.report, self._control.now_ms())
        return outcome

    def _native(self, symbol: Symbol) -> str | None:
        return self._symbols.map.native.get(symbol)

    async def _single(
        self, request: Request, fields: Parameters, client_order_id: ClientOrderId, lane: Lane
    ) -> Reply | Silence:
        answer = await self._send(self._sender, request, ORDER_PATH, fields, lane, owner_of(client_order_id))
        return answer if isinstance(answer, Silence) else reply_of(answer, client_order_id, self._symbols)

    async def _batch(
        self, request: Request, fields: Parameters, ids: Sequence[ClientOrderId], lane: Lane
    ) -> Sequence[Reply | Silence]:
        owners = {owner_of(each) for each in ids}
        owner = owners.pop() if len(owners) == 1 else ""
        answer = await self._send(self._batches, request, BATCH_PATH, fields, lane, owner)
        if isinstance(answer, Silence):
            return [answer] * len(ids)
        now_ms = self._control.now_ms()
        replies = replies_of(answer, ids, self._symbols, request, now_ms)
        for reply in replies:
            if reply.verdict.blocks is not Blocks.NOTHING and answer.code is None:
                self._control.stop(now_ms + reply.verdict.retry_after_ms, reply.verdict.blocks)
        if not answer.verdict.resync and any(each.verdict.resync for each in replies):
            await self._batches.resync()
        return replies

    async def _send(
        self, sender: Sender, request: Request, path: str, fields: Parameters, lane: Lane, owner: str
    ) -> Answer | Silence:
        answer = await sender.send(_METHODS[request], path, fields, Security.ORDER, lane=lane, owner=owner)
        if isinstance(answer, Answer) and answer.verdict.resync:
            await sender.resync()
        return answer

    # -5027 says that the order has the asked price and quantity: its state is asked for, not assumed.
    async def _amended(self, change: ApprovedAmendment, reply: Reply | Silence) -> AmendOutcome:
        if isinstance(reply, Silence) or reply.verdict.finding is not Finding.UNCHANGED:
            return place_outcome(reply)
        stamps = reply.timestamp_ms, reply.recv_window_ms
        try:
            report = await self.query(change.symbol, change.client_order_id)
        except ExchangeError as error:
            return OutcomeUnknown(f"{reply.reason}, and the order could not be queried: {error}", *stamps)
        if isinstance(report, Absent):
            return OutcomeUnknown(f"{reply.reason}, and the order is not found", *stamps)
        return Confirmed(report, *stamps)


def _unlisted(symbol: Symbol) -> RefusedByExchange:
    text = f"the exchange does not list {symbol}"
    return RefusedByExchange(INVALID_SYMBOL, text, RefusalCode.UNKNOWN_SYMBOL, 0, 0)


def _parts(elements: Sequence[E], key: Callable[[E], Hashable], size: int) -> Iterator[Sequence[E]]:
    """Cut into runs of one key, at most `size` long; the order stays."""
    start = 0
    for end in range(1, len(elements) + 1):
        full = end - start == size
        if end == len(elements) or full or key(elements[end]) != key(elements[start]):
            yield elements[start:end]
            start = end
