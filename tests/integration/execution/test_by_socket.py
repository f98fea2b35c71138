"""The engine with its orders on the WebSocket API: the same trades, audited as ever."""

from pathlib import Path

from pms.exchange.binance.ws_api import SocketApiStatistics
from pms.execution.api import Cancelled, Executed, Resting
from tests.support.laboratory import ACTOR, LONG, laboratory
from tests.support.waiting import until


async def test_an_engine_trades_by_socket(tmp_path: Path) -> None:
    async with laboratory(tmp_path, exchange_trading="websocket") as lab:
        exchange = lab.parts.exchange

        def socket() -> SocketApiStatistics:
            found = exchange.statistics().trading_socket
            assert found is not None
            return found

        await until(lambda: socket().connected, "the trading socket")
        before = socket().requests
        await lab.account("Alice")
        opened = await lab.market("Alice", LONG, "0.01")
        assert isinstance(opened, Executed)
        rests = await lab.limit("Alice", LONG, "0.01", "59000")
        assert isinstance(rests, Resting)
        assert rests.order.pending_order_id is not None
        assert isinstance(await lab.parts.trader.cancel(rests.order.pending_order_id, ACTOR), Cancelled)
        await lab.flatten()
        assert socket().requests - before >= 4
        assert (socket().by_rest, socket().lost) == (0, 0)
