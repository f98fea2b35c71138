"""The supervisor of all sockets: who carries what, when a socket opens, closes or is replaced.

Each traffic class has sockets of its own (Binance spec 4.1): public and market streams are spread over as
many as needed by `stream_plan`, and the private stream takes its turns from the same pacer. A stream that
moves between sockets is given up on the old one only when the venue has confirmed it on the new one.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from random import Random

from pms.exchange.binance.config import StreamTuning
from pms.exchange.binance.market_socket import MarketSocket, SocketStatistics
from pms.exchange.binance.sockets import ConnectPacer
from pms.exchange.binance.stream_plan import Move, StreamPlan
from pms.exchange.census import Census
from pms.exchange.messages import MarketEvent
from pms.model.clock import Clock, set_within

_MOVE_SECONDS = 0.05
"""How often a move is looked at; only while something moves."""


@dataclass(frozen=True, slots=True)
class SupervisorStatistics:
    """All market sockets together, those that were closed included; `streams` and `sockets` now."""

    sockets: int
    streams: int
    streams_stale: int
    connects: int
    failures: int
    rotations: int
    renewals: int
    moves: int
    connects_delayed: int


class SocketPool:
    """The sockets of one traffic class. Wishes may come before `run` and at any time after."""

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
        self._url = url
        self._on_event = on_event
        self._on_interrupted = on_interrupted
        self._clock = clock
        self._random = random
        self._tuning = tuning
        self._pacer = pacer
        self._census = census
        self._plan = StreamPlan(tuning.streams_per_socket_max, tuning.streams_max)
        self._sockets: dict[int, MarketSocket] = {}
        self._begun: set[int] = set()
        self._moving: list[Move] = []
        self._changed = asyncio.Event()
        self.moves = 0
        self._closed = _Totals()

    def want(self, stream: str) -> None:
        """Have a stream from now on; idempotent. Raises ExchangeUnavailable beyond the bound of the class."""
        number = self._plan.want(stream)
        self._socket(number).want(stream)
        self._changed.set()

    def drop(self, stream: str) -> None:
        """Have a stream no longer; idempotent. What is left may move together on fewer sockets."""
        number = self._plan.drop(stream)
        if number is None:
            return
        self._moving = [move for move in self._moving if move.stream != stream]
        for socket in self._sockets.values():
            socket.drop(stream)
        self._changed.set()

    async def run(self) -> None:
        """Keep the sockets up until cancelled."""
        async with asyncio.TaskGroup() as group:
            while True:
                await self._wait()
                self._changed.clear()
                self._finish_moves()
                self._begin_moves()
                self._retire_empty()
                for number, socket in self._sockets.items():
                    if number not in self._begun:
                        self._begun.add(number)
                        group.create_task(self._keep(number, socket), name=f"market stream {socket.name}")

    def statistics(self) -> tuple[SocketStatistics, ...]:
        """Return the counters of each open socket, oldest first."""
        return tuple(socket.statistics() for socket in self._sockets.values())

    def totals(self) -> "_Totals":
        """Return the sums of all sockets since start, closed ones included."""
        return sum((_Totals.of(each) for each in self.statistics()), self._closed)

    def __len__(self) -> int:
        return len(self._plan)

    def _socket(self, number: int) -> MarketSocket:
        if number not in self._sockets:
            self._sockets[number] = MarketSocket(
                f"{self.name}-{number}",
                self._url,
                self._on_event,
                self._on_interrupted,
                self._clock,
                self._random,
                self._tuning,
                self._pacer,
                self._census,
            )
        return self._sockets[number]

    async def _keep(self, number: int, socket: MarketSocket) -> None:
        await socket.run()
        self._closed += _Totals.of(socket.statistics())
        del self._sockets[number]
        self._begun.discard(number)

    async def _wait(self) -> None:
        await set_within(self._changed, self._clock, _MOVE_SECONDS if self._moving else None)

    def _finish_moves(self) -> None:
        done = [move for move in self._moving if self._sockets[move.target].carries(move.stream)]
        for move in done:
            self._sockets[move.source].drop(move.stream)
            self._moving.remove(move)

    # One packing at a time: a stream never moves again before it has arrived.
    def _begin_moves(self) -> None:
        if self._moving:
            return
        for move in self._plan.repack():
            self._sockets[move.target].want(move.stream)
            self._moving.append(move)
            self.moves += 1

    # A socket ends when the plan gives it nothing and nothing moves away from it any more.
    def _retire_empty(self) -> None:
        needed = {*self._plan.sockets(), *(move.source for move in self._moving)}
        for number, socket in self._sockets.items():
            if number not in needed:
                socket.retire()


@dataclass(frozen=True, slots=True)
class _Totals:
    connects: int = 0
    failures: int = 0
    rotations: int = 0
    renewals: int = 0
    streams_stale: int = 0

    @staticmethod
    def of(one: SocketStatistics) -> "_Totals":
        return _Totals(one.connects, one.failures, one.rotations, one.renewals, one.streams_stale)

    def __add__(self, other: "_Totals") -> "_Totals":
        return _Totals(
            self.connects + other.connects,
            self.failures + other.failures,
            self.rotations + other.rotations,
            self.renewals + other.renewals,
            self.streams_stale + other.streams_stale,
        )


class StreamSupervisor:
    """Owns the pools of both market classes and the pace of all handshakes."""

    def __init__(
        self,
        public_url: str,
        market_url: str,
        on_event: Callable[[MarketEvent], None],
        on_interrupted: Callable[[tuple[str, ...]], None],
        clock: Clock,
        random: Random,
        tuning: StreamTuning,
        census: Census,
    ) -> None:
        self.pacer = ConnectPacer(tuning, clock)
        shared = (on_event, on_interrupted, clock, random, tuning, self.pacer, census)
        self.public = SocketPool("public", public_url, *shared)
        self.market = SocketPool("market", market_url, *shared)

    async def run(self) -> None:
        """Keep all market sockets up until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self.public.run(), name="public sockets")
            group.create_task(self.market.run(), name="market sockets")

    def sockets(self) -> tuple[SocketStatistics, ...]:
        """Return the counters of each open market socket."""
        return self.public.statistics() + self.market.statistics()

    def statistics(self) -> SupervisorStatistics:
        """Return the sums of all market sockets since start."""
        totals = self.public.totals() + self.market.totals()
        return SupervisorStatistics(
            sockets=len(self.sockets()),
            streams=len(self.public) + len(self.market),
            streams_stale=totals.streams_stale,
            connects=totals.connects,
            failures=totals.failures,
            rotations=totals.rotations,
            renewals=totals.renewals,
            moves=self.public.moves + self.market.moves,
            connects_delayed=self.pacer.waits,
        )
