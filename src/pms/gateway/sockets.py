"""All browsers: who receives which event, what a subscription starts with, when a socket must go (spec 7)."""

import asyncio
import json
import logging
from collections import OrderedDict
from collections.abc import Collection, Iterable
from dataclasses import dataclass

from starlette.websockets import WebSocket, WebSocketDisconnect

from pms.bus.hub import Event
from pms.execution.api import TradingService
from pms.gateway import bounds, frames, render
from pms.gateway.auth import Authenticator, Principal
from pms.gateway.errors import ApiError
from pms.gateway.price_feed import PriceFeed
from pms.gateway.session import Session
from pms.gateway.settings import GatewaySettings
from pms.ledger.api import Ledger
from pms.model.clock import Clock
from pms.model.event import DurableEvent, EphemeralEvent
from pms.model.ids import SubAccountId, UserId
from pms.model.symbol import Symbol

log = logging.getLogger(__name__)

POLICE_SECONDS = 1.0
SNAPSHOT_BATCH = 100
ADMIN_TYPES = frozenset({"exposure_updated", "real_account_level"})
_POSITION_TYPES = frozenset({"pnl_update", "position_updated"})
_ENDING_TYPES = frozenset({"position_closed", "position_takeover"})


@dataclass(frozen=True, slots=True)
class SocketStatistics:
    """Counts; `suppressed` are late events of closed positions that were not sent."""

    sockets: int
    authenticated: int
    subscriptions: int
    watched_symbols: int
    opened: int
    closed_slow: int
    suppressed: int
    event_loop_lag_ms: float


