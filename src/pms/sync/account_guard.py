"""The guard of decision 15: the real account is one-way, cross and single-asset, or takes no new exposure.

Read at the start, every minute, and at once when the exchange tells of a change. A wrong mode of the account
halts new exposure everywhere, isolated margin only on its symbol; reducing stays possible, and what is mended
on the exchange is released at the next reading. What cannot be read changes nothing.
"""

import asyncio
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

import structlog

from pms.exchange.errors import AccountGuardError, ExchangeError
from pms.exchange.port import AccountMode, AccountView, SymbolSettings
from pms.execution.admission import TradingSwitches
from pms.model.clock import Clock, set_within
from pms.model.symbol import Symbol

log = structlog.get_logger(__name__)

GUARD_SECONDS = 60.0

RECHECK_SECONDS_MIN = 2.0
"""Least time between two readings: a burst of changes on the exchange causes one."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """`halted_because` is empty while the account's mode is right; `isolated`: used symbols not on cross."""

    halted_because: str
    isolated: frozenset[Symbol]


@dataclass(frozen=True, slots=True)
class GuardStatistics:
    """The verdict of the last reading; counts since the start."""

    verdict: Verdict
    readings: int
    failures: int


def judge(mode: AccountMode, settings: Mapping[Symbol, SymbolSettings], used: Iterable[Symbol]) -> Verdict:
    """Return what of the account's settings forbids new exposure. Pure."""
    because = ""
    if not mode.one_way:
        because = "the exchange account is in hedge mode; switch it to one-way mode"
    elif not mode.single_asset:
        because = "the exchange account is in multi-asset mode; switch it to single-asset"
    elif not mode.can_trade:
        because = "the exchange account may not trade; check the key's permissions"
    isolated = (symbol for symbol in used if symbol in settings and not settings[symbol].cross_margin)
    return Verdict(because, frozenset(isolated))


async def require_mode(account: AccountView) -> None:
    """Read the account's mode once. Raises AccountGuardError when it is wrong, ExchangeError when it cannot
    be read."""
    because = judge(await account.mode(), {}, ()).halted_because
    if because:
        raise AccountGuardError(because)


class AccountGuard:
    """Sets the trading switches by the real account's settings. One `run` at a time."""

    def __init__(
        self,
        account: AccountView,
        switches: TradingSwitches,
        used: Callable[[], Iterable[Symbol]],
        clock: Clock,
        interval_seconds: float = GUARD_SECONDS,
        on_leverages: Callable[[Mapping[Symbol, int]], None] | None = None,
    ) -> None:
        self._account = account
        self._switches = switches
        self._used = used
        self._clock = clock
        self._interval_seconds = interval_seconds
        self._on_leverages = on_leverages
        self._changed = asyncio.Event()
        self._verdict = Verdict("", frozenset())
        self._leverages: dict[Symbol, int] = {}
        self._readings = self._failures = 0

    def recheck(self) -> None:
        """Read again at once: somebody changed the account's settings."""
        self._changed.set()

    def leverage(self, symbol: Symbol) -> int | None:
        """Return the real leverage as last read, None when the exchange did not tell it."""
        return self._leverages.get(symbol)

    async def require(self) -> None:
        """Read once, for the start. Raises AccountGuardError when the account's mode is wrong, ExchangeError
        when it cannot be read."""
        await self.read()
        if self._verdict.halted_because:
            raise AccountGuardError(self._verdict.halted_because)

    async def read(self) -> None:
        """Read the settings and set the switches. Raises ExchangeError; then nothing changed."""
        mode = await self._account.mode()
        settings = await self._account.symbol_settings()
        self._readings += 1
        self._apply(judge(mode, settings, self._used()))
        self._note_leverages(settings)

    async def run(self) -> None:
        """Read every minute and after each change until cancelled."""
        while True:
            told = await set_within(self._changed, self._clock, self._interval_seconds)
            self._changed.clear()
            try:
                await self.read()
            except ExchangeError as error:
                self._failures += 1
                log.warning("account_guard_unknown", error=str(error))
                if told:
                    self._changed.set()  # a change that we know of is read as soon as it can be
            await self._clock.sleep(min(RECHECK_SECONDS_MIN, self._interval_seconds))

    def statistics(self) -> GuardStatistics:
        return GuardStatistics(self._verdict, self._readings, self._failures)

    def _apply(self, verdict: Verdict) -> None:
        before, self._verdict = self._verdict, verdict
        self._switches.halted = bool(verdict.halted_because)
        self._switches.isolated = verdict.isolated
        if verdict == before:
            return
        if verdict.halted_because or verdict.isolated:
            log.error(
                "account_guard",
                error=verdict.halted_because or "isolated margin; set it to cross on the exchange",
                isolated=sorted(verdict.isolated),
            )
        else:
            log.warning("account_guard_released")

    def _note_leverages(self, settings: Mapping[Symbol, SymbolSettings]) -> None:
        leverages = {symbol: each.leverage for symbol, each in settings.items()}
        for symbol in self._used():
            before, now = self._leverages.get(symbol), leverages.get(symbol)
            if before is not None and now is not None and before != now:
                log.warning("real_leverage_changed", symbol=symbol, before=before, now=now)
        self._leverages = leverages
        if self._on_leverages is not None:
            self._on_leverages(leverages)
