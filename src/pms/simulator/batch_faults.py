"""A batch in which chosen elements fail and the others go on as if they had been sent alone."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import msgspec

from pms.exchange.messages import ErrorBody, decode_message
from pms.simulator.errors import Reject
from pms.simulator.venue import Answer

LISTS = (
    "batchOrders",
    "orderIdList",
    "orderidlist",
    "origClientOrderIdList",
    "origclientorderidlist",
)
_decoder = msgspec.json.Decoder()


def run(
    params: Mapping[str, str], failing: Mapping[int, Reject], handle: Callable[[Mapping[str, str]], Answer]
) -> Answer:
    """Run a batch without its failing elements and put their errors back in their places.

    A request that is no batch, or whose list cannot be read, is handled as it is.
    """
    name = next((n for n in LISTS if params.get(n)), None)
    if name is None:
        return handle(params)
    try:
        elements = decode_message(_decoder, params[name])
    except msgspec.DecodeError:
        return handle(params)
    if not isinstance(elements, list):
        return handle(params)
    kept = [element for place, element in enumerate(elements) if place not in failing]
    answers: list[Answer] = []
    if kept:
        answered = handle({**params, name: msgspec.json.encode(kept).decode()})
        if not isinstance(answered, list):
            return answered
        answers = answered
    rest = iter(answers)
    return [
        ErrorBody(failing[place].code, failing[place].msg) if place in failing else next(rest)
        for place in range(len(elements))
    ]
