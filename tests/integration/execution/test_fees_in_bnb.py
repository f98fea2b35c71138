"""Commissions that the exchange takes in BNB: who caused them pays them here in USDT, the wallet does not."""

from decimal import Decimal
from pathlib import Path

import pytest

from pms.engine import EMBEDDED_KEY
from pms.execution.api import Executed
from tests.support.laboratory import LONG, SHORT, laboratory


async def test_a_commission_in_bnb_costs_the_account_and_not_the_wallet(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The audit at the end compares with the exchange: the house was given what the account paid."""
    async with laboratory(tmp_path) as lab:
        engine = lab.exchange.venue.engine
        monkeypatch.setattr(type(engine.clearing), "bnb_price", lambda *_: Decimal(600))
        account = engine.account_by_key[EMBEDDED_KEY]
        account.fee_burn = True
        account.wallets["BNB"] = Decimal(10)
        before = account.wallets["USDT"]
        await lab.account("A", balance=10_000)
        for side in (LONG, SHORT):
            assert isinstance(await lab.market("A", side, "0.1"), Executed)
        await lab.settled()
        assert account.wallets["BNB"] < 10
        found = lab.parts.ledger.account(lab.accounts["A"])
        assert found is not None
        spread = Decimal("0.02")  # 0.1 BTC over a spread of 0.2
        assert account.wallets["USDT"] == before - spread
        assert found.balance < 10_000 - spread, "its commissions are charged"
        assert lab.parts.ledger.derived_wallet() == account.wallets["USDT"]
