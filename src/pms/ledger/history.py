"""The books as of any moment: the last checkpoint before it, and the lines since.

Reads committed rows only; the past never changes, so no read here needs a lock. Memory grows with the
accounts, not with the lines: they are read in windows of links.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from pms.ledger.journal import AccountAt, Total, Totals, TrialBalance, accounts_of, add_totals
from pms.ledger.journal_rows import MOVING, Part, checkpoint_part, decoded
from pms.ledger.reader import Reader
from pms.ledger.rendering import DatabaseValue, Kind, Row, encode
from pms.ledger.store import Snapshot, Store
from pms.model.ids import ExchangeAccountId, SubAccountId
from pms.model.money import ZERO

LINKS_IN_WINDOW = 2_000
"""Commits whose lines are read at once."""


@dataclass(frozen=True, slots=True)
class CommitMark:
    """A commit of the hash chain: its number, hash and time (Unix ms)."""

    link: int
    hash: str
    timestamp_ms: int


NOTHING = CommitMark(0, "", 0)


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A stored checkpoint: the totals after its last commit, for a UTC day (`YYYY-MM-DD`)."""

    day: str
    last: CommitMark


class History:
    """Answers what the books said after any commit. Any number of questions at once."""

    def __init__(self, source: Store | Snapshot, ours: ExchangeAccountId, *, sqlite: bool) -> None:
        self._source = source
        self._ours = ours
        self._sqlite = sqlite

    async def last_commit(self, until_ms: int | None = None) -> CommitMark:
        """Return the last commit made at or before a moment (None: of all); `NOTHING` before the first."""
        sql = "SELECT link, hash, timestamp FROM pms_commit_links WHERE exchange_account_id = ?"
        values: list[DatabaseValue] = [self._ours]
        if until_ms is not None:
            sql += " AND timestamp <= ?"
            values.append(encode(Kind.TIME, until_ms, sqlite=self._sqlite))
        return _mark(await self._source.fetch(f"{sql} ORDER BY link DESC LIMIT 1", *values))

    async def next_commit(self, after_link: int) -> CommitMark:
        """Return the first commit after a link; `NOTHING` when there is none yet."""
        sql = (
            "SELECT link, hash, timestamp FROM pms_commit_links"
            " WHERE exchange_account_id = ? AND link > ? ORDER BY link LIMIT 1"
        )
        return _mark(await self._source.fetch(sql, self._ours, after_link))

    async def trial_balance(self, until_ms: int | None = None) -> TrialBalance:
        """Return every account of the double entry as of a moment (Unix ms; None: now)."""
        mark = await self.last_commit(until_ms)
        totals = await self.totals(mark.link)
        return TrialBalance(mark.link, mark.timestamp_ms, totals)

    async def accounts(self, until_ms: int | None = None) -> dict[SubAccountId, AccountAt]:
        """Return every sub-account as of a moment."""
        return accounts_of((await self.trial_balance(until_ms)).totals)

    async def account(self, sub_account_id: SubAccountId, until_ms: int | None = None) -> AccountAt:
        """Return one sub-account as of a moment; empty before its first commit. Reads its own lines only."""
        mark = await self.last_commit(until_ms)
        totals = await self.totals(mark.link, sub_account_id)
        nothing = AccountAt(sub_account_id, ZERO, ZERO, ())
        return accounts_of(totals).get(sub_account_id, nothing)

    async def totals(self, link: int, sub_account_id: SubAccountId | None = None) -> Totals:
        """Return what every account (or those of one sub-account) held after a commit."""
        totals: Totals = {}
        checkpoint = await self.checkpoint(link)
        start = 0
        if checkpoint is not None:
            start = checkpoint.last.link
            add_totals(totals, await self._stored(checkpoint.day, sub_account_id))
        await self.add_lines(totals, start, link, sub_account_id)
        return totals

    async def add_lines(
        self, totals: Totals, after_link: int, link: int, sub_account_id: SubAccountId | None = None
    ) -> None:
        """Add what the commits in (after_link, link] changed."""
        while after_link < link:
            window = min(link, after_link + LINKS_IN_WINDOW)
            add_totals(totals, await self._window(after_link, window, sub_account_id))
            after_link = window

    async def checkpoint(self, link: int) -> Checkpoint | None:
        """Return the newest checkpoint whose last commit is at or before `link`."""
        sql = (
            "SELECT day, last_link, last_hash, timestamp FROM pms_checkpoints"
            " WHERE exchange_account_id = ? AND last_link <= ? ORDER BY last_link DESC, day DESC LIMIT 1"
        )
        return _checkpoint(await self._source.fetch(sql, self._ours, link))

    async def checkpoint_of(self, day: str) -> Checkpoint | None:
        """Return a day's checkpoint, None while it is not finished."""
        sql = (
            "SELECT day, last_link, last_hash, timestamp FROM pms_checkpoints"
            " WHERE exchange_account_id = ? AND day = ?"
        )
        return _checkpoint(await self._source.fetch(sql, self._ours, day))

    async def stored_lines(self, day: str) -> Totals:
        """Return the lines of a day's checkpoint as they are stored, a half-written one's too."""
        return {key: Total(amount, quantity) for key, amount, quantity in await self._stored(day, None)}

    # --- reading --------------------------------------------------------------------------------------------
    async def _stored(self, day: str, sub_account_id: SubAccountId | None) -> list[Part]:
        sql = "SELECT * FROM pms_checkpoint_lines WHERE exchange_account_id = ? AND day = ?"
        values: list[DatabaseValue] = [self._ours, day]
        if sub_account_id is not None:
            sql += " AND sub_account_id = ?"
            values.append(sub_account_id)
        rows = await self._source.fetch(sql, *values)
        return [checkpoint_part(decoded("pms_checkpoint_lines", row)) for row in rows]

    async def _window(self, after: int, until: int, sub_account_id: SubAccountId | None) -> list[Part]:
        """Return the parts of a window: amounts from journal lines, quantities from what moved positions."""
        values: list[DatabaseValue] = [self._ours, after, until]
        where = "WHERE exchange_account_id = ? AND link > ? AND link <= ?"
        if sub_account_id is not None:
            where += " AND sub_account_id = ?"
            values.append(sub_account_id)
        parts: list[Part] = []
        for table, read in MOVING.items():
            if table == "pms_house_lines" and sub_account_id is not None:
                continue
            sql = f"SELECT * FROM {table} {where}"  # noqa: S608 -- our own table names
            found = (read(decoded(table, row)) for row in await self._source.fetch(sql, *values))
            parts.extend(part for part in found if part is not None)
        return parts


def _mark(rows: Sequence[Row]) -> CommitMark:
    if not rows:
        return NOTHING
    reader = Reader("pms_commit_links", rows[0])
    return CommitMark(reader.number("link"), reader.text("hash"), reader.number("timestamp"))


def _checkpoint(rows: Sequence[Row]) -> Checkpoint | None:
    if not rows:
        return None
    reader = Reader("pms_checkpoints", rows[0])
    last = CommitMark(reader.number("last_link"), reader.text("last_hash"), reader.number("timestamp"))
    return Checkpoint(reader.text("day"), last)
