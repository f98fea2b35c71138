"""What ends orders by time alone: good-till dates, the year of GTC, and countdowns (Binance spec 2.2 and 7).

Countdowns and dates are stored, so one that passed while the exchange was down acts at the first tick.
"""

from __future__ import annotations

from pms.simulator.desk import Desk
from pms.simulator.order_flow import OrderFlow
from pms.simulator.state import Account


class OrderTimers:
    """Looks at the open orders only when one of them may be due; otherwise a tick costs O(accounts)."""

    def __init__(self, desk: Desk, flow: OrderFlow) -> None:
        self._desk = desk
        self._flow = flow

    def set_countdown(self, account: Account, symbol: str, countdown_ms: int, now_ms: int) -> None:
        """Cancel all orders of a symbol in `countdown_ms`, unless this is called again; 0 stops."""
        if countdown_ms:
            account.countdowns[symbol] = now_ms + countdown_ms
        else:
            account.countdowns.pop(symbol, None)
        self._desk.accounts.changed(account)

    def tick(self, now_ms: int) -> None:
        """Do what is due."""
        for account in self._desk.accounts.by_id.values():
            due = [symbol for symbol, at_ms in account.countdowns.items() if at_ms <= now_ms]
            for symbol in due:
                del account.countdowns[symbol]
                self._desk.accounts.changed(account)
                self._flow.cancel_all(account, symbol, now_ms)
        for order in self._desk.orders.due(now_ms):
            account = self._desk.accounts.by_id[order.account_id]
            if order.time_in_force == "GTD":
                self._flow.expire(account, order, "0", now_ms)
            else:
                self._flow.cancel(account, order, now_ms)
