"""Rows of a checkpoint: what every account of the double entry held at the end of a day."""

from collections.abc import Sequence

from pms.ledger.journal import JournalKey, Total
from pms.ledger.plan import Plan

CheckpointLines = Sequence[tuple[JournalKey, Total]]


def add_checkpoint_lines(plan: Plan, day: str, lines: CheckpointLines) -> None:
    """Write some lines of a day's checkpoint. They count for nothing before `finish_checkpoint`."""
    for key, total in lines:
        plan.insert_ours(
            "pms_checkpoint_lines",
            {
                "day": day,
                "account": key.account,
                "sub_account_id": key.sub_account_id,
                "symbol": key.symbol,
                "detail": key.detail,
            },
            {"amount": total.amount, "signed_quantity": total.signed_quantity, "link": plan.link},
        )


def finish_checkpoint(plan: Plan, day: str, last_link: int, last_hash: str) -> None:
    """Write the checkpoint itself: it stands for all commits up to `last_link`, whose hash it repeats."""
    plan.insert_ours(
        "pms_checkpoints",
        {"day": day},
        {"last_link": last_link, "last_hash": last_hash, "timestamp": plan.now_ms, "link": plan.link},
    )
