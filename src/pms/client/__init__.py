"""A typed asynchronous client of the HTTP API and the browser WebSocket, for command line, bots and tests.

async with PmsClient("http://127.0.0.1:3900") as pms:
    await pms.login("admin", password)
    account = (await pms.accounts())[0]
    trade = await pms.market(account.id, "BTC/USDT:USDT", "LONG", Decimal("0.01"), leverage=10)
    async for event in pms.events([account.id]):
        print(event.type, event.data)
"""

import json
from collections.abc import AsyncIterator, Mapping, Sequence
from decimal import Decimal
from types import TracebackType
from typing import Self, TypeVar
from urllib.parse import quote

import aiohttp
import msgspec

from pms.client.desk import DeskPreview as DeskPreview
from pms.client.desk import Exposure as Exposure
from pms.client.desk import Holder as Holder
from pms.client.desk import Preview as Preview
from pms.model.errors import PmsError
from pms.model.money import plain

REQUEST_SECONDS_MAX = 15.0
Amount = Decimal | int | float | str
Query = Mapping[str, str] | Sequence[tuple[str, str]]


class ClientError(PmsError):
    """The server refused (`status` 4xx or 5xx, `code`), or did not answer (`status` 0: effect unknown)."""

    def __init__(self, status: int, code: str, message: str, errors: Sequence["Reason"] = ()) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message
        self.errors = tuple(errors)


class Reason(msgspec.Struct, frozen=True, rename="camel"):
    code: str
    message: str


class User(msgspec.Struct, frozen=True, rename="camel"):
    id: str
    username: str
    role: str
    status: str


class Rules(msgspec.Struct, frozen=True, rename="camel"):
    max_leverage: float
    max_notional_per_trade: float
    max_total_exposure: float
    liquidation_threshold: float


class Position(msgspec.Struct, frozen=True, rename="camel"):
    """An open (or just closed) virtual position with marked figures; `pnl_percent` is of the margin."""

    id: str
    sub_account_id: str
    symbol: str
    side: str
    entry_price: float
    mark_price: float
    quantity: float
    notional: float
    leverage: float
    margin: float
    liquidation_price: float
    unrealized_pnl: float
    pnl_percent: float
    status: str
    opened_at: str


class Account(msgspec.Struct, frozen=True, rename="camel"):
    id: str
    user_id: str | None
    name: str
    type: str
    initial_balance: float
    current_balance: float
    owed: float
    status: str
    liquidation_mode: str
    maintenance_rate: float
    created_at: str
    positions: tuple[Position, ...] = ()


class Summary(msgspec.Struct, frozen=True, rename="camel"):
    """`margin_ratio` is 999 when equity is not positive."""

    equity: float
    balance: float
    unrealized_pnl: float
    margin_used: float
    available_margin: float
    total_exposure: float
    maintenance_margin: float
    margin_ratio: float
    account_liq_price: float | None
    position_count: int


class AccountState(msgspec.Struct, frozen=True, rename="camel"):
    account: Account
    positions: tuple[Position, ...]
    summary: Summary
    rules: Rules


class RestrictionInForce(msgspec.Struct, frozen=True, rename="camel"):
    """`sub_account_id` None: everywhere."""

    sub_account_id: str | None
    source: str
    level: str
    reason: str
    actor: str
    since: str


class KillSwitch(msgspec.Struct, frozen=True, rename="camel"):
    """`level` is the global one; `working` accounts still have orders or positions that are forbidden."""

    level: str
    entries: tuple[RestrictionInForce, ...]
    working: tuple[str, ...] = ()


class Trade(msgspec.Struct, frozen=True, rename="camel"):
    """One execution; `exchange_order_id` is decimal text."""

    id: str
    sub_account_id: str
    position_id: str | None
    exchange_order_id: str | None
    client_order_id: str | None
    symbol: str
    side: str
    type: str
    price: float
    quantity: float
    notional: float
    fee: float
    realized_pnl: float | None
    action: str
    status: str
    timestamp: str


