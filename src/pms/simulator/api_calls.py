"""What a frame on the WebSocket trading API asks for: method, parameters, what was signed (spec 6)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import msgspec
from msgspec import Raw

from pms.exchange.messages import ErrorBody, decode_message

METHODS: dict[str, tuple[str, str]] = {
    "order.place": ("POST", "/fapi/v1/order"),
    "order.modify": ("PUT", "/fapi/v1/order"),
    "order.cancel": ("DELETE", "/fapi/v1/order"),
    "order.status": ("GET", "/fapi/v1/order"),
    "algoOrder.place": ("POST", "/fapi/v1/algoOrder"),
    "algoOrder.cancel": ("DELETE", "/fapi/v1/algoOrder"),
    "account.status": ("GET", "/fapi/v2/account"),
    "v2/account.status": ("GET", "/fapi/v3/account"),
    "account.balance": ("GET", "/fapi/v2/balance"),
    "v2/account.balance": ("GET", "/fapi/v3/balance"),
    "account.position": ("GET", "/fapi/v2/positionRisk"),
    "v2/account.position": ("GET", "/fapi/v3/positionRisk"),
    "depth": ("GET", "/fapi/v1/depth"),
    "ticker.price": ("GET", "/fapi/v2/ticker/price"),
    "ticker.book": ("GET", "/fapi/v1/ticker/bookTicker"),
    "userDataStream.start": ("POST", "/fapi/v1/listenKey"),
    "userDataStream.ping": ("PUT", "/fapi/v1/listenKey"),
    "userDataStream.stop": ("DELETE", "/fapi/v1/listenKey"),
}
"""Each method by the REST endpoint that serves it: one handler for both doors."""

SESSION_METHODS = ("session.logon", "session.status", "session.logout")

INVALID_JSON = ErrorBody(-1135, "Invalid JSON Request")
NO_METHOD = ErrorBody(-1102, "Mandatory parameter 'method' was not sent, was empty/null, or malformed.")
NO_PARAMS = ErrorBody(-1102, "Mandatory parameter 'params' was not sent, was empty/null, or malformed.")
UNKNOWN_METHOD = ErrorBody(-1020, "This operation is not supported.")


@dataclass(frozen=True, slots=True)
class ApiCall:
    """One request. `params` without `signature`, as text; `shows_limits` None when it does not say."""

    id: int | str | None
    method: str
    params: dict[str, str]
    signature: str
    shows_limits: bool | None


@dataclass(frozen=True, slots=True)
class Malformed:
    """A frame that is no request."""

    id: int | str | None
    error: ErrorBody


class _Frame(msgspec.Struct):
    id: object = None
    method: object = None
    params: Raw = Raw(b"{}")


_frame_decoder = msgspec.json.Decoder(_Frame)
_params_decoder = msgspec.json.Decoder(dict[str, Raw])


def parse(text: str) -> ApiCall | Malformed:
    """Return the request of a text frame."""
    try:
        frame = decode_message(_frame_decoder, text)
    except msgspec.DecodeError:
        return Malformed(None, INVALID_JSON)
    number = frame.id
    if number is not None and (isinstance(number, bool) or not isinstance(number, int | str)):
        return Malformed(None, INVALID_JSON)
    if not isinstance(frame.method, str):
        return Malformed(number, NO_METHOD)
    try:
        raw = decode_message(_params_decoder, frame.params)
    except msgspec.DecodeError:
        return Malformed(number, NO_PARAMS)
    params = {name: _text(value) for name, value in raw.items()}
    shown = params.get("returnRateLimits")
    signature = params.pop("signature", "")
    return ApiCall(number, frame.method, params, signature, None if shown is None else shown == "true")


def _text(value: Raw) -> str:
    """Return a parameter as it is signed: text without quotes, numbers and booleans as they were written."""
    written = bytes(value).decode()
    return str(msgspec.json.decode(value)) if written.startswith('"') else written


def signed_text(params: Mapping[str, str]) -> str:
    """Return what is signed: all parameters but the signature, sorted by name, raw values (spec 6)."""
    return "&".join(f"{name}={params[name]}" for name in sorted(params))
