"""One market socket, kept up until it has nothing to carry: replaced with overlap, watched for silence.

Rotation: the next connection is opened and subscribed while the old one still delivers; the old one is closed
only when the venue has confirmed every stream on the new one, something flowed there, and the old one had
time to deliver what was on its way. Events of which each counts (depth, trades) are held on the new one until
then and told after those of the old, so that they stay in order; what came twice ends at `tick_guard` and
`depth_book`.
"""

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass
from random import Random

from pms.exchange.binance.config import StreamTuning
from pms.exchange.binance.sockets import Backoff, ConnectPacer
from pms.exchange.binance.stream_connection import StreamConnection
from pms.exchange.census import Census
from pms.exchange.errors import ExchangeError, ExchangeUnavailable
from pms.exchange.messages import AggTradeEvent, DepthEvent, MarketEvent
from pms.model.clock import Clock

log = logging.getLogger("pms.exchange.binance")


@dataclass(frozen=True, slots=True)
class SocketStatistics:
    """Counters of one market socket since start; `stale` while connected and nothing came for too long.

    `streams_stale` are streams that should send each second and do not, now; `age_seconds` of the connection.
    """

    name: str
    connected: bool
    stale: bool
    streams: int
    streams_stale: int
    age_seconds: float
    connects: int
    failures: int
    rotations: int
    renewals: int
    frames: int
    strange_frames: int
    refused_commands: int


@dataclass(slots=True)
class _Counts:
    connects: int = 0
    failures: int = 0
    rotations: int = 0
    renewals: int = 0
    frames: int = 0
    strange: int = 0
    refused: int = 0


