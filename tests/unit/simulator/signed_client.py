"""A small signed REST and stream client for the simulator's wire tests."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
import time
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlencode

import aiohttp
from yarl import URL

KEY, SECRET = "test-key-1", "secret-1"
DEADLINE = aiohttp.ClientTimeout(total=10)


@dataclass
class Answer:
    """Status, decoded body and headers of one answer."""

    status: int
    body: Any
    headers: Any = field(repr=False, default=None)


class SignedClient:
    """Sends requests as a third-party client does: parameters in the query, or as a form body."""

    def __init__(
        self, url: str, session: aiohttp.ClientSession, key: str = KEY, secret: str = SECRET
    ) -> None:
        self.url, self.session, self.key, self.secret = url, session, key, secret

    def sign(self, text: str) -> str:
        """Return the HMAC-SHA256 of a text in hex."""
        return hmac.new(self.secret.encode(), text.encode(), hashlib.sha256).hexdigest()

    async def raw(self, method: str, path_and_query: str, body: str | None = None) -> Answer:
        """Send exactly these bytes with the key header."""
        headers = {"X-MBX-APIKEY": self.key} if self.key else {}
        if body is not None:
            headers["Content-Type"] = "application/x-www-form-urlencoded"
        url = URL(self.url + path_and_query, encoded=True)
        async with self.session.request(method, url, data=body, headers=headers, timeout=DEADLINE) as answer:
            return Answer(answer.status, json.loads(await answer.read()), answer.headers)

    async def signed(self, method: str, path: str, as_body: bool = False, **params: Any) -> Answer:
        """Send a signed request; the signature is the last parameter."""
        params.setdefault("timestamp", time.time_ns() // 1_000_000)
        text = urlencode(params)
        text += "&signature=" + self.sign(text)
        if as_body:
            return await self.raw(method, path, text)
        return await self.raw(method, f"{path}?{text}")

    async def order(self, **params: Any) -> Answer:
        """POST /fapi/v1/order."""
        return await self.signed("POST", "/fapi/v1/order", **params)


async def receive(socket: aiohttp.ClientWebSocketResponse, seconds: float = 5.0) -> Any:
    """Return the next JSON message of a stream."""
    message = await asyncio.wait_for(socket.receive(), seconds)
    assert message.type is aiohttp.WSMsgType.TEXT, message
    return json.loads(message.data)
