"""The JSON requests of a stream connection, and how each wrong one is answered (Binance spec 4.1)."""

from __future__ import annotations

from dataclasses import dataclass

import msgspec

from pms.exchange.messages import ErrorBody, decode_message

METHODS = ("SUBSCRIBE", "UNSUBSCRIBE", "LIST_SUBSCRIPTIONS", "SET_PROPERTY", "GET_PROPERTY")

NAME_CHARACTERS_MAX = 500
"""Far above any real name; what a connection may make the exchange remember has a bound."""


class _Wire(msgspec.Struct):
    method: object = None
    params: object = None
    id: object = None


@dataclass(frozen=True, slots=True)
class Command:
    """A legal request. `names` are streams, or the property's name; `value` is what a property is set to."""

    method: str
    names: tuple[str, ...] = ()
    value: bool = False
    id: int | str | None = None


@dataclass(frozen=True, slots=True)
class Wrong:
    """An illegal one; `ends` disconnects."""

    error: ErrorBody
    id: int | str | None = None
    ends: bool = False


_decoder = msgspec.json.Decoder(_Wire)


def parse(text: str) -> Command | Wrong:
    """Return the request of a text frame. Ids may be integers or strings; both are echoed (spec 4.1)."""
    try:
        raw = decode_message(_decoder, text)
    except msgspec.ValidationError:
        return Wrong(ErrorBody(2, "Invalid request: request must be an object"))
    except msgspec.DecodeError:
        return Wrong(ErrorBody(3, "Invalid JSON: expected value at line 1 column 1"), ends=True)
    if raw.id is not None and (isinstance(raw.id, bool) or not isinstance(raw.id, int | str)):
        return Wrong(_invalid("request ID must be an unsigned integer or a string"))
    number = raw.id
    if raw.method is None:
        return Wrong(_invalid("missing field `method`"), number)
    if raw.method not in METHODS or not isinstance(raw.method, str):
        known = ", ".join(f"`{method}`" for method in METHODS)
        return Wrong(_invalid(f"unknown variant `{raw.method}`, expected one of {known}"), number)
    params = raw.params if raw.params is not None else []
    if not isinstance(params, list):
        return Wrong(_invalid("params must be an array"), number)
    if raw.method in ("SET_PROPERTY", "GET_PROPERTY"):
        return _property(raw.method, params, number)
    if not all(isinstance(name, str) for name in params):
        return Wrong(_invalid("stream names must be strings"), number)
    if any(len(name) > NAME_CHARACTERS_MAX for name in params):
        return Wrong(_invalid(f"a stream name has at most {NAME_CHARACTERS_MAX} characters"), number)
    if raw.method != "LIST_SUBSCRIPTIONS" and raw.params is None:
        return Wrong(_invalid("missing field `params`"), number)
    return Command(raw.method, tuple(params), id=number)


def _property(method: str, params: list[object], number: int | str | None) -> Command | Wrong:
    if len(params) > (2 if method == "SET_PROPERTY" else 1):
        return Wrong(_invalid("too many parameters"), number)
    if not params or not isinstance(params[0], str):
        return Wrong(_invalid("property name must be a string"), number)
    if params[0] != "combined":
        return Wrong(ErrorBody(0, "Unknown property"), number)
    if method == "GET_PROPERTY":
        return Command(method, ("combined",), id=number)
    if len(params) < 2 or not isinstance(params[1], bool):
        return Wrong(ErrorBody(1, "Invalid value type: expected Boolean"), number)
    return Command(method, ("combined",), params[1], number)


def _invalid(text: str) -> ErrorBody:
    return ErrorBody(2, f"Invalid request: {text}")
