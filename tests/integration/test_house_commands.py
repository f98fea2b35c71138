"""`pms house ...` beside a running engine, and the same by the API: listed, assigned, closed, once each."""

import json
from pathlib import Path

import pytest

from pms.client import ClientError, PmsClient
from tests.support.system import RunningSystem, run_pms, running_system

BTC = "BTC/USDT:USDT"


async def pms(system: RunningSystem, *arguments: str) -> tuple[int, str]:
    return await run_pms(*arguments, "--data-dir", str(system.folder / "data"))


@pytest.mark.timeout(120)
async def test_the_house_is_listed_assigned_and_closed(tmp_path: Path) -> None:
    async with running_system(tmp_path, ["Alice", "Bob"]) as system:
        async with PmsClient(system.url) as client:
            await client.login(system.username, system.password)
            bought = await client.market(system.accounts["Alice"], BTC, "LONG", "0.02", leverage=10)
            assert bought.position is not None
            await client.take_over(bought.position.id)
            code, output = await pms(system, "house", "list")
            assert (code, BTC in output, "0.02" in output) == (0, True, True), output
            code, output = await pms(system, "house", "assign", BTC, "Bob", "0.005", "--leverage", "10")
            assert (code, "Bob: got 0.005" in output) == (0, True), output
            (held,) = await client.positions(system.accounts["Bob"])
            assert float(held.quantity) == 0.005
            body = {"symbol": BTC, "quantity": 0.01}
            for _ in range(2):
                answer = await client.request("POST", "/api/admin/house/close", body, idempotency_key="k1")
                assert json.loads(answer)["left"] == pytest.approx(0.005)
            shown = json.loads(await client.request("GET", "/api/admin/house"))
            assert [(row["symbol"], row["quantity"]) for row in shown["holdings"]] == [(BTC, 0.005)]
            code, output = await pms(system, "house", "close", BTC)
            assert (code, "the house holds 0.0" in output) == (0, True), output
            with pytest.raises(ClientError):
                await client.request("POST", "/api/admin/house/close", {"symbol": BTC})
        assert await system.server.stop() == 0
        code, output = await pms(system, "house", "close", BTC)
        assert (code, "no engine runs" in output) == (2, True), output
        for arguments, told in ((("*", "5000"), "*"), ((BTC, "100"), BTC)):
            code, output = await pms(system, "house", "limit", *arguments)
            assert (code, f"at most {arguments[1]} USDT" in output, told in output) == (0, True, True), output
        code, output = await pms(system, "house", "limit", "*", "none")
        assert (code, "5000" in output, "at most 100 USDT" in output) == (0, False, True), output
        code, output = await pms(system, "house", "limit", BTC, "much")
        assert (code, "amount" in output.lower()) == (2, True), output
        code, output = await pms(system, "audit")
        assert code == 0, output
