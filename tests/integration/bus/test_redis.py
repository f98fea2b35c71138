"""Redis dying, hanging and returning: fast failure, endless reconnecting, the projection writing again."""

import asyncio
import json
import time

import pytest

from pms.bus import keys
from pms.bus.errors import BusRefused, BusUnavailable
from pms.bus.port import Append, BusMode, SetValue
from pms.bus.projection import StateProjection
from pms.bus.redis import RedisState, reconnect_pause_seconds
from pms.model.ids import SubAccountId
from pms.runtime import SystemClock, SystemIds
from tests.support.servers import Servers

pytestmark = pytest.mark.redis
ALICE = SubAccountId("a11ce000-0000-4000-8000-000000000001")


class QuickIds(SystemIds):
    """Always the shortest pause."""

    def token(self, byte_count: int) -> str:
        return "00" * byte_count


async def until_mode(state: RedisState, mode: BusMode, seconds: float = 8.0) -> None:
    reached = asyncio.Event()
    state.add_mode_listener(lambda now: reached.set() if now is mode else None)
    if state.mode is not mode:
        async with asyncio.timeout(seconds):
            await reached.wait()


async def test_killed_and_restarted_empty_everything_is_written_again(servers: Servers) -> None:
    url = servers.redis("restart")
    state = RedisState(url, SystemClock(), QuickIds())
    projection = StateProjection(state, SystemClock(), "e")
    modes: list[BusMode] = []
    state.add_mode_listener(modes.append)
    await state.start()
    listener = await state.subscribe("c")
    projection.snapshot_changed(ALICE, {"equity": 1}, mutated=True)
    await projection.flush()
    assert json.loads(await state.get(keys.risk(ALICE)) or b"") == {"equity": 1, "v": 1}

    servers.kill_redis("restart")
    with pytest.raises(BusUnavailable):
        await state.get("k")
    started = time.monotonic()
    for call in (state.get("k"), state.write([SetValue("k", b"v", None)]), state.publish("c", b"")):
        with pytest.raises(BusUnavailable):
            await call
    assert time.monotonic() - started < 0.1, "known to be away: no waiting"
    with pytest.raises(BusUnavailable):
        await listener.next(20)

    assert servers.redis("restart", flush=False) == url
    await until_mode(state, BusMode.REDIS)
    await projection.flush()
    assert json.loads(await state.get(keys.risk(ALICE)) or b"") == {"equity": 1, "v": 1}
    assert modes == [BusMode.REDIS, BusMode.AWAY, BusMode.REDIS]
    assert state.statistics().returns == 1
    await listener.next(100)  # connects and subscribes again
    await state.publish("c", b"heard")
    message = await listener.next(1_000)
    assert message is not None
    assert message.data == b"heard"
    await state.close()


async def test_absent_at_the_start_is_no_error_and_it_is_found_later(servers: Servers) -> None:
    url = servers.redis("late")
    servers.kill_redis("late")
    state = RedisState(url, SystemClock(), QuickIds())
    await state.start()
    assert state.mode is BusMode.AWAY
    servers.redis("late", flush=False)
    await until_mode(state, BusMode.REDIS)
    assert state.statistics().returns == 0, "nothing was written before"
    await state.close()


async def test_a_hanging_server_costs_a_quarter_of_a_second_once() -> None:
    async def hang(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            line = b""
            while line := await reader.readline():
                if line.strip().upper() == b"INFO":
                    writer.write(b"$10\r\nrun_id:abc\r\n")
                elif line.strip().upper() in (b"HELLO", b"CLIENT"):
                    writer.write(b"-ERR unknown command\r\n")
        finally:
            writer.close()

    server = await asyncio.start_server(hang, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    state = RedisState(f"redis://127.0.0.1:{port}/0?protocol=2", SystemClock(), SystemIds())
    await state.start()
    modes: list[BusMode] = [state.mode]
    started = time.monotonic()
    with pytest.raises(BusUnavailable, match="250 ms"):
        await state.get("k")
    assert 0.2 < time.monotonic() - started < 0.6
    assert [*modes, state.mode] == [BusMode.REDIS, BusMode.AWAY]
    await state.close()
    server.close()


async def test_one_refused_write_of_a_batch_is_told_and_the_others_are_done(redis_url: str) -> None:
    state = RedisState(redis_url, SystemClock(), SystemIds())
    await state.start()
    await state.set("text", b"x")
    with pytest.raises(BusRefused, match="refused 1 of 3"):
        await state.write(
            [SetValue("a", b"1", None), Append("text", {"k": b"v"}, 10), SetValue("b", b"2", None)]
        )
    assert (await state.get("a"), await state.get("b")) == (b"1", b"2")
    await state.close()


def test_pauses_double_to_the_cap_and_are_spread() -> None:
    assert [reconnect_pause_seconds(attempt, 0.999) for attempt in range(3)] == pytest.approx(
        [0.1, 0.2, 0.4], rel=1e-3
    )
    assert reconnect_pause_seconds(10_000, 0.999) <= 2.0
    assert reconnect_pause_seconds(10_000, 0.0) == 1.0


async def test_a_cancelled_call_never_hands_its_answer_to_another(redis_url: str) -> None:
    state = RedisState(redis_url, SystemClock(), SystemIds())
    await state.start()
    for number in range(20):
        await state.set(f"k{number}", str(number).encode() * 2_000)
    for turn in range(40):
        calls = [asyncio.create_task(state.get(f"k{number}")) for number in range(20)]
        for _ in range(turn % 8):
            await asyncio.sleep(0)
        for call in calls[::2]:
            call.cancel()
        answers = await asyncio.gather(*calls, return_exceptions=True)
        for number, answer in enumerate(answers):
            if not isinstance(answer, BaseException):
                assert answer == str(number).encode() * 2_000
    assert state.mode is BusMode.REDIS
    await state.close()


async def test_a_wrong_password_is_away_not_a_crash_and_is_not_logged(
    redis_url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    url = redis_url.replace("redis://", "redis://nobody:hunter2@")
    state = RedisState(url, SystemClock(), SystemIds())
    await state.start()
    assert state.mode is BusMode.AWAY
    with pytest.raises(BusUnavailable) as caught:
        await state.get("k")
    await state.close()
    assert "hunter2" not in str(caught.value) + "".join(capsys.readouterr())
