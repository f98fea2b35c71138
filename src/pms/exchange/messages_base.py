"""What every wire payload of Binance USDⓈ-M futures shares: naming, absence, plain answers and encoding.

Rules for all `messages_*` modules (docs/decisions/0030):

1. Unknown fields are ignored here and counted by the census; a type never fails on something new.
2. Prices, quantities and money stay `str`, as on the wire; what the venue sends as a JSON number with
   decimals is `Decimal`, so that no digit is lost. Ids and times (Unix ms) are `int` of any size.
3. A field which some answers lack is None (where null never travels) or `UNSET` (where null is a value of its
   own) when absent, and stays absent when encoded. What every recorded answer carries has a `kept` default.
"""

from __future__ import annotations

from typing import TypeVar

import msgspec
from msgspec import Struct, field

ValueT = TypeVar("ValueT")


def kept(value: ValueT, name: str | None = None) -> ValueT:
    """Return a default for absent fields which, unlike msgspec's own, is written even where defaults are not.

    `value` must be immutable. `name` is the wire name where the struct's renaming does not give it.
    """
    return field(default_factory=lambda: value, name=name)


class Wire(Struct, frozen=True, gc=False, rename="camel", kw_only=True):
    """Base of all REST payloads: immutable, snake_case here and camelCase on the wire."""


class ErrorBody(Struct, frozen=True, gc=False):
    """`{"code": -1121, "msg": "Invalid symbol."}`; also the success answer of settings calls (code 200)."""

    code: int
    msg: str = ""


class Empty(Struct, frozen=True, gc=False):
    """`{}`: the answer to ping, to closing a listen key and, in older answers, to keeping one."""


encoder = msgspec.json.Encoder(decimal_format="number")
"""Encodes every type here as the venue does: `Decimal` fields are those that travel as JSON numbers."""


def decode_message(
    decoder: msgspec.json.Decoder[ValueT], raw: bytes | str | memoryview | msgspec.Raw
) -> ValueT:
    """Decode. Raises `msgspec.DecodeError`, and nothing else, for whatever the bytes are.

    The library itself raises UnicodeError for text that is no UTF-8, and RecursionError for JSON that is
    nested a thousand times: in the callback of a socket each would end more than the one message.
    """
    try:
        return decoder.decode(raw)
    except (UnicodeError, RecursionError) as error:
        raise msgspec.DecodeError(f"{type(error).__name__}: {error}") from None


def encode_message(message: object) -> bytes:
    """Encode one message, or a list of them, as the venue would send it."""
    return encoder.encode(message)
