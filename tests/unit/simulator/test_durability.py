"""The data file: everything a client saw is there after a restart, also after kill -9 (decision 25)."""

from __future__ import annotations

import asyncio
import os
import sqlite3
import sys
from contextlib import closing
from decimal import Decimal as D
from pathlib import Path

import aiohttp
import pytest

from pms.simulator import Simulator, SimulatorConfig, SimulatorError
from pms.simulator.config import Fees, Limits
from pms.simulator.core import Engine
from pms.simulator.store import Store, read_only_account, rows_of
from tests.support.paths import PROJECT_ROOT
from tests.unit.simulator.market_support import RULES, engine_with, placed, quote
from tests.unit.simulator.signed_client import KEY, SECRET, SignedClient


def test_reopened_file_equals_the_engine(tmp_path: Path) -> None:
    path = tmp_path / "folder" / "exchange.db"
    store = Store(path)
    engine, account = engine_with("1000000")
    engine.set_leverage(account, "BTCUSDT", 7, 1)
    engine.deposit(account, D("5.5"), 2)
    placed(engine, account, quantity="25")
    resting = placed(
        engine, account, type="LIMIT", side="SELL", price="60500", quantity="3", reduceOnly="true"
    )
    placed(engine, account, type="LIMIT", price="59990.0", quantity="3", newClientOrderId="partial")
    quote(engine, "BTCUSDT", "59985.0", "59990.0", size="2")
    store.write(rows_of(engine.drain()))
    epoch = store.epoch
    store.close()

    again = Store(path)
    assert again.epoch == epoch
    restored = Engine({s: RULES[s] for s in ("BTCUSDT", "ETHUSDT")}, Fees())
    restored.restore(again.load())
    again.close()
    assert restored.accounts == engine.accounts
    assert restored.positions == engine.positions
    assert list(restored.trades) == list(engine.trades)
    assert {i.income_id for i in engine.income} - {i.income_id for i in restored.income} == {
        1
    }  # drained earlier
    assert restored.open_orders == engine.open_orders
    assert restored.next_order_id == engine.next_order_id
    assert restored.next_trade_id == engine.next_trade_id
    found = restored.find_order(restored.account_by_key["key"], "BTCUSDT", resting.order_id, None)
    assert found == resting
    assert not restored.dirty


def test_unusable_files_give_one_clear_error(tmp_path: Path) -> None:
    broken = tmp_path / "broken.db"
    broken.write_bytes(b"this is no database, " * 500)
    with pytest.raises(SimulatorError, match="cannot be used"):
        Store(broken)
    with pytest.raises(SimulatorError, match="cannot be used"):
        Store(broken / "below" / "a file.db")
    newer = tmp_path / "newer.db"
    Store(newer).close()
    with closing(sqlite3.connect(newer)) as db:
        db.execute("PRAGMA user_version=99")
    with pytest.raises(SimulatorError, match="newer than this program"):
        Store(newer)


def test_unreadable_row_names_its_kind(tmp_path: Path) -> None:
    path = tmp_path / "exchange.db"
    Store(path).close()
    with closing(sqlite3.connect(path)) as db, db:
        db.execute('INSERT INTO accounts VALUES (1, \'{"account_id": "x"}\')')
    store = Store(path)
    with pytest.raises(SimulatorError, match="unreadable Account row"):
        list(store.load())
    store.close()


def test_a_file_of_the_first_schema_is_carried_over(tmp_path: Path) -> None:
    path = tmp_path / "exchange.db"
    store = Store(path)
    engine, account = engine_with()
    placed(engine, account, quantity="25")
    store.write(rows_of(engine.drain()))
    store.close()
    with closing(sqlite3.connect(path)) as db, db:
        for statement in (
            "ALTER TABLE positions RENAME TO p2",
            "CREATE TABLE positions (account_id INTEGER NOT NULL, symbol TEXT NOT NULL, body BLOB NOT NULL, "
            "PRIMARY KEY (account_id, symbol)) WITHOUT ROWID",
            "INSERT INTO positions SELECT account_id, symbol, body FROM p2",
            "ALTER TABLE trades RENAME TO t2",
            "CREATE TABLE trades (row_id INTEGER PRIMARY KEY, symbol TEXT NOT NULL, "
            "trade_id INTEGER NOT NULL, body BLOB NOT NULL, UNIQUE (symbol, trade_id))",
            "INSERT INTO trades SELECT row_id, symbol, trade_id, body FROM t2",
            *(
                f"DROP TABLE {name}"
                for name in ("p2", "t2", "amendments", "algo_orders", "funding", "listings")
            ),
            "UPDATE accounts SET body = CAST(json_remove(json_set(CAST(body AS TEXT), '$.wallet', "
            "json_extract(CAST(body AS TEXT), '$.wallets.USDT')), '$.wallets') AS BLOB)",
            "UPDATE positions SET body = CAST(json_remove(CAST(body AS TEXT), '$.outlay') AS BLOB)",
            "PRAGMA user_version=1",
        ):
            db.execute(statement)
    assert read_only_account(path, "key")[0] == account.wallet
    again = Store(path)
    restored = Engine({"BTCUSDT": RULES["BTCUSDT"]}, Fees())
    restored.restore(again.load())
    again.close()
    assert restored.accounts == engine.accounts
    for position in engine.positions.values():
        position.outlay = position.cost  # the first schema did not know what the fees were
    assert restored.positions == engine.positions
    assert list(restored.trades) == list(engine.trades)
    with closing(sqlite3.connect(path)) as db:
        rows = db.execute("SELECT symbol, trade_id, order_id FROM trades ORDER BY row_id").fetchall()
    assert rows == [(t.symbol, t.trade_id, t.order_id) for t in engine.trades]


