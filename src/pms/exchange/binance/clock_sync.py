"""The exchange's time: its offset to our clock, measured by round trips, again and again as clocks drift."""

from collections.abc import Awaitable, Callable

from pms.model.clock import Clock

STEP_MS = 500
"""Our clock was set when it moved by more than that against the time that passed."""

SAMPLES = 3
"""Round trips of one measurement; the shortest decides, because its halving errs least."""


class ClockSync:
    """Tells the exchange's time. Reads GET /fapi/v1/time, never exchangeInfo (Binance spec 1.3)."""

    def __init__(self, clock: Clock, read_server_time: Callable[[], Awaitable[int]]) -> None:
        self._clock = clock
        self._read_server_time = read_server_time
        self.offset_ms = 0
        self.round_trip_ms = 0.0
        self.measurements = 0
        self._lead_ms = self._lead()

    def exchange_now_ms(self) -> int:
        """Return the exchange's time as estimated now, Unix ms."""
        return self._clock.now_ms() + self.offset_ms

    async def measure(self) -> None:
        """Measure the offset. Raises ExchangeError when the exchange cannot be asked; the old one stays."""
        best: tuple[float, int] | None = None
        for _ in range(SAMPLES):
            started = self._clock.monotonic()
            server_ms = await self._read_server_time()
            round_trip_ms = (self._clock.monotonic() - started) * 1000
            offset_ms = round(server_ms + round_trip_ms / 2) - self._clock.now_ms()
            if best is None or round_trip_ms < best[0]:
                best = (round_trip_ms, offset_ms)
        if best is not None:
            self.round_trip_ms, self.offset_ms = best
            self.measurements += 1
            self._lead_ms = self._lead()

    def stepped(self) -> bool:
        """Tell whether our clock was set since the last measurement, which is worth nothing then."""
        return abs(self._lead() - self._lead_ms) > STEP_MS

    def _lead(self) -> float:
        return self._clock.now_ms() - self._clock.monotonic() * 1000
