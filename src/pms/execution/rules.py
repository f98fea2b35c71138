"""Keeps the further rules: follows orders, holdings and equity, records breaches, and ends what has ended.

Per tick one vectorised step over the accounts with loss rules; exact work only for whom it names, and for
accounts whose own commits changed them. Everything that must outlive the process is in the ledger.
"""

import asyncio
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, replace
from decimal import Decimal

import structlog

from pms.execution.holdings import Holdings
from pms.execution.prices import Prices
from pms.ledger.api import Committed
from pms.ledger.ledger import LedgerService
from pms.limits import RULE_ORDERS_KEPT_MAX, RULE_SWEEP_MS
from pms.model.account import SubAccount
from pms.model.clock import Clock, set_within
from pms.model.errors import PmsError
from pms.model.ids import SubAccountId
from pms.model.money import ZERO
from pms.model.price import STALE_AFTER_MS, MarkPrice
from pms.model.refusal import Refusal
from pms.model.symbol import Symbol
from pms.model.trading_rules import Breach, EquityMark, RuleAction, RuleName, RuleSet, TradingRules
from pms.risk import rules as judge
from pms.risk.book import RiskBook
from pms.risk.gate import MarkedPosition
from pms.risk.watch import LossWatch, peak_after

log = structlog.get_logger(__name__)

PEAK_FLUSH_SWEEPS = 5
ACCOUNTS_AT_ONCE = 50


@dataclass(frozen=True, slots=True)
class RuleStatistics:
    """`watched` accounts now; counts since the start."""

    watched: int
    judged: int
    breaches: int
    released: int