async def test_restart_keeps_orders_listen_key_and_epoch(tmp_path: Path) -> None:
    config = SimulatorConfig(
        data_path=tmp_path / "exchange.db", accounts=((KEY, SECRET, D(1000)),), symbols=("BTCUSDT",)
    )
    seen: list[tuple[str, str, str]] = []
    for life in range(2):
        simulator = Simulator(config)
        await simulator.start()
        async with aiohttp.ClientSession() as session:
            client = SignedClient(simulator.url, session)
            if life == 0:
                order = {"symbol": "BTCUSDT", "side": "BUY", "type": "LIMIT", "timeInForce": "GTC"}
                answer = await client.order(**order, quantity="0.01", price="50000", newClientOrderId="kept")
                assert answer.status == 200, answer
            key = (await client.raw("POST", "/fapi/v1/listenKey")).body["listenKey"]
            open_orders = (await client.signed("GET", "/fapi/v1/openOrders")).body
            seen.append((simulator.epoch, key, str(open_orders)))
        await simulator.stop()
    assert seen[0] == seen[1]
    assert "kept" in seen[0][2]


SERVER = """
import asyncio, sys
from decimal import Decimal as D
from pathlib import Path
from pms.simulator import Simulator, SimulatorConfig
from pms.simulator.config import Limits

async def main():
    limits = Limits(request_weight_1m=10**6, orders_10s=10**6, orders_1m=10**6)
    config = SimulatorConfig(data_path=Path(sys.argv[1]), accounts=((sys.argv[2], sys.argv[3], D(1000000)),),
                             symbols=("BTCUSDT",), limits=limits)
    simulator = Simulator(config)
    await simulator.start()
    simulator.set_quote("BTCUSDT", D("60000.0"), D("60000.1"), D(10), D(10))
    print(simulator.url, flush=True)
    await asyncio.sleep(60)

asyncio.run(main())
"""


async def test_kill_minus_nine_loses_nothing_that_was_answered(tmp_path: Path) -> None:
    path = tmp_path / "exchange.db"
    server = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        SERVER,
        str(path),
        KEY,
        SECRET,
        stdout=asyncio.subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(PROJECT_ROOT / "src")},
    )
    answered: set[int] = set()
    assert server.stdout is not None
    url = (await asyncio.wait_for(server.stdout.readline(), 20)).decode().strip()

    async def trade(client: SignedClient) -> None:
        while True:
            answer = await client.order(symbol="BTCUSDT", side="BUY", type="MARKET", quantity="0.001")
            assert answer.status == 200, answer
            answered.add(answer.body["orderId"])

    async with aiohttp.ClientSession() as session:
        traders = [asyncio.create_task(trade(SignedClient(url, session))) for _ in range(8)]
        await asyncio.sleep(0.4)
        server.kill()
        ended = await asyncio.gather(*traders, return_exceptions=True)
    await server.wait()
    assert all(isinstance(error, aiohttp.ClientError) for error in ended), ended
    assert len(answered) > 20

    store = Store(path)
    engine = Engine({"BTCUSDT": RULES["BTCUSDT"]}, Fees())
    engine.restore(store.load())
    store.close()
    account = engine.account_by_key[KEY]
    assert answered <= {o.order_id for o in engine.all_orders(account)}
    assert answered <= {t.order_id for t in engine.trades}
    held = sum((t.quantity for t in engine.trades), D(0))
    assert engine.position_of(account, "BTCUSDT").quantity == held
    assert account.wallet == D(1000000) - sum((t.commission for t in engine.trades), D(0))


async def test_failing_commit_stops_the_exchange(tmp_path: Path) -> None:
    config = SimulatorConfig(
        data_path=tmp_path / "exchange.db",
        accounts=((KEY, SECRET, D(1000)),),
        symbols=("BTCUSDT",),
        limits=Limits(),
    )
    simulator = Simulator(config)
    await simulator.start()
    assert simulator._store is not None
    simulator._store._db.execute("DROP TABLE accounts")
    simulator.deposit(KEY, D(1))
    with pytest.raises(SimulatorError, match="cannot write"):
        await asyncio.wait_for(simulator.wait_failed(), 5)
    await simulator.stop()