class BrowserSockets:
    """The hub's sink and the owner of every session. Event-loop thread only; `publish` never blocks."""

    def __init__(
        self,
        service: TradingService,
        ledger: Ledger,
        authenticator: Authenticator,
        clock: Clock,
        settings: GatewaySettings,
        epoch: str,
    ) -> None:
        self._service = service
        self._ledger = ledger
        self._authenticator = authenticator
        self._clock = clock
        self._settings = settings
        self._epoch = epoch
        self._sessions: set[Session] = set()
        self._subscribers: dict[SubAccountId, set[Session]] = {}
        self._closed: OrderedDict[str, None] = OrderedDict()
        self._prices = PriceFeed(service, clock)
        self._opened = 0
        self._closed_slow = 0
        self._suppressed = 0
        self._lag_ms = 0.0
        self._tasks: list[asyncio.Task[None]] = []

    # --- life -----------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Start the watch over sessions and the price feed; `stop` ends both."""
        self._tasks = [
            asyncio.create_task(self._police(), name="gateway socket police"),
            asyncio.create_task(self._prices.run(), name="gateway price feed"),
        ]

    async def stop(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._tasks = []
        for session in list(self._sessions):
            session.end(1012, "the server is stopping")

    @property
    def event_loop_lag_ms(self) -> float:
        return self._lag_ms

    def statistics(self) -> SocketStatistics:
        return SocketStatistics(
            sockets=len(self._sessions),
            authenticated=sum(1 for session in self._sessions if session.principal),
            subscriptions=sum(len(sessions) for sessions in self._subscribers.values()),
            watched_symbols=self._prices.symbol_count,
            opened=self._opened,
            closed_slow=self._closed_slow,
            suppressed=self._suppressed,
            event_loop_lag_ms=self._lag_ms,
        )

    def subscribed_accounts(self) -> Collection[SubAccountId]:
        """Return the accounts that somebody watches now, a live view for the publisher."""
        return self._subscribers.keys()

    def close_user(self, user_id: UserId) -> None:
        """End every session of a user at once (ban, role change)."""
        for session in list(self._sessions):
            if session.principal is not None and session.principal.user_id == user_id:
                session.end(4401, "the session was revoked")

    # --- events out -----------------------------------------------------------------------------------------

    def publish(self, event: Event) -> None:
        """Take an event from the hub."""
        if isinstance(event, DurableEvent):
            self._publish_durable(event)
        else:
            self._publish_ephemeral(event)

    def _publish_durable(self, event: DurableEvent) -> None:
        position_id = event.data.get("positionId")
        if event.type in _ENDING_TYPES and isinstance(position_id, str):
            self._remember_closed(position_id, event.sub_account_id)
        elif event.type == "position_updated" and position_id in self._closed:
            self._suppressed += 1
            log.error(
                "position_updated of closed position %s was not sent; its sequence shows a gap", position_id
            )
            return
        sessions = self._subscribers.get(event.sub_account_id)
        if not sessions:
            return
        frame = frames.durable(event, self._epoch)
        for session in sessions:
            if event.sequence > session.baseline.get(event.sub_account_id, -1):
                session.put_durable(frame)

    def _publish_ephemeral(self, event: EphemeralEvent) -> None:
        if event.type in _POSITION_TYPES and event.data.get("positionId") in self._closed:
            self._suppressed += 1
            return
        sessions = self._receivers(event)
        if not sessions:
            return
        frame = frames.ephemeral(event)
        key = self._key(event)
        for session in sessions:
            session.put_latest(key, frame)

    def _receivers(self, event: EphemeralEvent) -> Iterable[Session]:
        if event.sub_account_id is not None:
            return self._subscribers.get(event.sub_account_id, ())
        if event.type == "price_update":
            return [session for session in self._sessions if event.data.get("symbol") in session.watched]
        if event.type in ADMIN_TYPES:
            return [s for s in self._sessions if s.principal is not None and s.principal.is_admin]
        return [session for session in self._sessions if session.principal is not None]

    @staticmethod
    def _key(event: EphemeralEvent) -> str:
        # PnL is keyed by position whatever the publisher chose, so that a close can discard it (spec 7.5).
        if event.type == "pnl_update":
            return f"pnl {event.data.get('positionId')}"
        return f"{event.type} {event.sub_account_id} {event.key}"

    def _remember_closed(self, position_id: str, sub_account_id: SubAccountId) -> None:
        self._closed[position_id] = None
        while len(self._closed) > bounds.CLOSED_POSITIONS_REMEMBERED_MAX:
            self._closed.popitem(last=False)
        for session in self._subscribers.get(sub_account_id, ()):
            session.queue.discard(f"pnl {position_id}")
            session.queue.discard(f"snapshot {position_id}")

    # --- one socket -----------------------------------------------------------------------------------------

    async def serve(self, socket: WebSocket) -> None:
        """Run one connection from accept to close."""
        await socket.accept()
        if len(self._sessions) >= bounds.SOCKETS_MAX:
            await socket.close(1013, "too many connections; try again later")
            return
        session = Session(socket, self._clock, self._clock.monotonic())
        self._sessions.add(session)
        self._opened += 1
        session.put_durable(frames.Frame({"type": "connected", "timestamp": self._clock.now_ms()}))
        reading = asyncio.create_task(self._read(session), name="gateway socket reader")
        pumping = asyncio.create_task(session.pump(), name="gateway socket sender")
        ending = asyncio.create_task(session.ended(), name="gateway socket end")
        tasks = (reading, pumping, ending)
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            self._forget(session)
            for task in tasks:
                task.cancel()
            for failure in await asyncio.gather(*tasks, return_exceptions=True):
                if isinstance(failure, Exception):
                    log.error("a browser socket ended by an error", exc_info=failure)
                    session.end(1011, "internal error")
        await session.close()

    def _forget(self, session: Session) -> None:
        self._sessions.discard(session)
        self._unsubscribe(session)
        self._prices.unwatch(session)
        self._closed_slow += session.close_code == 4008

    def _unsubscribe(self, session: Session) -> None:
        for sub_account_id in session.accounts:
            others = self._subscribers.get(sub_account_id)
            if others is not None:
                others.discard(session)
                if not others:
                    del self._subscribers[sub_account_id]
        session.accounts.clear()
        session.baseline.clear()

    async def _read(self, session: Session) -> None:
        while True:
            try:
                incoming = await session.socket.receive()
            except (WebSocketDisconnect, RuntimeError):
                return
            if incoming["type"] != "websocket.receive":
                return
            if not session.count_received():
                return
            text = incoming.get("text")
            if text is None:
                continue
            try:
                content = json.loads(text)
            except (ValueError, RecursionError):
                continue
            if isinstance(content, dict):
                await self._handle(session, content)

    async def _handle(self, session: Session, content: dict[str, object]) -> None:
        kind = content.get("type")
        if kind == "subscribe":
            await self._subscribe(session, content)
        elif kind == "watch":
            self._watch(session, content)
        elif kind == "ping":
            session.put_latest("pong", frames.Frame({"type": "pong", "timestamp": self._clock.now_ms()}))

    def _error(self, session: Session, text: str) -> None:
        content = {"type": "error", "message": text, "timestamp": self._clock.now_ms()}
        session.put_durable(frames.Frame(content))

    # --- subscribing ----------------------------------------------------------------------------------------

    async def _subscribe(self, session: Session, content: dict[str, object]) -> None:
        wanted = _wanted(content)
        token = content.get("token")
        if isinstance(token, str) and token:
            try:
                principal = await self._authenticator.session(token)
            except ApiError as error:
                session.end(4401, error.code)
                return
            if not self._admit(session, principal):
                return
            if session.early_watch is not None:
                early, session.early_watch = session.early_watch, None
                self._watch(session, early)
        if session.principal is None:
            self._error(session, "Authentication is required: send a token.")
            return
        if wanted is None:
            self._error(session, "subscribe takes subAccountId, or subAccountIds with a list of ids.")
            return
        await self._apply_subscription(session, session.principal, wanted)

    def _admit(self, session: Session, principal: Principal) -> bool:
        """Bind a session to its user; False when the user has too many, or another user holds it."""
        held = [s for s in self._sessions if s.principal and s.principal.user_id == principal.user_id]
        if session not in held and len(held) >= bounds.SOCKETS_PER_USER_MAX:
            session.end(4429, f"more than {bounds.SOCKETS_PER_USER_MAX} connections of one user")
            return False
        if session.principal is not None and session.principal.user_id != principal.user_id:
            self._unsubscribe(session)
        session.principal = principal
        return True

    async def _apply_subscription(self, session: Session, principal: Principal, wanted: list[str]) -> None:
        allowed: list[SubAccountId] = []
        refused = 0
        for text in dict.fromkeys(wanted):
            account = self._ledger.account(SubAccountId(text))
            if account is None or not (principal.is_admin or account.user_id == principal.user_id):
                refused += 1
            else:
                allowed.append(account.id)
        if refused:
            self._error(session, f"{refused} of the accounts are unknown or belong to somebody else.")
        self._unsubscribe(session)
        if not allowed and refused:
            return
        for start in range(0, max(1, len(allowed)), SNAPSHOT_BATCH):
            self._send_state(session, allowed[start : start + SNAPSHOT_BATCH])
            # A fleet's snapshot must not hold the loop; each batch is one consistent step of its own.
            await asyncio.sleep(0)

    def _send_state(self, session: Session, allowed: list[SubAccountId]) -> None:
        """Subscribe to accounts and send what their next events build on (spec 7.5, rule 4)."""
        states = [state for item in allowed if (state := self._service.account_state(item)) is not None]
        now_ms = self._clock.now_ms()
        sequences = {state.account.id: state.sequence for state in states}
        data: dict[str, object] = {"subAccountIds": list(sequences), "seq": sequences}
        if len(sequences) == 1:
            data["subAccountId"] = next(iter(sequences))
        session.put_durable(frames.message("subscribed", data, now_ms, epoch=self._epoch))
        for state in states:
            self._subscribers.setdefault(state.account.id, set()).add(session)
            session.accounts.add(state.account.id)
            session.baseline[state.account.id] = state.sequence
            margin = frames.message(
                "margin_update", render.margin_event(state), now_ms, afterSeq=state.sequence
            )
            session.put_durable(margin)
            for live in state.positions:
                if live.position.id not in self._closed:
                    event = render.position_event(live)
                    frame = frames.message("position_updated", event, now_ms, afterSeq=state.sequence)
                    session.put_latest(f"snapshot {live.position.id}", frame)

    def _watch(self, session: Session, content: dict[str, object]) -> None:
        names = content.get("symbols")
        if session.principal is None:
            session.early_watch = content  # applied once the token has come
            return
        if not isinstance(names, list) or len(names) > bounds.WATCHED_PER_SOCKET_MAX:
            self._error(session, f"watch takes a list of at most {bounds.WATCHED_PER_SOCKET_MAX} symbols.")
            return
        symbols = [Symbol(name) for name in names if isinstance(name, str)]
        known = [symbol for symbol in symbols if self._service.symbol_rules(symbol) is not None]
        if len(known) != len(names):
            self._error(session, f"{len(names) - len(known)} of the symbols are unknown.")
        if not self._prices.watch(session, known):
            self._error(session, "Too many symbols are watched; watch fewer.")

    # --- watching over sessions -----------------------------------------------------------------------------

    async def _police(self) -> None:
        """End sessions that never authenticated, expired or were banned (H-5, H-11); measure the lag."""
        period = min(POLICE_SECONDS, self._settings.socket_authentication_seconds / 5)
        while True:
            before = self._clock.monotonic()
            await self._clock.sleep(period)
            self._lag_ms = max(0.0, (self._clock.monotonic() - before - period) * 1000)
            await self._check_sessions()

    async def _check_sessions(self) -> None:
        now = self._clock.monotonic()
        for session in list(self._sessions):
            if session.principal is None:
                if now - session.opened >= self._settings.socket_authentication_seconds:
                    session.end(4401, "not authenticated in time")
                continue
            try:
                valid = await self._authenticator.still_valid(session.principal)
            except Exception:
                # The directory does not answer: the session keeps its last known status until it does.
                log.exception("the status of a browser session could not be read")
                continue
            if not valid:
                session.end(4401, "the session is over")


def _wanted(content: dict[str, object]) -> list[str] | None:
    """Return the ids of a subscribe frame (an empty list authenticates only); None when they are unusable."""
    many = content.get("subAccountIds")
    wanted = many if isinstance(many, list) else [content.get("subAccountId")]
    if len(wanted) > bounds.SUBSCRIPTIONS_PER_SOCKET_MAX:
        return None
    if not all(isinstance(item, str) and item for item in wanted):
        return None
    return [str(item) for item in wanted]
