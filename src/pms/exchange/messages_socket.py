"""Requests and replies on sockets: stream commands and the WebSocket API (Binance spec 4.1 and 6)."""

from __future__ import annotations

from typing import Generic, TypeVar

from msgspec import UNSET, Raw, Struct, UnsetType

from pms.exchange.messages_base import ErrorBody, Wire
from pms.exchange.messages_symbols import RateLimit

ResultT = TypeVar("ResultT")

ApiValue = str | int | float | bool | None | list[str | int]
"""A parameter of a WebSocket API request: integers as JSON integers, decimals as text (spec 6)."""


class CommandRequest(Struct, frozen=True, gc=False):
    """A client's message on a stream socket: SUBSCRIBE, UNSUBSCRIBE, LIST_SUBSCRIPTIONS."""

    method: str
    params: list[str] = []
    id: int | str | None = None


class CommandReply(Struct, frozen=True, gc=False, omit_defaults=True):
    """Answer to SUBSCRIBE and the like: `result` null means done; `error` on refusal. Ids may be text."""

    id: int | str | UnsetType | None = UNSET
    result: list[str] | bool | UnsetType | None = UNSET
    error: ErrorBody | None = None


class ApiRequest(Struct, frozen=True, gc=False):
    """A request on the WebSocket API socket; the reply echoes `id`."""

    id: int | str | None
    method: str
    params: dict[str, ApiValue] = {}


class ApiReply(Wire, Generic[ResultT], frozen=True, omit_defaults=True):
    """A reply whose method is known: `result` of it on status 200, else `error`; replies come in any order.

    `id` is null when the venue speaks of the session and not of a request.
    """

    id: int | str | None
    status: int
    result: ResultT | UnsetType = UNSET
    error: ErrorBody | None = None
    rate_limits: list[RateLimit] | None = None


class ApiFrame(Wire, frozen=True, omit_defaults=True):
    """A reply before its method is looked up by `id`; `result` is the undecoded JSON."""

    id: int | str | None
    status: int
    result: Raw | UnsetType = UNSET
    error: ErrorBody | None = None
    rate_limits: list[RateLimit] | None = None
