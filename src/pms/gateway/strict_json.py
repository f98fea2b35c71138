"""JSON read exactly: numbers become `Decimal` from their text, and what is not JSON is refused (H-28)."""

import json
from decimal import Decimal, InvalidOperation
from typing import Annotated

from pydantic import BeforeValidator, WithJsonSchema

NUMBER_CHARACTERS_MAX = 64
MAGNITUDE_MAX = Decimal(10) ** 15
DIGITS_MAX = 38


class JsonError(ValueError):
    """The text is not acceptable JSON; the message says why."""


def _number(text: str) -> Decimal:
    if len(text) > NUMBER_CHARACTERS_MAX:
        raise JsonError(f"a number has {len(text)} characters; the bound is {NUMBER_CHARACTERS_MAX}")
    try:
        return Decimal(text)
    except InvalidOperation as error:
        raise JsonError(f"{text} is not a usable number") from error


def _integer(text: str) -> int:
    if len(text) > NUMBER_CHARACTERS_MAX:
        raise JsonError(f"a number has {len(text)} characters; the bound is {NUMBER_CHARACTERS_MAX}")
    return int(text)


def _constant(name: str) -> object:
    raise JsonError(f"{name} is not JSON")


def _object(pairs: list[tuple[str, object]]) -> dict[str, object]:
    result = dict(pairs)
    if len(result) != len(pairs):
        raise JsonError("an object names the same field twice")
    return result


def parse_json(body: bytes) -> object:
    """Return the value; floats as `Decimal`, without a detour through binary. Raises JsonError.

    Refused beside malformed text: NaN and infinities, repeated names, lone surrogates, absurdly long numbers
    and nesting that exhausts the stack.
    """
    try:
        value: object = json.loads(
            body.decode("utf-8"),
            parse_float=_number,
            parse_int=_integer,
            parse_constant=_constant,
            object_pairs_hook=_object,
        )
        if b"\\u" in body:
            json.dumps(value, ensure_ascii=False, default=str).encode("utf-8")
    except JsonError:
        raise
    except UnicodeError as error:
        raise JsonError("the text is not valid UTF-8") from error
    except json.JSONDecodeError as error:
        raise JsonError(f"{error.msg} at character {error.pos}") from error
    except RecursionError as error:
        raise JsonError("the nesting is too deep") from error
    return value


def _exact(value: object) -> Decimal:
    """Return a finite number from a JSON number or numeric text; all else is refused, null included."""
    if isinstance(value, Decimal):
        number = value
    elif isinstance(value, int) and not isinstance(value, bool):
        number = Decimal(value)
    elif isinstance(value, str):
        text = value.strip()
        if not text.isascii() or not 0 < len(text) <= NUMBER_CHARACTERS_MAX or "_" in text:
            raise ValueError("is not a number")
        try:
            number = Decimal(text)
        except InvalidOperation:
            raise ValueError("is not a number") from None
    else:
        raise ValueError("is not a number")
    if not number.is_finite():
        raise ValueError("is not a finite number")
    # By comparison, not by abs(): arithmetic on an exponent beyond the context's raises.
    if not -MAGNITUDE_MAX <= number <= MAGNITUDE_MAX:
        raise ValueError("is beyond any sensible size")
    if number and (number.adjusted() < -DIGITS_MAX or len(number.as_tuple().digits) > DIGITS_MAX):
        raise ValueError(f"has more than {DIGITS_MAX} digits")
    return number


def _positive(value: object) -> Decimal:
    number = _exact(value)
    if number <= 0:
        raise ValueError("must be greater than zero")
    return number


def _not_negative(value: object) -> Decimal:
    number = _exact(value)
    if number < 0:
        raise ValueError("must not be negative")
    return number


def _strict_bool(value: object) -> bool:
    if not isinstance(value, bool):
        raise ValueError("is not true or false")
    return value


_SCHEMA = {"anyOf": [{"type": "number"}, {"type": "string", "pattern": r"^-?\d+(\.\d+)?$"}]}

Number = Annotated[Decimal, BeforeValidator(_exact), WithJsonSchema(_SCHEMA)]
"""A finite number or its text (the incumbent coerced texts of quantity, leverage and price)."""

PositiveNumber = Annotated[
    Decimal, BeforeValidator(_positive), WithJsonSchema(_SCHEMA | {"description": "greater than 0"})
]
NotNegativeNumber = Annotated[
    Decimal, BeforeValidator(_not_negative), WithJsonSchema(_SCHEMA | {"description": "0 or greater"})
]
StrictBool = Annotated[bool, BeforeValidator(_strict_bool)]
