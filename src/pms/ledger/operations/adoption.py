"""Adopts rows that the incumbent made by opening entries, rewriting none of them (decision 7)."""

from collections.abc import Sequence
from dataclasses import replace

from pms.ledger.api import Actor
from pms.ledger.book import AccountRecord, ExchangeMirror
from pms.ledger.errors import AdoptionRefusedError
from pms.ledger.load import ForeignRow
from pms.ledger.plan import Plan
from pms.ledger.rendering import Cell
from pms.model.account import Position, SubAccount
from pms.model.money import SETTLE_ASSET, ZERO, Money, round_cost

SYSTEM = Actor("system", "system")


def register(plan: Plan) -> None:
    """Write the exchange account's own row, once."""
    plan.book.event_epoch = plan.uuid()
    plan.book.registered_at_ms = plan.now_ms
    values: dict[str, Cell] = {
        "event_epoch": plan.book.event_epoch,
        "venue": "binance-usdm",
        "asset": SETTLE_ASSET,
        "epoch": "",
        "wallet_adopted": None,
        "created_at": plan.now_ms,
        "updated_at": plan.now_ms,
    }
    plan.insert("pms_exchange_accounts", (plan.ours,), {"exchange_account_id": plan.ours, **values})


def adopt(plan: Plan, accounts: Sequence[SubAccount], positions: Sequence[Position]) -> None:
    """Write exact figures and opening entries of accounts and open positions. Raises AdoptionRefusedError."""
    for account in accounts:
        if account.balance < 0:
            raise AdoptionRefusedError(
                f"sub_accounts/{account.id} has the negative balance {account.balance}; "
                "deposit there first, then start again"
            )
        _adopt_account(plan, account)
    for position in positions:
        if plan.book.open_position(position.sub_account_id, position.symbol) is not None:
            raise AdoptionRefusedError(
                f"sub-account {position.sub_account_id} has more than one open position on"
                f" {position.symbol}; "
                f"run the incumbent's duplicate-position cleaner first (virtual_positions/{position.id})"
            )
        if position.quantity <= 0 or position.leverage <= 0:
            raise AdoptionRefusedError(
                f"virtual_positions/{position.id} is OPEN with quantity {position.quantity} and leverage "
                f"{position.leverage}; both must be above zero"
            )
        _adopt_position(plan, position)
    plan.post("OPENING", None)
    if accounts or positions:
        plan.action(
            SYSTEM, "database.adopt", None, None, {"accounts": len(accounts), "positions": len(positions)}
        )


def _adopt_account(plan: Plan, account: SubAccount) -> None:
    balance = round_cost(account.balance)
    plan.insert_ours("pms_account_exact", {"sub_account_id": account.id}, {"balance": balance, "revision": 1})
    plan.insert_ours(
        "pms_opening_entries",
        {"id": plan.uuid()},
        {
            "kind": "BALANCE",
            "sub_account_id": account.id,
            "position_id": None,
            "symbol": None,
            "balance": balance,
            "signed_quantity": ZERO,
            "signed_cost": ZERO,
            "timestamp": plan.now_ms,
            "link": plan.link,
        },
    )
    plan.line("CASH", -balance, sub_account_id=account.id, detail="OPENING")
    plan.line("OPENING", balance, sub_account_id=account.id)
    plan.book.accounts.set(account.id, AccountRecord(account, 1))


def _adopt_position(plan: Plan, position: Position) -> None:
    cost = round_cost(position.cost)
    signed_cost = cost * position.side.sign
    plan.insert_ours(
        "pms_position_exact",
        {"position_id": position.id},
        {
            "sub_account_id": position.sub_account_id,
            "symbol": position.symbol,
            "side": position.side,
            "quantity": position.quantity,
            "cost": cost,
            "leverage": position.leverage,
            "status": position.status,
            "revision": position.revision,
        },
    )
    plan.insert_ours(
        "pms_opening_entries",
        {"id": plan.uuid()},
        {
            "kind": "POSITION",
            "sub_account_id": position.sub_account_id,
            "position_id": position.id,
            "symbol": position.symbol,
            "balance": ZERO,
            "signed_quantity": position.signed_quantity,
            "signed_cost": signed_cost,
            "timestamp": plan.now_ms,
            "link": plan.link,
        },
    )
    plan.line("POSITION", signed_cost, sub_account_id=position.sub_account_id, symbol=position.symbol)
    plan.line("OPENING", -signed_cost, sub_account_id=position.sub_account_id, symbol=position.symbol)
    plan.adopt_position(replace(position, cost=Money(cost)))
    _assume_on_exchange(plan, position, Money(signed_cost))


def _assume_on_exchange(plan: Plan, position: Position, signed_cost: Money) -> None:
    """Start the exchange mirror from what is adopted; the wallet's difference shows as house capital."""
    known = plan.book.mirror.get(position.symbol)
    before = known or ExchangeMirror(position.symbol, ZERO, ZERO, 0)
    after = ExchangeMirror(
        position.symbol,
        before.signed_quantity + position.signed_quantity,
        before.signed_cost + signed_cost,
        before.last_trade_id,
    )
    values: dict[str, Cell] = {
        "signed_quantity": after.signed_quantity,
        "signed_cost": after.signed_cost,
        "last_trade_id": after.last_trade_id,
    }
    if known is None:
        plan.insert_ours("pms_exchange_positions", {"symbol": position.symbol}, values)
    else:
        plan.update("pms_exchange_positions", (plan.ours, position.symbol), values)
    plan.book.mirror.set(position.symbol, after)


def record_external_writes(plan: Plan, rows: Sequence[ForeignRow]) -> None:
    """Record rows that somebody else changed; the ledger's exact values stay the truth (decision 5)."""
    for row in rows:
        plan.action(SYSTEM, "database.external_write", f"{row.table}/{row.id}", None, {"note": row.note})
