"""What no client should send: every answer is one clear line, nothing is logged, the exchange goes on."""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import pytest_asyncio
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from pms.simulator import Simulator, SimulatorConfig, SimulatorError, http_server
from tests.unit.simulator.signed_client import KEY, SECRET, SignedClient, receive

pytestmark = pytest.mark.asyncio(loop_scope="module")
HEAD = b"POST /fapi/v1/order HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def simulator() -> AsyncIterator[Simulator]:
    running = Simulator(SimulatorConfig(symbols=("BTCUSDT",), accounts=((KEY, SECRET, Decimal(1000)),)))
    await running.start()
    try:
        yield running
    finally:
        await running.stop()


async def _raw(simulator: Simulator, sent: bytes) -> bytes:
    """Send bytes and return everything that comes until the exchange closes."""
    reader, writer = await asyncio.open_connection("127.0.0.1", int(simulator.url.rsplit(":", 1)[1]))
    writer.write(sent)
    try:
        return await asyncio.wait_for(reader.read(), 5)
    finally:
        writer.close()


@pytest.mark.parametrize(
    ("sent", "status", "text"),
    [
        (HEAD + b"Content-Encoding: gzip\r\nContent-Length: 4\r\n\r\nabcd", 400, "cannot be decoded"),
        (HEAD + b"Content-Length: 9\r\n\r\nabcd", 408, "did not arrive within"),
        (HEAD + b"Content-Length: 2000000\r\n\r\n" + b"a" * 2_000_000, 413, "exceeded"),
        (HEAD + b"Content-Length: -1\r\n\r\n", 400, "Content-Length"),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", 400, "HTTPS traffic"),
        (b"GET /fapi/v1/depth?symbol=\xff HTTP/1.1\r\nHost: x\r\n\r\n", 400, "Invalid char"),
        (b"GET /fapi/v1/depth?symbol=%FF HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", 400, "-1121"),
        (b"POST /public/ws HTTP/1.0\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n", 404, "Not Found"),
    ],
)
async def test_malformed_requests_end_with_one_clear_line(
    simulator: Simulator,
    sent: bytes,
    status: int,
    text: str,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(http_server, "BODY_SECONDS", 0.05)
    with caplog.at_level(logging.INFO):
        answer = await _raw(simulator, sent)
    head, _, body = answer.partition(b"\r\n\r\n")
    assert int(head.split()[1]) == status
    assert text in body.decode()
    assert b"Traceback" not in body
    assert not caplog.records


@pytest.mark.parametrize(
    ("method", "path", "params", "code"),
    [
        ("GET", "/fapi/v1/income/asyn", {"startTime": 1, "endTime": 2}, -4084),
        ("GET", "/fapi/v1/order/asyn", {"startTime": 1}, -1102),
        ("GET", "/fapi/v1/trade/asyn/id", {"downloadId": "1"}, -4084),
        ("GET", "/fapi/v1/trade/asyn/id", {}, -1102),
        ("GET", "/fapi/v1/pmAccountInfo", {"asset": "USDT"}, -4084),
        ("POST", "/fapi/v1/convert/getQuote", {"fromAsset": "USDT", "toAsset": "BTC"}, -4084),
        ("POST", "/fapi/v1/stock/contract", {}, 200),
    ],
)
async def test_what_this_exchange_does_not_offer_is_refused_by_its_own_code(
    simulator: Simulator, method: str, path: str, params: dict[str, Any], code: int
) -> None:
    async with aiohttp.ClientSession() as session:
        answer = await SignedClient(simulator.url, session).signed(method, path, **params)
    assert answer.body["code"] == code


@pytest.mark.parametrize("path", ["/public/ws", "/ws-fapi/v1"])
async def test_a_binary_frame_ends_the_connection_with_a_reason(simulator: Simulator, path: str) -> None:
    async with aiohttp.ClientSession() as session, session.ws_connect(simulator.ws_url + path) as socket:
        await socket.send_bytes(b'{"method":"LIST_SUBSCRIPTIONS","id":1}')
        message = await socket.receive(5)
    assert (message.type, message.data, message.extra) == (aiohttp.WSMsgType.CLOSE, 1003, "text frames only")


async def test_a_stream_name_that_no_stream_can_have_is_not_remembered(simulator: Simulator) -> None:
    async with (
        aiohttp.ClientSession() as session,
        session.ws_connect(f"{simulator.ws_url}/public/ws") as socket,
    ):
        await socket.send_json({"method": "SUBSCRIBE", "params": ["a" * 501], "id": 1})
        assert (await receive(socket))["error"]["code"] == 2
        await socket.send_json({"method": "LIST_SUBSCRIPTIONS", "id": 2})
        assert await receive(socket) == {"result": [], "id": 2}


def _certificate(folder: Path) -> tuple[Path, Path]:
    key, name = (
        ec.generate_private_key(ec.SECP256R1()),
        x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "x")]),
    )
    start = datetime(2020, 1, 1, tzinfo=UTC)
    made = x509.CertificateBuilder(name, name, key.public_key(), 1, start, start + timedelta(days=36_500))
    local = x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))])
    certificate, secret = folder / "certificate.pem", folder / "key.pem"
    signed = made.add_extension(local, critical=False).sign(key, SHA256())
    certificate.write_bytes(signed.public_bytes(Encoding.PEM))
    secret.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    return certificate, secret


async def test_clients_that_insist_on_tls_get_it_on_every_door(tmp_path: Path) -> None:
    certificate, key = _certificate(tmp_path)
    simulator = Simulator(SimulatorConfig(symbols=("BTCUSDT",), tls=(certificate, key)))
    await simulator.start()
    trusting = ssl.create_default_context(cafile=str(certificate))
    try:
        assert (simulator.url[:8], simulator.ws_url[:6]) == ("https://", "wss://")
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=trusting)) as session:
            async with session.get(simulator.url + "/fapi/v1/ping") as answer:
                assert await answer.json() == {}
            async with session.ws_connect(simulator.ws_url + "/public/ws") as socket:
                await socket.send_json({"method": "LIST_SUBSCRIPTIONS", "id": 1})
                assert await receive(socket) == {"result": [], "id": 1}
    finally:
        await simulator.stop()
    with pytest.raises(SimulatorError, match="TLS cannot use the certificate"):
        await Simulator(SimulatorConfig(symbols=("BTCUSDT",), tls=(key, certificate))).start()