class MarketSocket:
    """Carries streams of one class (`/public` or `/market`).

    A stream on the wrong class gives no error and no data (Binance spec 4.1): hence the first-frame deadline.
    """

    def __init__(
        self,
        name: str,
        url: str,
        on_event: Callable[[MarketEvent], None],
        on_interrupted: Callable[[tuple[str, ...]], None],
        clock: Clock,
        random: Random,
        tuning: StreamTuning,
        pacer: ConnectPacer,
        census: Census,
    ) -> None:
        self.name = name
        self._url = f"{url}/stream"
        self._on_event = on_event
        self._on_interrupted = on_interrupted
        self._clock = clock
        self._random = random
        self._tuning = tuning
        self._pacer = pacer
        self._census = census
        self._backoff = Backoff(tuning, random)
        self._wanted: dict[str, None] = {}
        self._wake = asyncio.Event()
        self._retired = False
        self._current: StreamConnection | None = None
        self._next: StreamConnection | None = None
        self._opening: asyncio.Task[None] | None = None
        self._rotate_at = self._overlap_until = 0.0
        self._frames_before = 0
        self._ready_at: float | None = None
        self._held: list[MarketEvent] = []
        self._stale = False
        self._silent: frozenset[str] = frozenset()
        self._renewed_at = float("-inf")
        self._counts = _Counts()

    def want(self, stream: str) -> None:
        """Have a stream from now on."""
        self._wanted[stream] = None
        self._wake.set()

    def drop(self, stream: str) -> None:
        """Have a stream no longer."""
        self._wanted.pop(stream, None)
        self._wake.set()

    def retire(self) -> None:
        """End `run` soon: nothing is left to carry."""
        self._retired = True
        self._wake.set()

    def carries(self, stream: str) -> bool:
        """Tell whether the venue has confirmed a stream on this socket, or it has flowed."""
        return self._current is not None and self._current.carries({stream: None})

    def statistics(self) -> SocketStatistics:
        """Return the counters as they are now, those of the open connections included."""
        current, counts = self._current, self._counts
        open_now = [each for each in (current, self._next) if each is not None]
        return SocketStatistics(
            name=self.name,
            connected=current is not None and current.alive,
            stale=self._stale,
            streams=0 if current is None else len(current.active),
            streams_stale=len(self._silent),
            age_seconds=0.0 if current is None else self._clock.monotonic() - current.opened_at,
            connects=counts.connects,
            failures=counts.failures,
            rotations=counts.rotations,
            renewals=counts.renewals,
            frames=counts.frames + sum(each.frames for each in open_now),
            strange_frames=counts.strange + sum(each.strange for each in open_now),
            refused_commands=counts.refused + sum(each.refused for each in open_now),
        )

    async def run(self) -> None:
        """Keep the socket up until it is retired or cancelled."""
        while not self._retired:
            started = self._clock.monotonic()
            try:
                await self._life()
            except ExchangeError as error:
                self._counts.failures += 1
                log.warning("market stream %s: %s", self.name, error)
            if not self._retired:
                await self._clock.sleep(self._backoff.ended(self._clock.monotonic() - started))

    # From a first connection, over its successors, until one ends without a successor.
    async def _life(self) -> None:
        self._stale, self._silent = False, frozenset()
        try:
            self._current = await self._connected(self._on_event)
            self._plan_rotation()
            await self._serve()
        finally:
            await self._stop_opening()
            for connection in (self._current, self._next):
                if connection is not None:
                    self._end(connection)
            self._current = self._next = None
            self._held.clear()
            # Nothing is continued by the next connection: the venue may even begin anew.
            self._on_interrupted(tuple(self._wanted))

    async def _connected(self, on_event: Callable[[MarketEvent], None]) -> StreamConnection:
        await self._pacer.turn()
        connection = StreamConnection(self.name, on_event, self._wake.set, self._census)
        await connection.open(self._url, self._tuning, self._clock.monotonic())
        self._counts.connects += 1
        return connection

    # One loop applies wishes at the pace the venue allows, watches the flow and replaces the connection.
    async def _serve(self) -> None:
        watched, frames, flowed_at, any_frame = self._current, 0, self._clock.monotonic(), False
        turn_at = self._clock.monotonic()
        while not self._retired and (current := self._surviving()) is not None:
            if current is not watched:
                watched, frames, flowed_at, any_frame = current, 0, self._clock.monotonic(), True
            await self._pause(self._command())
            now = self._clock.monotonic()
            turns = self._turns(now - turn_at)
            turn_at += turns * self._tuning.watch_seconds
            for each in (current, self._next):
                if each is not None:
                    each.turn += turns
            if current.frames != frames or not current.active:
                any_frame = any_frame or current.frames != frames
                frames, flowed_at, self._stale = current.frames, now, False
            if current.alive:
                self._judge_silence(now - flowed_at, any_frame)
                self._judge_streams(current, now)
                self._rotate(now)

    def _turns(self, seconds: float) -> int:
        return int(seconds / self._tuning.watch_seconds)

    def _command(self) -> bool:
        bound = self._tuning.streams_per_command_max
        open_now = [each for each in (self._current, self._next) if each is not None and each.alive]
        sent = [each.apply(self._wanted, bound) for each in open_now]
        return any(sent)

    async def _pause(self, commanded: bool) -> None:
        if commanded:
            await self._clock.sleep(1 / self._tuning.commands_per_second_max)
            return
        try:
            async with asyncio.timeout(self._tuning.watch_seconds):
                await self._wake.wait()
        except TimeoutError:
            pass
        self._wake.clear()

    # A connection that ended leaves its place to one that is ready to take over, if there is one.
    def _surviving(self) -> StreamConnection | None:
        if self._current is not None and not self._current.alive:
            self._end(self._current)
            self._current = None
            log.warning("market stream %s: the connection ended", self.name)
            if self._next is not None and self._next.alive:
                self._promote()
        return self._current

    def _judge_silence(self, silent_seconds: float, any_frame: bool) -> None:
        if not any_frame and silent_seconds > self._tuning.first_frame_seconds_max:
            raise ExchangeUnavailable("no frame came after subscribing; wrong class of stream, or no market")
        if silent_seconds > self._tuning.silence_seconds_max:
            raise ExchangeUnavailable(f"nothing came for {silent_seconds:.0f} s; connecting anew")
        if silent_seconds > self._tuning.stale_seconds and not self._stale:
            self._stale = True
            log.error("market stream %s: nothing came for %.0f s", self.name, silent_seconds)

    # One subscription can be lost while others flow (Binance spec 8).
    def _judge_streams(self, current: StreamConnection, now: float) -> None:
        silent = frozenset(current.silent(self._turns(self._tuning.stale_seconds) + 1))
        if fresh := silent - self._silent:
            log.error("market stream %s: silent alone: %s", self.name, ", ".join(sorted(fresh)))
        self._silent = silent
        if silent and now - self._renewed_at > self._tuning.silence_seconds_max:
            lost = current.silent(self._turns(self._tuning.silence_seconds_max) + 1)
            if current.renew(lost[: self._tuning.streams_per_command_max]):
                self._renewed_at = now
                self._counts.renewals += len(lost)

    # --- rotation

    def _plan_rotation(self) -> None:
        spread = self._random.random() * self._tuning.rotation_spread_seconds
        self._rotate_at = self._clock.monotonic() + self._tuning.rotation_seconds_max - spread

    def _rotate(self, now: float) -> None:
        if self._opening is not None and self._opening.done():
            task, self._opening = self._opening, None
            task.result()
        if self._next is not None:
            if self._ready(self._next, now):
                self._promote()
            elif self._next.alive and now <= self._overlap_until:
                pass
            elif self._next.alive and self._next.carries(self._wanted) and not self._flowed():
                self._promote()  # a quiet market: the venue has confirmed all, and neither side had anything
            else:
                log.warning("market stream %s: the next connection did not take over", self.name)
                self._end(self._next)
                self._next = None
                self._held.clear()
                self._retry_rotation(now)
        elif self._opening is None and now >= self._rotate_at and self._wanted:
            self._opening = asyncio.create_task(self._open_next(), name=f"next market stream {self.name}")

    def _flowed(self) -> bool:
        return self._current is not None and self._current.frames > self._frames_before

    def _ready(self, following: StreamConnection, now: float) -> bool:
        if not (following.alive and following.frames and following.carries(self._wanted)):
            self._ready_at = None
            return False
        if self._ready_at is None:
            self._ready_at = now
        full = len(self._held) >= self._tuning.overlap_events_max
        return full or now - self._ready_at >= self._tuning.overlap_seconds_min

    def _hold(self, event: MarketEvent) -> None:
        if isinstance(event, (DepthEvent, AggTradeEvent)) and self._current is not None:
            if len(self._held) < self._tuning.overlap_events_max:
                self._held.append(event)
            # Beyond the bound the next turn of the loop takes over; a depth gap would be found by its ids.
        else:
            self._on_event(event)

    async def _open_next(self) -> None:
        self._ready_at = None
        try:
            self._next = await self._connected(self._hold)
            self._overlap_until = self._clock.monotonic() + self._tuning.overlap_seconds_max
            self._frames_before = 0 if self._current is None else self._current.frames
        except ExchangeError as error:
            log.warning("market stream %s: the next connection: %s", self.name, error)
            self._retry_rotation(self._clock.monotonic())
        finally:
            self._wake.set()

    def _retry_rotation(self, now: float) -> None:
        self._counts.failures += 1
        self._rotate_at = now + self._backoff.ended(0.0)

    def _promote(self) -> None:
        if self._current is not None:
            self._end(self._current)
        self._current, self._next = self._next, None
        if self._current is not None:
            self._current.on_event = self._on_event
        held, self._held = self._held, []
        for event in held:
            self._on_event(event)
        self._counts.rotations += 1
        self._plan_rotation()

    def _end(self, connection: StreamConnection) -> None:
        connection.close()
        self._counts.frames += connection.frames
        self._counts.strange += connection.strange
        self._counts.refused += connection.refused

    async def _stop_opening(self) -> None:
        task, self._opening = self._opening, None
        if task is not None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
