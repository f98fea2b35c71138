"""Idempotency keys: the first result of a request is kept for 24 h and given again (gateway spec 6.6)."""

import asyncio
import hashlib
import json
import logging
from collections.abc import Awaitable, Callable
from contextvars import ContextVar
from dataclasses import dataclass

from pms.gateway.bounds import IDEMPOTENCY_IN_FLIGHT_MAX
from pms.gateway.errors import ApiError
from pms.gateway.ports import Queries, StoredResult
from pms.ledger.errors import LedgerError
from pms.model.clock import Clock
from pms.model.refusal import RefusalCode

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Answer:
    """Status and JSON text of a finished request; `replayed` when it is an earlier one."""

    status: int
    body: str
    replayed: bool = False
    nothing_done: bool = False
    """The request was not understood or not taken: its key is free again."""


@dataclass(frozen=True, slots=True)
class _InFlight:
    fingerprint: str
    answer: "asyncio.Future[Answer]"


Work = Callable[[], Awaitable[Answer]]

_running_key: ContextVar[str | None] = ContextVar("running_key", default=None)
"""The key under which this task is at work already."""

_NOTHING_DONE = frozenset({429, 502, 503})
"""Answers that say that nothing was carried out: the key is free again. 504 (outcome unknown) is kept,
so that a repetition can never execute twice."""


def fingerprint(method: str, path: str, body: object) -> str:
    """Return a digest that equals only for the same request."""
    text = json.dumps([method, path, body], sort_keys=True, default=str, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


class IdempotentRequests:
    """Runs each key once. Two concurrent requests of one key share one execution. Event-loop thread only."""

    def __init__(self, queries: Queries, clock: Clock) -> None:
        self._queries = queries
        self._clock = clock
        self._in_flight: dict[str, _InFlight] = {}

    async def run(self, key: str, mark: str, work: Work, again: Work | None = None) -> Answer:
        """Return the answer of `work`, or of the earlier request with that key.

        `again` serves a request that an earlier life of the process began and whose answer it did not store:
        it finds the answer in the books, or carries the request out if that cannot have a second effect.
        Raises ApiError 409 when the key was used with another request, or when it was begun and its outcome
        was never stored: then the caller must look at orders and positions before trying a new key.
        """
        if _running_key.get() == key:
            return await work()
        running = self._in_flight.get(key)
        if running is not None:
            _same_request(running.fingerprint, mark)
            answer = await asyncio.shield(running.answer)
            return Answer(answer.status, answer.body, replayed=True)
        if len(self._in_flight) >= IDEMPOTENCY_IN_FLIGHT_MAX:
            raise ApiError(
                429, RefusalCode.BOUND_REACHED.name, "Too many requests are being carried out; retry."
            )
        promise: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self._in_flight[key] = _InFlight(mark, promise)
        try:
            answer = await self._first(key, mark, work, again)
            promise.set_result(answer)
            return answer
        except BaseException as error:
            # Whoever waits for the same key gets the same failure; without a waiter nobody has to fetch it.
            failure = error if isinstance(error, Exception) else RuntimeError("the request was cancelled")
            promise.set_exception(failure)
            promise.exception()
            raise
        finally:
            del self._in_flight[key]

    async def _first(self, key: str, mark: str, work: Work, again: Work | None) -> Answer:
        stored = await self._queries.begin_idempotent(key, mark, self._clock.now_ms())
        if stored is not None and (stored.status is not None or again is None or stored.fingerprint != mark):
            return _replay(stored, mark)
        token = _running_key.set(key)
        try:
            # If this raises, what was reached is not known: the key stays reserved, a repetition looks first.
            answer = await (work() if stored is None or again is None else again())
        finally:
            _running_key.reset(token)
        try:
            if answer.nothing_done or answer.status in _NOTHING_DONE:
                await self._queries.forget_idempotent(key)
            else:
                await self._queries.finish_idempotent(key, answer.status, answer.body)
        except LedgerError as error:
            # The request was carried out and its caller must hear so; a repetition is told to look first.
            log.error("the result of an idempotency key could not be stored: %s", error)
        return answer


def _same_request(known: str, mark: str) -> None:
    if known != mark:
        code = RefusalCode.IDEMPOTENCY_CONFLICT
        raise ApiError(code.http_status, code.name, code.meaning)


def _replay(stored: StoredResult, mark: str) -> Answer:
    _same_request(stored.fingerprint, mark)
    if stored.status is None:
        raise outcome_unknown()
    return Answer(stored.status, stored.body, replayed=True)


def outcome_unknown() -> ApiError:
    """The answer to a repetition while nobody can tell what the first request did."""
    return ApiError(
        409,
        RefusalCode.EXECUTION_UNKNOWN.name,
        "An earlier request with this key was begun and its outcome was not stored; look at orders and "
        "positions before sending it with a new key.",
    )
