"""What the exchange says that our types do not know: unknown fields, values and events, counted and kept.

Tolerant readers ignore what is new (Binance spec 5.5), so that a release of the venue does not stop trading;
the census makes sure that somebody hears of it. Requests' answers and private events are looked at in full,
market frames by sample: the first of each kind and every thousandth. Nothing here decides anything.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import msgspec
from msgspec import inspect

from pms.exchange.messages import ErrorBody, UnknownEvent
from pms.exchange.messages_answers import ANSWERS
from pms.exchange.messages_user import USER_EVENT_TYPES
from pms.exchange.messages_values import KNOWN_VALUES

log = logging.getLogger("pms.exchange.census")

ENTRIES_MAX = 500
"""Different findings that are kept. Overflow: a further new one is only counted."""
SAMPLE_CHARACTERS_MAX = 120
ROWS_MAX = 50
"""Rows of a list that are looked at, spread evenly over it."""
FIRST_FRAMES = 20
EVERY_FRAME = 1000

_decode = msgspec.json.Decoder().decode


@dataclass(slots=True)
class Finding:
    """One thing nobody here knows: how often it came, when first and last (Unix ms), and what it was last."""

    kind: str
    message: str
    name: str
    count: int
    first_ms: int
    last_ms: int
    sample: str


@dataclass(frozen=True, slots=True)
class CensusStatistics:
    """`findings` as of now, most frequent first; `looked` messages were examined, `overflowed` not kept."""

    findings: tuple[Finding, ...]
    looked: int
    overflowed: int


class _Shape:
    """The known fields of one struct: for each wire name its own shape and its known values."""

    __slots__ = ("array", "fields", "name")

    def __init__(self, name: str, array: bool) -> None:
        self.name = name
        self.array = array
        self.fields: dict[str, tuple[_Shape | None, frozenset[str] | None]] = {}


class _Shapes:
    """Shapes of types, built once for each. A type without structs inside has none."""

    def __init__(self) -> None:
        self._of_struct: dict[object, _Shape] = {}
        self._of_type: dict[object, _Shape | None] = {}

    def of(self, kind: Any) -> _Shape | None:  # noqa: ANN401 - any type that msgspec decodes
        """Return the shape of the structs inside `kind`; a union of structs counts as one with all fields."""
        if kind not in self._of_type:
            self._of_type[kind] = self._built(inspect.type_info(kind))
        return self._of_type[kind]

    def _built(self, info: inspect.Type) -> _Shape | None:
        match info:
            case inspect.StructType():
                return self._struct(info)
            case inspect.ListType() | inspect.VarTupleType():
                return self._built(info.item_type)
            case inspect.DictType():
                return self._built(info.value_type)
            case inspect.UnionType():
                return self._union([shape for each in info.types if (shape := self._built(each))])
        return None

    def _struct(self, info: inspect.StructType) -> _Shape:
        # A generic struct is one class with many types of data.
        key = (info.cls, tuple(repr(field.type) for field in info.fields))
        shape = self._of_struct.get(key)
        if shape is None:
            shape = self._of_struct[key] = _Shape(info.cls.__name__, info.array_like)
            if info.tag_field is not None:
                shape.fields[info.tag_field] = None, None
            known = KNOWN_VALUES.get(info.cls, {})
            for field in info.fields:
                shape.fields[field.encode_name] = self._built(field.type), known.get(field.name)
        return shape

    @staticmethod
    def _union(shapes: list[_Shape]) -> _Shape | None:
        if len(shapes) < 2:
            return shapes[0] if shapes else None
        both = _Shape("/".join(shape.name for shape in shapes), False)
        for shape in shapes:
            both.fields.update(shape.fields)
        return both


class Census:
    """Counts what is new. Not for use from more than one thread. `now_ms` gives Unix ms."""

    def __init__(self, now_ms: Callable[[], int]) -> None:
        self._now_ms = now_ms
        self._shapes = _Shapes()
        self._error = _Shape("ErrorBody", False)
        self._error.fields = {"code": (None, None), "msg": (None, None)}
        self._findings: dict[tuple[str, str, str], Finding] = {}
        self._frames: dict[object, int] = {}
        self._looked = self._overflowed = 0

    def statistics(self) -> CensusStatistics:
        """Return what was found until now."""
        ordered = sorted(self._findings.values(), key=lambda each: -each.count)
        return CensusStatistics(tuple(ordered), self._looked, self._overflowed)

    def answer(self, method: str, path: str, body: bytes) -> None:
        """Look at the answer to a request; one that is no JSON object or list is another part's concern."""
        if body.startswith(b'{"code":'):
            self.look(ErrorBody, body)
            return
        kind = ANSWERS.get((method, path))
        if kind is not None:
            self.look(kind, body)

    def user_event(self, event: object, raw: bytes) -> None:
        """Look at a private event after it was decoded from `raw`, wrapped or not."""
        if not isinstance(event, UnknownEvent):
            self.look(type(event), raw)
        elif event.event_type in USER_EVENT_TYPES:
            self._count("event", event.event_type, "unreadable", raw)
        else:
            self._count("event", event.event_type or "?", "", raw)

    def wants(self, kind: object) -> bool:
        """Tell whether this market frame is due; `kind` is what frames are counted by, such as its type."""
        number = self._frames[kind] = self._frames.get(kind, 0) + 1
        return number <= FIRST_FRAMES or number % EVERY_FRAME == 0

    def strange_frame(self, raw: bytes) -> None:
        """Count a market frame of a type that nobody here knows."""
        try:
            body = _decode(raw)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            self._count("event", "no JSON", "", raw)
            return
        data = body.get("data", body) if isinstance(body, dict) else body
        name = data.get("e") if isinstance(data, dict) else None
        self._count("event", str(name or "?")[:SAMPLE_CHARACTERS_MAX], "", raw)

    def look(self, kind: Any, raw: bytes) -> None:  # noqa: ANN401 - any type that msgspec decodes
        """Compare a message with the type it was read as. Never raises for what the venue sent."""
        shape = self._shapes.of(kind)
        if shape is None:
            return
        try:
            value = _decode(raw)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return
        self._looked += 1
        if isinstance(value, dict) and "data" in value and "stream" in value and "data" not in shape.fields:
            value = value["data"]
        self._walk(shape, value)

    def _walk(self, shape: _Shape, value: object) -> None:
        if isinstance(value, list):
            if shape.array and value and not isinstance(value[0], list):
                if len(value) > len(shape.fields):
                    self._count("field", shape.name, f"[{len(shape.fields)}]", value[len(shape.fields)])
                return
            for row in value if len(value) <= ROWS_MAX else value[:: -(-len(value) // ROWS_MAX)]:
                self._walk(shape, row)
        elif isinstance(value, dict):
            if "code" in value and "code" not in shape.fields:
                # An element of a batch that failed (spec 2.2).
                shape = self._error
            if shape.fields and value and shape.fields.keys().isdisjoint(value):
                # A table by name (a symbol, a market): the rows are its values.
                for row in list(value.values())[:ROWS_MAX]:
                    self._walk(shape, row)
                return
            self._fields(shape, value)

    def _fields(self, shape: _Shape, value: Mapping[str, object]) -> None:
        fields = shape.fields
        for name, part in value.items():
            known = fields.get(name)
            if known is None:
                self._count("field", shape.name, name, part)
                continue
            inner, values = known
            if values is not None:
                for each in part if isinstance(part, list) else (part,):
                    if isinstance(each, str) and each not in values:
                        self._count("value", shape.name, f"{name}={each[:SAMPLE_CHARACTERS_MAX]}", each)
            if inner is not None:
                self._walk(inner, part)

    def _count(self, kind: str, message: str, name: str, sample: object) -> None:
        message, name = message[:SAMPLE_CHARACTERS_MAX], name[:SAMPLE_CHARACTERS_MAX]
        key = kind, message, name
        now_ms = self._now_ms()
        finding = self._findings.get(key)
        if finding is None:
            if len(self._findings) >= ENTRIES_MAX:
                self._overflowed += 1
                return
            finding = self._findings[key] = Finding(kind, message, name, 0, now_ms, now_ms, "")
            log.warning("the exchange sends what this version does not know: %s %s %s", kind, message, name)
        finding.count += 1
        finding.last_ms = now_ms
        finding.sample = _text(sample)


def _text(sample: object) -> str:
    if isinstance(sample, bytes):
        return sample[:SAMPLE_CHARACTERS_MAX].decode("utf-8", "replace")
    return repr(sample)[:SAMPLE_CHARACTERS_MAX]
