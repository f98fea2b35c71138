"""One request and its answer, whichever way it travels: what was signed, what came back, what it proves."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum, auto
from typing import Protocol, TypeVar

import msgspec

from pms.exchange.binance.costs import Lane
from pms.exchange.binance.outcome import Effect, Verdict
from pms.exchange.errors import ExchangeRefusal, ExchangeUnavailable, UnreadablePayload
from pms.exchange.messages import decode_message

Parameters = Sequence[tuple[str, str]]
T = TypeVar("T")


class Security(Enum):
    """What a request carries (Binance spec 1.2). ORDER is SIGNED and additionally bound to the lease."""

    NONE = auto()
    KEY = auto()
    SIGNED = auto()
    ORDER = auto()


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer with its verdict. The last two are what the request was signed with (0: unsigned)."""

    status: int
    body: bytes
    code: int | None
    message: str
    verdict: Verdict
    timestamp_ms: int
    recv_window_ms: int

    def reason(self) -> str:
        """Return one line that says what came back."""
        return f"HTTP {self.status}: {self.message or 'no text'} ({self.code})"


@dataclass(frozen=True, slots=True)
class Silence:
    """No answer. `written` False proves that nothing left this machine for the venue."""

    written: bool
    reason: str
    retry_after_ms: int
    timestamp_ms: int
    recv_window_ms: int


class Sender(Protocol):
    """Sends single requests. Safe for concurrent use by tasks of one loop."""

    async def send(
        self,
        method: str,
        path: str,
        parameters: Parameters,
        security: Security,
        *,
        deadline_seconds: float | None = None,
        lane: Lane | None = None,
        owner: str = "",
    ) -> Answer | Silence:
        """Send one request once; never raises for what a network or a venue may do.

        `lane` None takes the endpoint's own; `owner` is the sub-account's prefix, for who spent what.
        Cancellation leaves the outcome unknown to the caller.
        """
        ...

    async def resync(self) -> None:
        """Measure the clock again; callers that come together share one measurement."""
        ...


async def read(
    sender: Sender,
    path: str,
    parameters: Parameters,
    decoder: msgspec.json.Decoder[T],
    security: Security = Security.SIGNED,
    *,
    method: str = "GET",
    deadline_seconds: float | None = None,
) -> T:
    """Ask and decode. A clock refusal is repeated once with a fresh measurement.

    Raises ExchangeUnavailable, ExchangeRefusal, or UnreadablePayload.
    """
    answer = await sender.send(method, path, parameters, security, deadline_seconds=deadline_seconds)
    if isinstance(answer, Answer) and answer.verdict.resync:
        await sender.resync()
        answer = await sender.send(method, path, parameters, security, deadline_seconds=deadline_seconds)
    if isinstance(answer, Silence):
        raise ExchangeUnavailable(f"{method} {path}: {answer.reason}")
    if answer.verdict.effect is Effect.REFUSED and answer.code is not None:
        raise ExchangeRefusal(answer.code, answer.message)
    if answer.verdict.effect is not Effect.ACCEPTED:
        raise ExchangeUnavailable(f"{method} {path}: {answer.reason()}")
    try:
        return decode_message(decoder, answer.body)
    except msgspec.DecodeError as error:
        raise UnreadablePayload(f"{method} {path}: the answer cannot be read: {error}") from None