class RuleWatch:
    """Event-loop thread only; `run` must be active."""

    def __init__(
        self, ledger: LedgerService, book: RiskBook, holdings: Holdings, prices: Prices, clock: Clock
    ) -> None:
        self._ledger = ledger
        self._book = book
        self._holdings = holdings
        self._prices = prices
        self._clock = clock
        self._watch = LossWatch()
        self._orders: dict[SubAccountId, deque[int]] = {}
        self._changed: dict[SubAccountId, None] = {}
        self._suspects: dict[SubAccountId, None] = {}
        self._found: dict[tuple[SubAccountId, RuleName], Breach] = {}
        self._heard: dict[SubAccountId, EquityMark] = {}
        self._warned: dict[tuple[SubAccountId, RuleName], str] = {}
        self._wake = asyncio.Event()
        self._sweep_due_ms = 0
        self._sweeps = self._judged = self._breaches = self._released = 0

    # --- what the gate asks: synchronous ---

    def entry_refusals(
        self, account_id: SubAccountId, symbol: Symbol, ordered: Iterable[Symbol] = ()
    ) -> tuple[Refusal, ...]:
        """Return what the account's rules say against an entry on the symbol now; `ordered` are the symbols
        of its orders that may still open a position."""
        rules = self._rules(account_id)
        if rules is None:
            return ()
        held = [position.symbol for position in self._holdings.of_account(account_id)]
        return judge.entry_refusals(rules, symbol, (*held, *ordered), self._recent(account_id))

    def note_order(self, account_id: SubAccountId) -> None:
        """Count an order that was admitted."""
        rules = self._rules(account_id)
        if rules is None or rules.order_rate is None:
            return
        self._orders.setdefault(account_id, deque(maxlen=RULE_ORDERS_KEPT_MAX)).append(self._clock.now_ms())
        self._rate(account_id, rules, self._recent(account_id))

    def note_refused(self, account_id: SubAccountId) -> None:
        """Note that an order was refused for its rate: the attempt breaks the rule."""
        rules = self._rules(account_id)
        if rules is not None:
            self._rate(account_id, rules, self._recent(account_id) + 1)

    # --- what happens: synchronous ---

    def on_mark(self, mark: MarkPrice) -> None:
        """Take a tick, after the risk book has."""
        if not len(self._watch):
            return
        suspects = self._watch.step(self._book.equities(self._watch.rows))
        if suspects:
            self._suspects.update(dict.fromkeys(suspects))
            self._wake.set()

    def on_commit(self, committed: Committed) -> None:
        """Follow one commit, after the risk book has."""
        for rules in committed.rule_sets:
            scope = rules.sub_account_id
            self._changed.update(dict.fromkeys([scope] if scope else self._everybody()))
        for entry in committed.restrictions:
            if entry.sub_account_id is None or not entry.source.startswith("rule:"):
                continue
            self._changed[entry.sub_account_id] = None
        for mark in committed.equity_marks:
            self._hear(mark)
        touched = [account.id for account in committed.accounts]
        touched += [position.sub_account_id for position in committed.positions]
        touched += [mark.sub_account_id for mark in committed.equity_marks]
        for account_id in dict.fromkeys(touched):
            if self._rules(account_id) is not None:
                self._changed[account_id] = None
        if self._changed:
            self._wake.set()

    # --- the loop ---

    async def run(self) -> None:
        """Judge until cancelled; begins with every account that has rules."""
        await self.begin()
        while True:
            try:
                await self.work()
                if self._clock.now_ms() >= self._sweep_due_ms:
                    self._sweep_due_ms = self._clock.now_ms() + RULE_SWEEP_MS
                    await self.sweep()
            except PmsError as error:
                log.error("rules_interrupted", error=str(error))
                await self._clock.sleep(RULE_SWEEP_MS / 1000)
                continue
            await set_within(self._wake, self._clock, RULE_SWEEP_MS / 1000)
            self._wake.clear()

    async def begin(self) -> None:
        """Take up what the process before left: the orders of this minute, today's warnings."""
        now_ms = self._clock.now_ms()
        for account_id, at_ms in await self._ledger.queries.orders_since(now_ms - judge.MINUTE_MS):
            self._orders.setdefault(account_id, deque(maxlen=RULE_ORDERS_KEPT_MAX)).append(at_ms)
        for account_id, row in await self._ledger.queries.breaches_since(now_ms - now_ms % judge.DAY_MS):
            if row.action == RuleAction.WARN:
                self._warned[(account_id, RuleName(row.rule))] = self._told(row.rules_version)
        for account_id in self._everybody():
            mark = self._ledger.equity_mark(account_id)
            if mark is not None:
                self._heard[account_id] = mark
        self._changed.update(dict.fromkeys(self._everybody()))

    async def work(self) -> None:
        """Judge whoever changed or was named, once. What an error interrupts is judged the next time."""
        while self._found:
            (account_id, name), breach = next(iter(self._found.items()))
            await self._record(account_id, breach)
            self._found.pop((account_id, name), None)
        waiting = {**self._changed, **self._suspects}
        self._changed, self._suspects = {}, {}
        try:
            for number, account_id in enumerate(list(waiting)):
                await self._judge(account_id)
                del waiting[account_id]
                if number % ACCOUNTS_AT_ONCE == 0:
                    await asyncio.sleep(0)  # commands and fills come between
        finally:
            self._changed = {**waiting, **self._changed}

    async def sweep(self) -> None:
        """Look at those whose restriction may end, or whose day has; store the peaks that have grown."""
        self._sweeps += 1
        today = judge.day_of(self._clock.now_ms())
        for entry in self._ledger.restrictions():
            if entry.sub_account_id is not None and entry.source.startswith("rule:"):
                self._changed[entry.sub_account_id] = None
        grown: list[EquityMark] = []
        seen: dict[SubAccountId, tuple[SubAccount, EquityMark | None]] = {}
        for account_id in self._everybody():
            rules = self._rules(account_id)
            if rules is None or (rules.daily_loss is None and rules.trailing_drawdown is None):
                continue
            account, mark = self._ledger.account(account_id), self._ledger.equity_mark(account_id)
            if account is None or mark is None or mark.day != today:
                self._changed[account_id] = None
                continue
            peak = Decimal(repr(self._watch.peak(account_id) or 0.0))
            if peak > mark.peak_equity:
                grown.append(replace(mark, peak_equity=peak))
                seen[account_id] = (account, mark)
        if grown and self._sweeps % PEAK_FLUSH_SWEEPS == 0:
            await self._ledger.put_equity_marks(grown, seen)

    async def _judge(self, account_id: SubAccountId) -> None:
        rules = self._rules(account_id)
        account = self._ledger.account(account_id)
        if rules is None or account is None:
            self._watch.drop(account_id)
            return
        self._judged += 1
        held = [position.symbol for position in self._holdings.of_account(account_id)]
        broken = list(judge.judge_holdings(rules, held))
        if rules.daily_loss is not None or rules.trailing_drawdown is not None:
            equity = self._equity(account)
            if equity is not None:
                mark = await self._mark(account, equity)
                broken += judge.judge_equity(rules, mark, equity)
        else:
            self._watch.drop(account_id)
        await self._release(account_id, rules, {breach.rule for breach in broken})
        for breach in broken:
            await self._record(account_id, breach)
        self._follow(account_id)

    def _hear(self, mark: EquityMark) -> None:
        """Let the peak in memory follow a stored mark that a transfer or a release has changed."""
        before = self._heard.get(mark.sub_account_id)
        self._heard[mark.sub_account_id] = mark
        seen = self._watch.peak(mark.sub_account_id)
        if before is not None and seen is not None:
            self._watch.set_peak(mark.sub_account_id, peak_after(seen, before, mark))

    async def _mark(self, account: SubAccount, equity: Decimal) -> EquityMark:
        """Return the mark of today: made, moved to a new day, or begun anew after an operator's release."""
        today, owner = judge.day_of(self._clock.now_ms()), account.id
        known = self._ledger.equity_mark(owner)
        mark = known or EquityMark(owner, today, equity, equity)
        seen = Decimal(repr(self._watch.peak(owner) or 0.0))
        mark = replace(mark, peak_equity=max(mark.peak_equity, equity, seen))
        if mark.day != today:
            mark = replace(mark, day=today, day_start_equity=equity)
        begun = known is None or known.day != today or (not known.peak_equity and mark.peak_equity)
        if begun:
            await self._ledger.put_equity_marks([mark], {owner: (account, known)})
        return mark

    async def _release(self, account_id: SubAccountId, rules: TradingRules, broken: set[RuleName]) -> None:
        now_ms = self._clock.now_ms()
        for entry in self._ledger.restrictions_of(account_id):
            if entry.sub_account_id is None or not entry.source.startswith("rule:"):
                continue
            name = RuleName(entry.source.removeprefix("rule:"))
            action = rules.action_of(name) or RuleAction.LOCK
            ends = judge.releases(
                name,
                action,
                new_day=judge.day_of(entry.since_ms) != judge.day_of(now_ms),
                still_broken=name in broken,
                age_ms=now_ms - entry.since_ms,
            )
            if ends:
                self._released += 1
                await self._ledger.release_rule(account_id, entry.source, "its time has passed")

    async def _record(self, account_id: SubAccountId, breach: Breach) -> None:
        rules = self._ledger.rule_set_of(account_id)
        if rules is None:
            return
        told = self._told(rules.version)
        # A warning restricts nothing that would keep it from coming again: once a day, and per version.
        if breach.action is RuleAction.WARN and self._warned.get((account_id, breach.rule)) == told:
            return
        if await self._ledger.record_breach(account_id, breach, rules.version):
            if breach.action is RuleAction.WARN:
                self._warned[(account_id, breach.rule)] = told
            self._breaches += 1
            log.warning("rule_broken", sub_account_id=account_id, rule=breach.rule, action=breach.action)

    def _follow(self, account_id: SubAccountId) -> None:
        """Let the vectorised watch know what is left to be broken."""
        rules, mark = self._rules(account_id), self._ledger.equity_mark(account_id)
        if rules is None or mark is None:
            return
        acted = {entry.source for entry in self._ledger.restrictions_of(account_id) if entry.sub_account_id}
        version = self._version(account_id)
        acted |= {
            name.source for name in RuleName if self._warned.get((account_id, name)) == self._told(version)
        }
        left = replace(
            rules,
            daily_loss=None if RuleName.DAILY_LOSS.source in acted else rules.daily_loss,
            trailing_drawdown=None if RuleName.TRAILING_DRAWDOWN.source in acted else rules.trailing_drawdown,
        )
        peak = self._watch.peak(account_id)
        if peak is not None:
            mark = replace(mark, peak_equity=max(mark.peak_equity, Decimal(repr(peak))))
        self._watch.set(account_id, self._book.row(account_id), left, mark)

    # --- questions ---

    def _rules(self, account_id: SubAccountId) -> TradingRules | None:
        found: RuleSet | None = self._ledger.rule_set_of(account_id)
        return None if found is None else found.rules

    def _version(self, account_id: SubAccountId) -> int:
        found = self._ledger.rule_set_of(account_id)
        return 0 if found is None else found.version

    def _told(self, version: int) -> str:
        return f"{judge.day_of(self._clock.now_ms())} {version}"

    def _rate(self, account_id: SubAccountId, rules: TradingRules, orders: int) -> None:
        breach = judge.judge_rate(rules, orders)
        if breach is not None:
            self._found[(account_id, breach.rule)] = breach
            self._wake.set()

    def _recent(self, account_id: SubAccountId) -> int:
        times = self._orders.get(account_id)
        if times is None:
            return 0
        oldest = self._clock.now_ms() - judge.MINUTE_MS
        while times and times[0] <= oldest:
            times.popleft()
        return len(times)

    def _equity(self, account: SubAccount) -> Decimal | None:
        """Return exact equity at fresh marks; None while a price is missing or stale: nothing is judged on
        it (invariant 7)."""
        total = Decimal(account.cash)
        for position in self._holdings.of_account(account.id):
            mark, age_ms = self._prices.mark_price(position.symbol), self._prices.mark_age_ms(position.symbol)
            if mark is None or age_ms is None or age_ms > STALE_AFTER_MS:
                return None
            total += MarkedPosition(position, Decimal(repr(mark))).unrealized_pnl
        return total + ZERO

    def _everybody(self) -> list[SubAccountId]:
        return [account.id for account in self._ledger.accounts()]

    def statistics(self) -> RuleStatistics:
        return RuleStatistics(len(self._watch), self._judged, self._breaches, self._released)
