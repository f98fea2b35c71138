"""Accounts by id and key, their settings and listen keys."""

from __future__ import annotations

from collections.abc import Mapping

from pms.simulator import wire_events
from pms.simulator.changes import Journal
from pms.simulator.rules import SymbolRules
from pms.simulator.state import FUND_ID, Account


class AccountBook:
    """All accounts of the exchange; `default_leverage` holds where an account has chosen none."""

    def __init__(self, journal: Journal, rules: Mapping[str, SymbolRules], default_leverage: int) -> None:
        self._journal = journal
        self._rules = rules
        self._default_leverage = default_leverage
        self.by_id: dict[int, Account] = {}
        self.by_key: dict[str, Account] = {}

    def restore(self, account: Account) -> None:
        """Take over a stored account."""
        self.by_id[account.account_id] = account
        if account.account_id != FUND_ID:
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

    def fund(self) -> Account:
        """Return the insurance fund's account, which nobody can sign for."""
        if FUND_ID not in self.by_id:
            self.restore(Account(account_id=FUND_ID, api_key="", secret=""))
            self.changed(self.by_id[FUND_ID])
        return self.by_id[FUND_ID]

    def leverage_of(self, account: Account, symbol: str) -> int:
        """Return the leverage in force for a symbol."""
        default = min(self._default_leverage, self._rules[symbol].leverage_max)
        return account.leverage.get(symbol, default)

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
