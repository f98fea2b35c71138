"""REST endpoints of the venue that have nothing to do here: refused, or answered without effect."""

from __future__ import annotations

from pms.simulator.errors import NOT_ALLOWED, mandatory
from pms.simulator.venue import Answer, Call, Endpoint, Venue


def _refused(venue: Venue, call: Call) -> Answer:
    """Asynchronous downloads and conversion: there is no file server and no second market here."""
    return NOT_ALLOWED


def _download(venue: Venue, call: Call) -> Answer:
    for name in ("startTime", "endTime"):
        if call.integer(name) is None:
            return mandatory(name)
    return NOT_ALLOWED


def _link(venue: Venue, call: Call) -> Answer:
    return NOT_ALLOWED if "downloadId" in call.params else mandatory("downloadId")


def _agreement(venue: Venue, call: Call) -> Answer:
    """POST stock/contract: signing the agreement on TradFi perpetuals, which nobody asks for here."""
    return {"code": 200, "msg": "success"}


ENDPOINTS: dict[tuple[str, str], Endpoint] = {
    **{
        ("GET", f"/fapi/v1/{name}/asyn"): Endpoint(_download, weight=1000)
        for name in ("income", "order", "trade")
    },
    **{
        ("GET", f"/fapi/v1/{name}/asyn/id"): Endpoint(_link, weight=10)
        for name in ("income", "order", "trade")
    },
    ("POST", "/fapi/v1/stock/contract"): Endpoint(_agreement, weight=50),
    ("GET", "/fapi/v1/pmAccountInfo"): Endpoint(_refused, weight=5),
    ("GET", "/fapi/v1/convert/exchangeInfo"): Endpoint(_refused, "NONE", 20),
    ("POST", "/fapi/v1/convert/getQuote"): Endpoint(_refused, weight=50),
    ("POST", "/fapi/v1/convert/acceptQuote"): Endpoint(_refused, weight=200),
    ("GET", "/fapi/v1/convert/orderStatus"): Endpoint(_refused, weight=50),
}
