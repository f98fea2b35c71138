"""A steady random load of orders, closes and cancels on a few accounts, from a seed."""

import asyncio
from collections import Counter
from dataclasses import dataclass, field
from random import Random

from pms.client import ClientError, PmsClient

SYMBOLS = {"BTC/USDT:USDT": ("0.002", "0.004", "0.01"), "ETH/USDT:USDT": ("0.01", "0.05", "0.1")}
LIMIT_OFFSETS = (-0.002, -0.0001, 0.0, 0.0001, 0.002)


@dataclass(slots=True)
class Load:
    """Sends `rate` requests a second until cancelled; errors of a dying server are part of the plan."""

    client: PmsClient
    accounts: list[str]
    random: Random
    rate: float
    sent: int = 0
    outcomes: Counter[str] = field(default_factory=Counter)
    marks: dict[str, float] = field(default_factory=dict)

    async def run(self) -> None:
        """Send at an even pace; each request runs in its own task."""
        loop = asyncio.get_running_loop()
        started = loop.time()
        async with asyncio.TaskGroup() as tasks:
            number = 0
            while True:
                await asyncio.sleep(max(0.0, started + number / self.rate - loop.time()))
                number += 1
                tasks.create_task(self._one(self.random.random(), Random(self.random.getrandbits(64))))

    async def _one(self, choice: float, random: Random) -> None:
        account = random.choice(self.accounts)
        symbol = random.choice(list(SYMBOLS))
        side = random.choice(("LONG", "SHORT"))
        quantity = random.choice(SYMBOLS[symbol])
        self.sent += 1
        try:
            if choice < 0.6:
                await self.client.market(account, symbol, side, quantity, leverage=10)
            elif choice < 0.8:
                price = await self._limit_price(symbol, random)
                await self.client.limit(account, symbol, side, quantity, price, leverage=10)
            elif choice < 0.9:
                positions = await self.client.positions(account)
                if positions:
                    await self.client.close_position(random.choice(positions).id)
            else:
                orders = await self.client.orders(account)
                if orders:
                    await self.client.cancel(random.choice(orders).id)
        except ClientError as error:
            self.outcomes[error.code] += 1
        else:
            self.outcomes["ok"] += 1

    async def _limit_price(self, symbol: str, random: Random) -> str:
        mark = self.marks.get(symbol)
        if mark is None:
            mark = self.marks[symbol] = await self.client.price(symbol)
        return f"{mark * (1 + random.choice(LIMIT_OFFSETS)):.1f}"