class Order(msgspec.Struct, frozen=True, rename="camel"):
    """A resting order; `side` LONG or SHORT."""

    id: str
    sub_account_id: str
    symbol: str
    side: str
    type: str
    price: float
    quantity: float
    leverage: float
    exchange_order_id: str | None
    client_order_id: str
    status: str
    created_at: str


class Executed(msgspec.Struct, frozen=True, rename="camel"):
    success: bool
    position: Position | None
    trade: Trade | None
    trades: tuple[Trade, ...]
    realized_pnl: float | None = None
    new_balance: float | None = None
    confirmed: bool = True  # False: a fast answer; on the exchange, and not booked yet


class Closed(msgspec.Struct, frozen=True, rename="camel"):
    success: bool
    position_id: str
    trade: Trade | None
    realized_pnl: float | None
    new_balance: float | None
    source: str


class History(msgspec.Struct, frozen=True, rename="camel"):
    trades: tuple[Trade, ...]
    total: int
    offset: int
    limit: int


class Health(msgspec.Struct, frozen=True, rename="camel"):
    status: str
    exchange: bool
    redis: bool
    database: bool
    position_book_accounts: int
    event_loop_lag_ms: float
    version: str


class Event(msgspec.Struct, frozen=True, rename="camel"):
    """One frame of the WebSocket. `seq` is set on durable events and grows by one for each account."""

    type: str
    timestamp: int = 0
    data: dict[str, object] = {}
    seq: int | None = None
    epoch: str | None = None
    message: str | None = None


class TakenOver(msgspec.Struct, frozen=True, rename="camel"):
    """A position that the house took over, with what it realised."""

    success: bool
    position: Position | None
    realized_pnl: float | None
    new_balance: float | None


class _Login(msgspec.Struct, frozen=True, rename="camel"):
    token: str
    user: User


class _BalanceSet(msgspec.Struct, frozen=True, rename="camel"):
    new_balance: float


class _Transferred(msgspec.Struct, frozen=True, rename="camel"):
    from_account: Account
    to_account: Account


class _Emptied(msgspec.Struct, frozen=True, rename="camel"):
    account: Account


class _Placed(msgspec.Struct, frozen=True, rename="camel"):
    order: Order


class _Refusal(msgspec.Struct, frozen=True, rename="camel"):
    error: str = "The request was refused."
    code: str = "UNKNOWN"
    errors: tuple[Reason, ...] = ()


_T = TypeVar("_T")


def preview_query(percents: Sequence[Amount], moves: Mapping[str, str] | None) -> list[tuple[str, str]]:
    """Return the query of a preview: a `percent` for each, a `move` for each symbol with its own."""
    query = [("percent", _amount(percent)) for percent in percents]
    return query + [("move", f"{symbol}={value}") for symbol, value in (moves or {}).items()]


def _amount(value: Amount) -> str:
    """Return the exact text of an amount; the server reads it without a binary detour."""
    return plain(value) if isinstance(value, Decimal) else str(value)


