"""The answers of an exchange in trouble, word for word (Binance spec 1.5), some of them HTML."""

from __future__ import annotations

from dataclasses import dataclass

import msgspec

from pms.exchange.messages import ErrorBody

JSON, HTML = "application/json", "text/html"

UNKNOWN_ERROR = "Unknown error, please check your request or try again later."
THROTTLED = (
    "Request throttled by system-level protection. Reduce-only/close-position orders are exempt. "
    "Please try again."
)
INTERNAL = "Internal error; unable to process your request. Please try again."
TIMED_OUT = "Timeout waiting for response from backend server. Send status unknown; execution status unknown."
UNEXPECTED = "An unexpected response was received from the message bus. Execution status unknown."
OCCURRED = "Request occur unknown error."


@dataclass(frozen=True, slots=True)
class Canned:
    """A whole answer. `executable` False: the venue only says this of requests that it did not execute."""

    status: int
    body: bytes
    content_type: str
    executable: bool
    error: ErrorBody


def _json(status: int, code: int, text: str, executable: bool) -> Canned:
    error = ErrorBody(code, text)
    return Canned(status, msgspec.json.encode(error), JSON, executable, error)


def _html(status: int, title: str, executable: bool) -> Canned:
    page = (
        f"<html>\r\n<head><title>{status} {title}</title></head>\r\n<body>\r\n"
        f"<center><h1>{status} {title}</h1></center>\r\n<hr><center>cloudfront</center>\r\n</body>\r\n</html>"
    )
    return Canned(status, page.encode(), HTML, executable, ErrorBody(-1000, title))


VARIANTS: dict[str, Canned] = {
    "503A": _json(503, -1000, UNKNOWN_ERROR, executable=True),
    "503B": _json(503, 0, "Service Unavailable.", executable=False),
    "503C": _json(503, -1008, THROTTLED, executable=False),
    "503D": _json(503, -1001, INTERNAL, executable=False),
    "503-html": _html(503, "Service Unavailable", executable=True),
    "408": _json(408, -1007, TIMED_OUT, executable=True),
    "1006": _json(400, -1006, UNEXPECTED, executable=True),
    "occur": _json(400, -1000, OCCURRED, executable=True),
    "500": _html(500, "Internal Server Error", executable=True),
    "502": _html(502, "Bad Gateway", executable=True),
    "504": _html(504, "Gateway Timeout", executable=True),
    "403": _html(403, "Forbidden", executable=False),
}
"""By name: 503A to 503D are the four texts of spec 1.5; 403 is the web application firewall."""

MAINTENANCE = ("502", "503-html", "504", "503B")
NOT_FOUND = _html(404, "Not Found", executable=False)
