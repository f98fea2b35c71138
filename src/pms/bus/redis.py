"""Shared state in Redis: separate clients, a deadline on every call, reconnecting without end (spec 1.2)."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import TypeVar, cast

from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.client import PubSub
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisError, ResponseError
from redis.exceptions import TimeoutError as RedisTimeoutError

from pms import limits
from pms.bus.errors import BusRefused, BusUnavailable
from pms.bus.port import (
    Append,
    BusMode,
    BusStatistics,
    Message,
    ModeListener,
    Publish,
    SetValue,
    StreamEntry,
    Write,
)
from pms.logging import get_logger, redact_text
from pms.model.clock import Clock
from pms.model.ids import IdSource

T = TypeVar("T")
_Part = str | bytes | int

_DEADLINE_SECONDS = limits.BUS_CALL_DEADLINE_MS / 1000
_START_DEADLINE_SECONDS = 2.0
_FIRST_PAUSE_SECONDS = 0.1
_CHECK_SECONDS = 5.0

_DELETE_IF_HELD = (
    "if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('DEL', KEYS[1]) end return 0"
)
_EXTEND_IF_HELD = (
    "if redis.call('GET', KEYS[1]) == ARGV[1] then "
    "return redis.call('PEXPIRE', KEYS[1], ARGV[2]) end return 0"
)
# The life is set with the first hit in one step: a counter that lost its expiry would refuse for ever.
_INCREMENT = (
    "local n = redis.call('INCR', KEYS[1]) "
    "if n == 1 and tonumber(ARGV[1]) > 0 then redis.call('PEXPIRE', KEYS[1], ARGV[1]) end return n"
)

_log = get_logger(__name__)


def reconnect_pause_seconds(attempt: int, chance: float) -> float:
    """Return the pause before attempt `attempt` (from 0): doubling to the cap, spread by `chance` in 0..1."""
    cap = limits.BUS_RECONNECT_DELAY_MS_MAX / 1000
    return min(cap, _FIRST_PAUSE_SECONDS * 2.0 ** min(attempt, 10)) * (0.5 + chance / 2)


class RedisSubscription:
    """Pub/sub on a connection of its own; after a failure the next call connects and subscribes again."""

    def __init__(self, pubsub: PubSub) -> None:
        self._pubsub = pubsub

    async def next(self, wait_ms: int) -> Message | None:
        """Return the next message, or None after `wait_ms`. Raises BusUnavailable."""
        loop = asyncio.get_running_loop()
        until = loop.time() + wait_ms / 1000
        try:
            async with asyncio.timeout(wait_ms / 1000 + _DEADLINE_SECONDS):
                # The answers to our own SUBSCRIBE come back as None at once: no reason to stop waiting.
                message = None
                while message is None and (left := until - loop.time()) > 0:
                    message = await self._pubsub.get_message(ignore_subscribe_messages=True, timeout=left)
        except (RedisError, OSError, TimeoutError) as error:
            raise BusUnavailable(
                f"the subscription got no answer from Redis: {redact_text(str(error))}"
            ) from error
        if message is None:
            return None
        return Message(message["channel"].decode(), message["data"])

    async def close(self) -> None:
        with contextlib.suppress(RedisError, OSError, TimeoutError):
            async with asyncio.timeout(_DEADLINE_SECONDS):
                await self._pubsub.aclose()  # type: ignore[no-untyped-call]


class RedisState:
    """SharedState in Redis, or any server of its protocol.

    After a failed call the mode is AWAY: calls fail at once, and one background task tries to reach the
    server again, for ever, with pauses of at most 2 s. A server that was replaced or restarted counts as a
    return, so that the projection writes everything again. Nothing here repeats a write: the caller knows
    what is worth repeating.
    """

    def __init__(self, url: str, clock: Clock, ids: IdSource) -> None:
        self._clock = clock
        self._ids = ids
        self._commands = _client(url, limits.BUS_CONNECTIONS_MAX)
        self._scripts = _client(url, 4)
        self._messages = _client(url, limits.BUS_CONNECTIONS_MAX)
        self._subscriptions: list[RedisSubscription] = []
        self._listeners: list[ModeListener] = []
        self._mode = BusMode.AWAY
        self._server = ""
        self._watcher: asyncio.Task[None] | None = None
        self._away = asyncio.Event()
        self._calls = 0
        self._failures = 0
        self._returns = 0

    @property
    def mode(self) -> BusMode:
        return self._mode

    async def start(self) -> None:
        """Try to connect once, then keep watch in the background."""
        await self._check(_START_DEADLINE_SECONDS)
        if self._mode is BusMode.AWAY:
            _log.warning("redis does not answer; going on without it, trying again", mode=str(self._mode))
            self._away.set()
        self._watcher = asyncio.create_task(self._watch(), name="redis-watch")

    async def close(self) -> None:
        if self._watcher is not None:
            self._watcher.cancel()
            await asyncio.gather(self._watcher, return_exceptions=True)
            self._watcher = None
        for subscription in self._subscriptions:
            await subscription.close()
        self._subscriptions.clear()
        for client in (self._commands, self._scripts, self._messages):
            with contextlib.suppress(RedisError, OSError, TimeoutError):
                async with asyncio.timeout(_DEADLINE_SECONDS):
                    await client.aclose(close_connection_pool=True)

    def add_mode_listener(self, listener: ModeListener) -> None:
        self._listeners.append(listener)

    def statistics(self) -> BusStatistics:
        return BusStatistics(self._mode, self._calls, self._failures, self._returns)

    async def get(self, key: str) -> bytes | None:
        answer = await self._command("GET", key)
        return answer if isinstance(answer, bytes) else None

    async def set(self, key: str, value: bytes, ttl_ms: int | None = None) -> None:
        await self._command("SET", key, value, *(() if ttl_ms is None else ("PX", ttl_ms)))

    async def set_if_absent(self, key: str, token: bytes, ttl_ms: int) -> bool:
        return bool(await self._call(lambda: self._scripts.set(key, token, nx=True, px=ttl_ms)))

    async def compare_and_delete(self, key: str, token: bytes) -> bool:
        return bool(await self._script(_DELETE_IF_HELD, key, token))

    async def compare_and_extend(self, key: str, token: bytes, ttl_ms: int) -> bool:
        return bool(await self._script(_EXTEND_IF_HELD, key, token, ttl_ms))

    async def delete(self, key: str) -> bool:
        return bool(await self._command("DEL", key))

    async def increment(self, key: str, ttl_ms: int | None = None) -> int:
        return await self._script(_INCREMENT, key, ttl_ms or 0)

    async def publish(self, channel: str, data: bytes) -> None:
        await self._command("PUBLISH", channel, data)

    async def append(self, stream: str, fields: Mapping[str, bytes], length_max: int) -> str:
        answer = await self._command(*_append_command(Append(stream, fields, length_max)))
        return answer.decode() if isinstance(answer, bytes) else str(answer)

    async def read(self, stream: str, after: str = "0-0", count: int = 100) -> Sequence[StreamEntry]:
        bounded = min(count, limits.BUS_STREAM_READ_MAX)
        answer = await self._call(lambda: self._commands.xrange(stream, f"({after}", "+", count=bounded))
        entries = cast("list[tuple[bytes, dict[bytes, bytes]]]", answer)
        return [
            StreamEntry(number.decode(), {key.decode(): value for key, value in fields.items()})
            for number, fields in entries
        ]

    async def write(self, writes: Sequence[Write]) -> None:
        if not writes:
            return
        pipeline = self._commands.pipeline(transaction=False)
        for write in writes:
            match write:
                case SetValue(key, value, ttl_ms):
                    pipeline.set(key, value, px=ttl_ms)
                case Publish(channel, data):
                    pipeline.publish(channel, data)
                case Append():
                    pipeline.execute_command(*_append_command(write))
        answers = await self._call(lambda: pipeline.execute(raise_on_error=False))
        refused = [answer for answer in answers if isinstance(answer, Exception)]
        if refused:
            self._failures += 1
            raise BusRefused(
                f"Redis refused {len(refused)} of {len(writes)} writes: {redact_text(str(refused[0]))}"
            )

    async def subscribe(self, *channels: str) -> RedisSubscription:
        pubsub = self._messages.pubsub(ignore_subscribe_messages=True)
        await self._call(lambda: pubsub.subscribe(*channels))
        subscription = RedisSubscription(pubsub)
        self._subscriptions.append(subscription)
        return subscription

    async def _command(self, *parts: _Part) -> object:
        return await self._call(lambda: _execute(self._commands, *parts))

    async def _script(self, script: str, key: str, *arguments: _Part) -> int:
        answer = await self._call(lambda: _execute(self._scripts, "EVAL", script, 1, key, *arguments))
        return answer if isinstance(answer, int) else 0

    async def _call(self, call: Callable[[], Awaitable[T]]) -> T:
        self._calls += 1
        if self._mode is BusMode.AWAY:
            self._failures += 1
            raise BusUnavailable("Redis is away; trying to reach it again")
        try:
            async with asyncio.timeout(_DEADLINE_SECONDS):
                return await call()
        except ResponseError as error:
            self._failures += 1
            raise BusRefused(f"Redis refused the command: {redact_text(str(error))}") from error
        except (RedisConnectionError, RedisTimeoutError, OSError, TimeoutError) as error:
            self._failures += 1
            self._set_mode(BusMode.AWAY, str(error) or type(error).__name__)
            raise BusUnavailable(
                f"Redis gave no answer within {limits.BUS_CALL_DEADLINE_MS} ms: {redact_text(str(error))}"
            ) from error

    def _set_mode(self, mode: BusMode, reason: str) -> None:
        if mode is self._mode:
            return
        self._mode = mode
        if mode is BusMode.AWAY:
            self._away.set()
            _log.warning("redis is away; shared state is not written until it returns", reason=reason)
        else:
            self._away.clear()
            _log.info("redis answers", reason=reason)
        for listener in self._listeners:
            listener(mode)

    async def _watch(self) -> None:
        """Reach the server again while it is away; otherwise notice when it is lost or replaced."""
        attempt = 0
        while True:
            if self._mode is BusMode.AWAY:
                chance = int(self._ids.token(2), 16) / 0x10000
                await self._clock.sleep(reconnect_pause_seconds(attempt, chance))
                attempt += 1
            else:
                attempt = 0
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(_CHECK_SECONDS):
                        await self._away.wait()
                    continue
            await self._check(_DEADLINE_SECONDS)

    async def _check(self, deadline_seconds: float) -> None:
        """Ask the server who it is; the answer decides the mode."""
        try:
            async with asyncio.timeout(deadline_seconds):
                about = cast("Mapping[str, object]", await self._commands.info("server"))
        except (RedisError, OSError, TimeoutError) as error:
            self._set_mode(BusMode.AWAY, redact_text(str(error)) or type(error).__name__)
            return
        server = str(about.get("run_id", ""))
        if self._server and (self._mode is BusMode.AWAY or server != self._server):
            self._returns += 1
        self._server = server
        self._set_mode(BusMode.REDIS, "connected")


def _client(url: str, connections_max: int) -> Redis:
    pool = BlockingConnectionPool.from_url(
        url,
        max_connections=connections_max,
        timeout=_DEADLINE_SECONDS,
        socket_timeout=_DEADLINE_SECONDS,
        socket_connect_timeout=_DEADLINE_SECONDS,
        # A lost answer must not repeat a write behind the caller's back.
        retry=Retry(NoBackoff(), 0),
        decode_responses=False,
    )
    return Redis(connection_pool=pool)


def _execute(client: Redis, *parts: _Part) -> Awaitable[object]:
    return cast("Awaitable[object]", client.execute_command(*parts))  # type: ignore[no-untyped-call]


def _append_command(write: Append) -> list[_Part]:
    command: list[_Part] = ["XADD", write.stream, "MAXLEN", "~", write.length_max, "*"]
    for key, value in write.fields.items():
        command += [key, value]
    return command
