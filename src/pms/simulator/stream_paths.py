"""What a client asks for when it opens a stream connection: class, form, streams, keys (spec 4.1, 5.1)."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from urllib.parse import parse_qsl, unquote

PATH = re.compile(r"^/(?:(public|market|private)/)?(?:(ws)(?:/(.*[^/]))?|(stream))$")
LISTEN_KEY = re.compile(r"^[A-Za-z0-9]{60,64}$")
EVERYTHING = "all"
"""The class of an unrouted connection under `--stream-routing legacy`."""


@dataclass(slots=True)
class Opening:
    """`events` holds, by listen key, the event names that are wanted; a key that is not in it wants all."""

    traffic: str
    combined: bool
    names: list[str] = field(default_factory=list)
    events: dict[str, frozenset[str]] = field(default_factory=dict)


def parse(path: str, query: str, legacy: bool) -> Opening | None:
    """Return what a path and its query (both as received) ask for, None for a path that is not served.

    Without a class the venue delivers public-class data only, since 2026-04-23; `legacy` delivers all.
    """
    match = PATH.match(path)
    if match is None:
        return None
    traffic, _, rest, combined = match.groups()
    opening = Opening(traffic or (EVERYTHING if legacy else "public"), bool(combined))
    opening.names = [unquote(name) for name in (rest or "").split("/") if name]
    key, waiting = "", frozenset[str]()
    for name, value in parse_qsl(query):
        if name == "streams":
            opening.names += [stream for stream in value.split("/") if stream]
        elif name == "listenKey":
            key = value
            opening.names.append(key)
            if waiting:
                opening.events[key], waiting = waiting, frozenset()
        elif name == "events":
            wanted = frozenset(event for event in value.split("/") if event)
            if key:
                opening.events[key] = wanted
            else:
                waiting = wanted
    keys = [name for name in opening.names if LISTEN_KEY.match(name)]
    if waiting and keys:
        opening.events[keys[0]] = waiting
    return opening
