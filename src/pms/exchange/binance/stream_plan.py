"""Which socket carries which stream: packed when added, packed again when many are given up. Pure.

Invariants: 1. A socket carries at most `per_socket` streams. 2. A wanted stream has exactly one socket; while
it moves it is on two. 3. Numbers of sockets are never used again.
"""

from dataclasses import dataclass

from pms.exchange.errors import ExchangeUnavailable

REPACK_ROOM = 0.8
"""Streams move together only when what is left fills fewer sockets to this part: adding a few afterwards must
not open the socket again."""


@dataclass(frozen=True, slots=True)
class Move:
    """A stream is to be had on `target` first, and given up on `source` only when it flows there."""

    stream: str
    source: int
    target: int


class StreamPlan:
    """The assignment of one class of streams."""

    def __init__(self, per_socket: int, streams_max: int) -> None:
        self._per_socket = per_socket
        self._streams_max = streams_max
        self._socket_of: dict[str, int] = {}
        self._load: dict[int, int] = {}
        self._next = 1

    def want(self, stream: str) -> int:
        """Return the stream's socket, assigning one: the fullest with room, else a new one.

        Raises ExchangeUnavailable beyond the bound of all sockets.
        """
        socket = self._socket_of.get(stream)
        if socket is not None:
            return socket
        if len(self._socket_of) >= self._streams_max:
            raise ExchangeUnavailable(
                f"{self._streams_max} streams of a class are the bound; give up some symbols first"
            )
        socket = self._fullest_with_room(exclude=None)
        if socket is None:
            socket, self._next = self._next, self._next + 1
        self._assign(stream, socket)
        return socket

    def drop(self, stream: str) -> int | None:
        """Give a stream up; return the socket that carried it, None when nobody wanted it."""
        socket = self._socket_of.pop(stream, None)
        if socket is not None:
            self._unload(socket)
        return socket

    def sockets(self) -> tuple[int, ...]:
        """Return the numbers of the sockets that carry anything, oldest first."""
        return tuple(self._load)

    def repack(self) -> list[Move]:
        """Empty the least loaded socket into the others, if they hold all of it with room to spare."""
        if len(self._load) < 2:
            return []
        total = len(self._socket_of)
        if total > (len(self._load) - 1) * self._per_socket * REPACK_ROOM:
            return []
        source = min(self._load, key=lambda number: self._load[number])
        moves = []
        for stream in [each for each, socket in self._socket_of.items() if socket == source]:
            target = self._fullest_with_room(exclude=source)
            if target is None:
                break
            self._unload(source)
            self._assign(stream, target)
            moves.append(Move(stream, source, target))
        return moves

    def __len__(self) -> int:
        return len(self._socket_of)

    # The fullest socket that still has room.
    def _fullest_with_room(self, exclude: int | None) -> int | None:
        fitting = [n for n, load in self._load.items() if load < self._per_socket and n != exclude]
        return max(fitting, key=lambda number: self._load[number], default=None)

    def _assign(self, stream: str, socket: int) -> None:
        self._socket_of[stream] = socket
        self._load[socket] = self._load.get(socket, 0) + 1

    def _unload(self, socket: int) -> None:
        self._load[socket] -= 1
        if not self._load[socket]:
            del self._load[socket]
