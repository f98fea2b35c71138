"""Carries out what a fault plan decided: cuts sockets, moves the clock, trades by hand, ends a listen key.

`step` is called with the exchange's time some fifty times a second; everything it does is synchronous.
"""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from typing import Any, Protocol

import msgspec

from pms.exchange import messages as wire
from pms.simulator.endpoints import ENDPOINTS
from pms.simulator.errors import Reject, SimulatorError
from pms.simulator.fault_kinds import Fault
from pms.simulator.faults import Armed, glob
from pms.simulator.listing import set_status
from pms.simulator.scenario import Scenario
from pms.simulator.state import Account, text
from pms.simulator.stream_faults import StreamFaults
from pms.simulator.venue import Call, Venue

ACCOUNT_KINDS = frozenset({"deposit", "manual_order", "liquidate", "adl"})
QUANTITY = Decimal(1000)
EVERYTHING = Decimal(10**12)
TRADING = "TRADING"


class Sockets(Protocol):
    """The open connections, as faults see them."""

    def cut(self, traffic: str, api_key: str) -> int:
        """End connections of a class and account pattern without a handshake; return how many."""
        ...


class FaultRunner:
    """Performs and undoes actions. `refusals` counts what the exchange itself refused to do."""

    def __init__(self, venue: Venue, events: StreamFaults, sockets: Sockets) -> None:
        self._venue = venue
        self._events = events
        self._sockets = sockets
        self._frozen: dict[int, tuple[set[str], set[str]]] = {}
        self._halted: dict[int, list[str]] = {}
        self._perform: dict[str, Callable[[Armed, int], None]] = {
            "cut": self._cut,
            "expire_listen_key": self._expire,
            "maintenance": self._maintain,
            "stale_quotes": self._freeze,
            "crossed_quotes": self._cross,
            "clock_skew": self._skew,
            "set_quote": self._quote,
            "set_mark": self._mark,
            "release": self._release,
            "deposit": self._deposit,
            "manual_order": self._order,
            "liquidate": self._liquidate,
            "adl": self._deleverage,
            "settle": self._settle,
            "symbol_status": self._status,
        }
        self.refusals = 0
        self.last_refusal = ""

    # -- arming

    def check(self, fault: Fault) -> None:
        """Raise `SimulatorError` when a fault names a symbol or an account that is not there."""
        engine = self._venue.engine
        if fault.symbol and fault.symbol not in engine.rules:
            raise SimulatorError(f"The fault {fault.kind}: the symbol {fault.symbol} is not listed here.")
        if fault.kind in ACCOUNT_KINDS and fault.account not in engine.account_by_key:
            raise SimulatorError(f"The fault {fault.kind}: there is no account {fault.account}.")

    def arm(self, fault: Fault) -> int:
        """Arm a fault from now on and do what is due at once; return its number.

        Raises `SimulatorError` when it makes no sense here, or the exchange refuses an action due at once.
        """
        self.check(fault)
        now_ms = self._venue.clock.now_ms()
        number = self._venue.faults.arm(fault, now_ms)
        refusals = self.refusals
        self.step(now_ms)
        if self.refusals != refusals:
            raise SimulatorError(self.last_refusal)
        return number

    def play(self, scenario: Scenario) -> None:
        """Arm every fault of a scenario from now on, drawing from its seed. Raises `SimulatorError`."""
        for fault in scenario.fault:
            self.check(fault)
        self._venue.faults.seed = scenario.seed
        now_ms = self._venue.clock.now_ms()
        self._venue.faults.arm_all(scenario.fault, now_ms)

    def clear(self, kind: str | None = None) -> int:
        """Disarm everything or one kind, and undo what lasts; return how many were armed."""
        gone = self._venue.faults.clear(kind)
        for armed in gone:
            if armed.started:
                self._undo(armed)
        return len(gone)

    # -- carrying out

    def step(self, now_ms: int) -> None:
        """Do what is due, undo what is over, send the events that waited."""
        plan = self._venue.faults
        if not plan.idle:
            for armed in plan.ending(now_ms):
                self._undo(armed)
            for armed in plan.starting(now_ms):
                self._do(armed, now_ms)
        self._events.step(now_ms)

    def _do(self, armed: Armed, now_ms: int) -> None:
        perform = self._perform.get(armed.fault.kind)
        if perform is None:
            return  # `silence` is a state that the sockets ask for
        try:
            perform(armed, now_ms)
        except SimulatorError as error:
            self.refusals += 1
            self.last_refusal = f"The fault {armed.fault.kind} was refused: {error}"
        self._venue.committer.touch()

    def _undo(self, armed: Armed) -> None:
        fault = armed.fault
        if fault.kind == "clock_skew":
            self._venue.skew_ms -= fault.ms
        elif fault.kind == "stale_quotes":
            quotes, marks = self._frozen.pop(armed.number, (set(), set()))
            self._venue.feed.pinned_quotes.difference_update(quotes)
            self._venue.feed.pinned_marks.difference_update(marks)

        elif fault.kind == "maintenance":
            now_ms = self._venue.clock.now_ms()
            for symbol in self._halted.pop(armed.number, ()):
                set_status(self._venue, symbol, TRADING, now_ms)

    def _accounts(self, pattern: str) -> list[Account]:
        every = self._venue.engine.account_by_key
        return [account for key, account in every.items() if glob(pattern, key)]

    # -- the actions

    def _cut(self, armed: Armed, now_ms: int) -> None:
        self._sockets.cut(armed.fault.traffic, armed.fault.account)

    def _expire(self, armed: Armed, now_ms: int) -> None:
        for account in self._accounts(armed.fault.account):
            if account.listen_key:
                account.listen_key_expires_ms = min(account.listen_key_expires_ms, now_ms)
        self._venue.engine.expire_listen_keys(now_ms)

    def _maintain(self, armed: Armed, now_ms: int) -> None:
        fault = armed.fault
        if fault.sockets == "drop":
            self._sockets.cut("*", "*")
        if fault.lose_keys:
            for account in self._accounts("*"):
                self._venue.engine.set_listen_key(account, "", 0)
        if fault.halt:
            rules = self._venue.engine.rules.values()
            halted = [one.symbol for one in rules if one.info.status == TRADING]
            self._halted[armed.number] = halted
            for symbol in halted:
                set_status(self._venue, symbol, "TRADING_HALT", now_ms)

    def _freeze(self, armed: Armed, now_ms: int) -> None:
        feed = self._venue.feed
        symbols = {armed.fault.symbol} if armed.fault.symbol else set(self._venue.engine.rules)
        self._frozen[armed.number] = (symbols - feed.pinned_quotes, symbols - feed.pinned_marks)
        feed.pinned_quotes |= symbols
        feed.pinned_marks |= symbols

    def _cross(self, armed: Armed, now_ms: int) -> None:
        market = self._venue.engine.markets[armed.fault.symbol]
        if market.live:  # a quiet market publishes nothing by itself: show the crossed quote at once
            event = wire.BookTickerEvent(
                update_id=market.update_id,
                symbol=market.symbol,
                bid_price=text(market.bid),
                bid_quantity=text(market.bid_quantity),
                ask_price=text(market.ask),
                ask_quantity=text(market.ask_quantity),
                transaction_time=now_ms,
                event_time=now_ms,
            )
            stream = f"{market.symbol.lower()}@bookTicker"
            self._venue.hub.publish("public", stream, msgspec.json.encode(event), conflate=True)

    def _skew(self, armed: Armed, now_ms: int) -> None:
        self._venue.skew_ms += armed.fault.ms

    def _quote(self, armed: Armed, now_ms: int) -> None:
        fault = armed.fault
        size = fault.quantity or QUANTITY
        self._venue.feed.set_quote(fault.symbol, fault.bid, fault.ask, size, size, now_ms)

    def _mark(self, armed: Armed, now_ms: int) -> None:
        self._venue.feed.set_mark(armed.fault.symbol, armed.fault.price, now_ms)

    def _release(self, armed: Armed, now_ms: int) -> None:
        self._venue.feed.release(armed.fault.symbol or None)

    def _deposit(self, armed: Armed, now_ms: int) -> None:
        account = self._venue.engine.account_by_key[armed.fault.account]
        self._venue.engine.deposit(account, armed.fault.quantity, now_ms)

    def _order(self, armed: Armed, now_ms: int) -> None:
        """Place an order as the venue's own app does: through the handler, without key or limits."""
        fault = armed.fault
        params = {
            "symbol": fault.symbol,
            "side": fault.side,
            "type": "LIMIT" if fault.price else "MARKET",
            "quantity": f"{fault.quantity:f}",
            "newClientOrderId": f"web_{now_ms}_{armed.number}",
        }
        if fault.price:
            params |= {"price": f"{fault.price:f}", "timeInForce": "GTC"}
        if fault.position_side != "BOTH":
            params["positionSide"] = fault.position_side
        account = self._venue.engine.account_by_key[fault.account]
        handler = ENDPOINTS["POST", "/fapi/v1/order"].handler
        answer: Any = handler(self._venue, Call(params, account, now_ms))
        if isinstance(answer, Reject):
            raise SimulatorError(f"{answer.code} {answer.msg}")

    def _held(self, account: Account, symbol: str) -> list[str]:
        """Return the symbols (one, or all when empty) in which an account holds a position."""
        positions = self._venue.engine.positions.values()
        mine = {p.symbol for p in positions if p.account_id == account.account_id and p.quantity}
        return sorted(one for one in mine if symbol in ("", one))

    def _liquidate(self, armed: Armed, now_ms: int) -> None:
        fault, engine = armed.fault, self._venue.engine
        account = engine.account_by_key[fault.account]
        for symbol in self._held(account, fault.symbol) or [fault.symbol]:
            if not symbol:
                raise SimulatorError("the account holds no position")
            engine.force_liquidation(account, symbol, now_ms)

    def _deleverage(self, armed: Armed, now_ms: int) -> None:
        fault, engine = armed.fault, self._venue.engine
        account = engine.account_by_key[fault.account]
        engine.force_adl(account, fault.symbol, fault.quantity or EVERYTHING, now_ms)

    def _settle(self, armed: Armed, now_ms: int) -> None:
        fault, engine = armed.fault, self._venue.engine
        price = fault.price or engine.markets[fault.symbol].mark
        if price <= 0:
            raise SimulatorError(f"{fault.symbol} has no mark price yet; give a price")
        set_status(self._venue, fault.symbol, "SETTLING", now_ms)
        engine.settle(fault.symbol, price, now_ms)
        set_status(self._venue, fault.symbol, "CLOSE", now_ms)

    def _status(self, armed: Armed, now_ms: int) -> None:
        set_status(self._venue, armed.fault.symbol, armed.fault.status, now_ms)

    def statistics(self) -> dict[str, int]:
        """Return counters: faults that struck, actions that the exchange refused, events lost and waiting."""
        return {"struck": self._venue.faults.struck, "refused": self.refusals, **self._events.statistics()}


__all__ = ["FaultRunner", "Sockets"]