class PmsClient:
    """One user's connection. Every request has a deadline; refusals raise ClientError."""

    def __init__(self, url: str, *, token: str | None = None, api_key: str | None = None) -> None:
        self.url = url.rstrip("/")
        self.token = token
        self.api_key = api_key
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        self._session = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=REQUEST_SECONDS_MAX))
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()
            self._session = None

    def _http(self) -> aiohttp.ClientSession:
        if self._session is None:
            raise ClientError(0, "CLOSED", "The client is not open; use `async with PmsClient(url)`.")
        return self._session

    def _headers(self) -> dict[str, str]:
        if self.api_key is not None:
            return {"X-PMS-Key": self.api_key}
        return {"Authorization": f"Bearer {self.token}"} if self.token else {}

    async def request(
        self,
        method: str,
        path: str,
        body: Mapping[str, object] | None = None,
        *,
        query: Query | None = None,
        idempotency_key: str | None = None,
    ) -> bytes:
        """Send one request and return the body of a 2xx answer. Raises ClientError otherwise."""
        headers = self._headers()
        if idempotency_key is not None:
            headers["Idempotency-Key"] = idempotency_key
        try:
            async with self._http().request(
                method, self.url + path, json=body, params=query, headers=headers
            ) as answer:
                content = await answer.read()
        except (aiohttp.ClientError, TimeoutError) as error:
            raise ClientError(0, "NO_ANSWER", f"{self.url} did not answer: {error}") from error
        if answer.status >= 400:
            try:
                said = msgspec.json.decode(content, type=_Refusal)
            except msgspec.DecodeError:
                said = _Refusal(f"The server answered {answer.status}.")
            raise ClientError(answer.status, said.code, said.error, said.errors)
        return content

    async def _get(self, path: str, kind: type[_T], query: Query | None = None) -> _T:
        return msgspec.json.decode(await self.request("GET", path, query=query), type=kind)

    async def _send(
        self,
        method: str,
        path: str,
        kind: type[_T],
        body: Mapping[str, object] | None = None,
        idempotency_key: str | None = None,
    ) -> _T:
        content = await self.request(method, path, body, idempotency_key=idempotency_key)
        return msgspec.json.decode(content, type=kind)

    # --- session and accounts -------------------------------------------------------------------------------

    async def login(self, username: str, password: str) -> User:
        """Log in; later calls carry the session."""
        answer = await self._send(
            "POST", "/api/auth/login", _Login, {"username": username, "password": password}
        )
        self.token = answer.token
        return answer.user

    async def me(self) -> User:
        return await self._get("/api/auth/me", User)

    async def accounts(self) -> tuple[Account, ...]:
        """Return the accounts that the user may see, newest first."""
        return await self._get("/api/sub-accounts", tuple[Account, ...])

    async def create_account(
        self, name: str, initial_balance: Amount = 0, *, idempotency_key: str | None = None
    ) -> Account:
        body = {"name": name, "initialBalance": _amount(initial_balance)}
        return await self._send("POST", "/api/sub-accounts", Account, body, idempotency_key)

    async def deposit(
        self, sub_account_id: str, amount: Amount, idempotency_key: str | None = None
    ) -> Account:
        """Move money from the house to the account; a negative amount moves it back. Admins only."""
        body = {"addBalance": _amount(amount)}
        path = f"/api/sub-accounts/{sub_account_id}"
        return await self._send("PATCH", path, Account, body, idempotency_key)

    async def set_balance(
        self, sub_account_id: str, balance: Amount, idempotency_key: str | None = None
    ) -> float:
        """Bring a balance to a figure against the house and return it. Admins only."""
        path = f"/api/admin/set-balance/{sub_account_id}"
        body = {"balance": _amount(balance)}
        return (await self._send("POST", path, _BalanceSet, body, idempotency_key)).new_balance

    async def transfer(
        self, from_id: str, to_id: str, amount: Amount, idempotency_key: str | None = None
    ) -> tuple[Account, Account]:
        """Move money from one account to another and return both. Admins only."""
        body = {"toSubAccountId": to_id, "amount": _amount(amount)}
        path = f"/api/admin/transfer/{from_id}"
        moved = await self._send("POST", path, _Transferred, body, idempotency_key)
        return moved.from_account, moved.to_account

    async def reset(self, sub_account_id: str, idempotency_key: str | None = None) -> Account:
        """Start an account anew with nothing; refused while anything of it is open. Admins only."""
        path = f"/api/admin/reset/{sub_account_id}"
        return (await self._send("POST", path, _Emptied, None, idempotency_key)).account

    async def close_account(self, sub_account_id: str, idempotency_key: str | None = None) -> Account:
        """Close an account: its money goes to the house, it is frozen, its history stays. Admins only."""
        path = f"/api/admin/delete-account/{sub_account_id}"
        return (await self._send("DELETE", path, _Emptied, None, idempotency_key)).account

    async def write_off(self, sub_account_id: str, idempotency_key: str | None = None) -> Account:
        """Let the insurance, then the house bear what a flat account owes. Admins only."""
        path = f"/api/admin/write-off/{sub_account_id}"
        return (await self._send("POST", path, _Emptied, None, idempotency_key)).account

    async def take_over(self, position_id: str, idempotency_key: str | None = None) -> TakenOver:
        """Let the house take a position over at the mark price; nothing is sent. Admins only."""
        path = f"/api/admin/takeover/{position_id}"
        return await self._send("POST", path, TakenOver, None, idempotency_key)

    async def freeze(self, sub_account_id: str, *, idempotency_key: str | None = None) -> Account:
        return await self._send("POST", f"/api/admin/freeze/{sub_account_id}", Account, None, idempotency_key)

    async def unfreeze(self, sub_account_id: str, *, idempotency_key: str | None = None) -> Account:
        path = f"/api/admin/unfreeze/{sub_account_id}"
        return await self._send("POST", path, Account, None, idempotency_key)

    async def set_liquidation_mode(
        self, sub_account_id: str, mode: str, idempotency_key: str | None = None
    ) -> Account:
        path = f"/api/admin/liquidation-mode/{sub_account_id}"
        return await self._send("POST", path, Account, {"mode": mode}, idempotency_key)

    async def set_rules(
        self,
        sub_account_id: str | None,
        *,
        max_leverage: Amount,
        max_notional_per_trade: Amount,
        max_total_exposure: Amount,
        liquidation_threshold: Amount,
        idempotency_key: str | None = None,
    ) -> Rules:
        """Set the rules of one account, or with None the global ones. Admins only."""
        body = {
            "maxLeverage": _amount(max_leverage),
            "maxNotionalPerTrade": _amount(max_notional_per_trade),
            "maxTotalExposure": _amount(max_total_exposure),
            "liquidationThreshold": _amount(liquidation_threshold),
        }
        path = f"/api/risk-rules/{sub_account_id or 'global'}"
        return await self._send("PUT", path, Rules, body, idempotency_key)

    async def kill_switch(
        self,
        level: str,
        sub_account_id: str | None = None,
        *,
        reason: str = "",
        source: str = "operator",
        idempotency_key: str | None = None,
    ) -> KillSwitch:
        """Restrict one account, or with None all: reduce-only, halt, flatten or release. Admins only."""
        path = "/api/admin/kill-switch" + (f"/{sub_account_id}" if sub_account_id else "")
        body = {"level": level, "reason": reason, "source": source}
        return await self._send("POST", path, KillSwitch, body, idempotency_key)

    async def kill_switch_state(self) -> KillSwitch:
        """Return every restriction in force, and who still has something that it forbids. Admins only."""
        return await self._get("/api/admin/kill-switch", KillSwitch)

    # --- trading --------------------------------------------------------------------------------------------

    async def state(self, sub_account_id: str) -> AccountState:
        """Return account, live positions, summary and rules of one moment."""
        return await self._get(f"/api/trade/positions/{sub_account_id}", AccountState)

    async def preview(
        self, sub_account_id: str, percent: Amount = 0, moves: Mapping[str, str] | None = None
    ) -> Preview:
        """Return what the account would be if every price changed by `percent`; `moves` names symbols that
        get a price ("45000") or a change ("-10%") of their own."""
        return await self._get(
            f"/api/trade/preview/{sub_account_id}", Preview, preview_query([percent], moves)
        )

    async def preview_desk(
        self, percents: Sequence[Amount] = (), moves: Mapping[str, str] | None = None
    ) -> tuple[DeskPreview, ...]:
        """Return all accounts after each change of prices (default: -20 to 20 percent). Admins only."""
        return await self._get("/api/admin/preview", tuple[DeskPreview, ...], preview_query(percents, moves))

    async def positions(self, sub_account_id: str) -> tuple[Position, ...]:
        return (await self.state(sub_account_id)).positions

    async def market(
        self,
        sub_account_id: str,
        symbol: str,
        side: str,
        quantity: Amount,
        *,
        leverage: Amount = 1,
        reduce_only: bool = False,
        fast: bool = False,
        idempotency_key: str | None = None,
    ) -> Executed:
        """Open, add, reduce or flip at market; `side` LONG or SHORT, `quantity` in base units. `fast` may
        answer before the executions are booked: see `Executed.confirmed`."""
        body = {
            "subAccountId": sub_account_id,
            "symbol": symbol,
            "side": side,
            "quantity": _amount(quantity),
            "leverage": _amount(leverage),
            "reduceOnly": reduce_only,
            "fastExecution": fast,
        }
        return await self._send("POST", "/api/trade", Executed, body, idempotency_key)

    async def limit(
        self,
        sub_account_id: str,
        symbol: str,
        side: str,
        quantity: Amount,
        price: Amount,
        *,
        leverage: Amount = 1,
        reduce_only: bool = False,
        time_in_force: str = "GTC",
        idempotency_key: str | None = None,
    ) -> Order:
        """Rest a limit order."""
        body = {
            "subAccountId": sub_account_id,
            "symbol": symbol,
            "side": side,
            "quantity": _amount(quantity),
            "price": _amount(price),
            "leverage": _amount(leverage),
            "reduceOnly": reduce_only,
            "timeInForce": time_in_force,
        }
        return (await self._send("POST", "/api/trade/limit", _Placed, body, idempotency_key)).order

    async def close_position(self, position_id: str, idempotency_key: str | None = None) -> Closed:
        """Close a position at market."""
        return await self._send("POST", f"/api/trade/close/{position_id}", Closed, None, idempotency_key)

    async def orders(self, sub_account_id: str) -> tuple[Order, ...]:
        """Return resting orders, newest first."""
        return await self._get(f"/api/trade/orders/{sub_account_id}", tuple[Order, ...])

    async def cancel(self, order_id: str, *, idempotency_key: str | None = None) -> None:
        """Cancel one order; returns once the exchange has confirmed it."""
        await self.request("DELETE", f"/api/trade/orders/{order_id}", idempotency_key=idempotency_key)

    async def history(
        self, sub_account_id: str, *, limit: int = 50, offset: int = 0, symbol: str | None = None
    ) -> History:
        """Return executions, newest first."""
        query = {"limit": str(limit), "offset": str(offset)}
        if symbol is not None:
            query["symbol"] = symbol
        return await self._get(f"/api/trade/history/{sub_account_id}", History, query)

    async def price(self, symbol: str) -> float:
        """Return the mark price."""
        content = await self.request("GET", f"/api/trade/price/{quote(symbol, safe='')}")
        return float(json.loads(content)["mark"])

    async def exposure(self) -> tuple[Exposure, ...]:
        """Return the netting identity of each symbol. Admins only."""
        return await self._get("/api/exposure", tuple[Exposure, ...])

    async def health(self) -> Health:
        return await self._get("/api/health", Health)

    # --- events ---------------------------------------------------------------------------------------------

    async def events(
        self, sub_account_ids: Sequence[str], symbols: Sequence[str] = ()
    ) -> AsyncIterator[Event]:
        """Yield frames of one connection, `subscribed` and the snapshot first.

        Ends when the server closes for a restart; raises ClientError when it refuses the session (4401) or
        the reader was too slow (4008): then read the state anew and call again.
        """
        address = "ws" + self.url.removeprefix("http") + "/ws"
        async with self._http().ws_connect(address, heartbeat=30, max_msg_size=0) as socket:
            await socket.send_json(
                {"type": "subscribe", "subAccountIds": list(sub_account_ids), "token": self.token}
            )
            if symbols:
                await socket.send_json({"type": "watch", "symbols": list(symbols)})
            async for received in socket:
                if received.type is aiohttp.WSMsgType.TEXT:
                    event = msgspec.json.decode(received.data, type=Event)
                    if event.type != "connected":
                        yield event
            if socket.close_code in (4401, 4008, 4429):
                raise ClientError(socket.close_code, "SOCKET_CLOSED", f"closed with {socket.close_code}")
