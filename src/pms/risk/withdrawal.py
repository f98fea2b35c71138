"""What an account may withdraw: its margin, its losses and its orders stay covered (decision 18)."""

from collections.abc import Sequence
from decimal import Decimal

from pms.model.account import SubAccount
from pms.model.money import ZERO, Money, plain
from pms.model.price import STALE_AFTER_MS
from pms.model.refusal import RefusalCode, Refused
from pms.risk.gate import MarkedPosition
from pms.risk.reservations import OpenOrder, worst_load


def withdrawable(
    account: SubAccount, positions: Sequence[MarkedPosition], orders: Sequence[OpenOrder]
) -> Decimal:
    """Return the USDT that may leave the account, at least 0.

    Cash less unrealised losses less the worst-case margin of positions and orders. Unrealised profit is not
    money yet and backs nothing that leaves (as on the exchange: Binance spec, `availableBalance`).
    """
    profit = sum((marked.unrealized_pnl for marked in positions), ZERO)
    held = {marked.position.symbol: marked.position for marked in positions}
    symbols = dict.fromkeys([*held, *(order.symbol for order in orders)])
    margin = sum((worst_load(held.get(symbol), orders, symbol).margin for symbol in symbols), ZERO)
    return max(ZERO, account.cash + min(ZERO, profit) - margin)


def refuse_withdrawal(
    account: SubAccount | None,
    amount: Money,
    positions: Sequence[MarkedPosition],
    orders: Sequence[OpenOrder],
    *,
    liquidating: bool,
    ready: bool,
) -> Refused | None:
    """Return why an amount (USDT, above 0) cannot be withdrawn now, or None when it can."""
    if account is None:
        return Refused.because(RefusalCode.ACCOUNT_NOT_FOUND)
    if not ready:
        return Refused.because(RefusalCode.NOT_READY)
    if liquidating:
        return Refused.because(RefusalCode.LIQUIDATION_IN_PROGRESS)
    stale = [
        str(marked.position.symbol)
        for marked in positions
        if marked.mark is None or marked.mark_age_ms > STALE_AFTER_MS
    ]
    if stale:
        return Refused.because(RefusalCode.STALE_PRICE, symbols=",".join(stale))
    available = withdrawable(account, positions, orders)
    if amount > available:
        return Refused.because(
            RefusalCode.INSUFFICIENT_BALANCE,
            f"{plain(amount)} exceeds what is available, {plain(available)}.",
            available=plain(available),
        )
    return None
