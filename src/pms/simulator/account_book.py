"""Accounts by id and key, their settings and listen keys."""

from __future__ import annotations

from pms.simulator import wire_events
from pms.simulator.changes import Journal
from pms.simulator.state import Account


class AccountBook:
    """All accounts of the exchange."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self.by_id: dict[int, Account] = {}
        self.by_key: dict[str, Account] = {}

    def restore(self, account: Account) -> None:
        """Take over a stored account."""
        self.by_id[account.account_id] = account
        self.by_key[account.api_key] = account

    def open(self, api_key: str, secret: str) -> tuple[Account, bool]:
        """Return the account of a key and whether it is new; a known account's secret is updated."""
        known = self.by_key.get(api_key)
        if known is not None:
            if known.secret != secret:
                known.secret = secret
                self.changed(known)
            return known, False
        account = Account(account_id=max(self.by_id, default=0) + 1, api_key=api_key, secret=secret)
        self.restore(account)
        self.changed(account)
        return account, True

    def changed(self, account: Account) -> None:
        """Have the account's row written."""
        self._journal.changes.accounts[account.account_id] = account

    def set_listen_key(self, account: Account, key: str, expires_ms: int) -> None:
        """Store the listen key of an account; an empty key ends it."""
        account.listen_key, account.listen_key_expires_ms = key, expires_ms
        self.changed(account)

    def expire_listen_keys(self, now_ms: int) -> None:
        """End the keys whose time is over, each with its `listenKeyExpired` event."""
        for account in self.by_id.values():
            if account.listen_key and account.listen_key_expires_ms <= now_ms:
                self._journal.emit(account, wire_events.listen_key_expired(account.listen_key, now_ms))
                self.set_listen_key(account, "", 0)
