"""WebSocket frames: the envelope of gateway spec 7.2, encoded once however many browsers receive it."""

from collections.abc import Mapping

import msgspec

from pms.model.event import DurableEvent, EphemeralEvent

_ENCODER = msgspec.json.Encoder()
"""Turns NaN and infinities into null, never into bare words (H-31)."""


class Frame:
    """One frame. The text is made when it is first needed: values replaced before are never encoded."""

    __slots__ = ("_content", "_text")

    def __init__(self, content: Mapping[str, object]) -> None:
        self._content: Mapping[str, object] | None = content
        self._text = ""

    @property
    def text(self) -> str:
        if self._content is not None:
            self._text = _ENCODER.encode(self._content).decode()
            self._content = None
        return self._text


def message(type: str, data: Mapping[str, object], timestamp_ms: int, **fields: object) -> Frame:
    """Make a frame of our own (`subscribed`, snapshots, `price_update`)."""
    return Frame({"type": type, "data": data, "timestamp": timestamp_ms, **fields})


def durable(event: DurableEvent, epoch: str) -> Frame:
    """Make the frame of a committed event, with its per-account `seq`."""
    data = {"subAccountId": event.sub_account_id, **event.data}
    return Frame(
        {
            "type": event.type,
            "data": data,
            "timestamp": event.timestamp_ms,
            "seq": event.sequence,
            "epoch": epoch,
        }
    )


def ephemeral(event: EphemeralEvent) -> Frame:
    """Make the frame of a coalescable event; `afterSeq` orders it behind durable ones."""
    data = dict(event.data)
    if event.sub_account_id is not None:
        data.setdefault("subAccountId", event.sub_account_id)
    return Frame(
        {"type": event.type, "data": data, "timestamp": event.timestamp_ms, "afterSeq": event.after_sequence}
    )
