"""Runs a client's program in its environment against a simulator of its own, and reads its steps."""

import asyncio
import json
import signal
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from tests.clients.environments import FOLDER, Client, NotMade, made
from tests.support.system import ServedProcess, clean_environment, free_port

KEY, SECRET = "third-party-key", "third-party-secret"
TOKEN = "third-party-token"


@dataclass(frozen=True, slots=True)
class Step:
    """One thing that a client did. `mode` is empty for what has no position mode; `kind` is step or call."""

    kind: str
    mode: str
    name: str
    ok: bool
    note: str
    seconds: float
    traceback: str


@dataclass(slots=True)
class Outcome:
    """What became of one client; `problem` is empty when its program ended well."""

    client: Client
    version: str = ""
    steps: list[Step] = field(default_factory=list)
    problem: str = ""

    @property
    def ok(self) -> bool:
        return not self.problem and bool(self.steps) and all(step.ok for step in self.steps)


async def driven(client: Client, folder: Path, say: Callable[[str], None]) -> Outcome:
    """Make the environment, serve the exchange, run the program to its end.

    A failure of the client is in the outcome; nothing is raised for it.
    """
    outcome = Outcome(client, client.locked_version)
    try:
        started = await made(client)
    except NotMade as error:
        outcome.problem = str(error)
        return outcome
    port = free_port()
    options = client.options or ("--recording", "calm")
    exchange = ServedProcess(
        [
            *(
                "simulate",
                "--port",
                str(port),
                "--api-key",
                KEY,
                "--api-secret",
                SECRET,
                "--wallet",
                "100000",
                "--admin-token",
                TOKEN,
            ),
            *options,
        ],
        folder / f"{client.name}.simulator.log",
    )
    await exchange.start()
    try:
        await exchange.until_answers(f"http://127.0.0.1:{port}/fapi/v1/ping")
        await _program(started, port, folder, outcome, say)
        if outcome.problem:
            outcome.problem += f"\n--- the simulator's last lines\n{exchange.log.read_text()[-2000:]}"
    except AssertionError as error:
        outcome.problem = f"the simulator did not start: {error}"
    finally:
        await exchange.stop()
    return outcome


async def _program(
    started: tuple[list[str], dict[str, str]],
    port: int,
    folder: Path,
    outcome: Outcome,
    say: Callable[[str], None],
) -> None:
    client, (command, variables) = outcome.client, started
    errors = folder / f"{client.name}.program.log"
    with errors.open("wb") as log:
        process = await asyncio.create_subprocess_exec(
            *command,
            str(FOLDER / "programs" / client.program),
            stdout=asyncio.subprocess.PIPE,
            stderr=log,
            limit=1 << 20,
            cwd=folder,
            start_new_session=True,
            env=clean_environment(
                PMS_SIMULATOR_HTTP=f"http://127.0.0.1:{port}",
                PMS_SIMULATOR_WS=f"ws://127.0.0.1:{port}",
                PMS_API_KEY=KEY,
                PMS_API_SECRET=SECRET,
                PMS_ADMIN_TOKEN=TOKEN,
                PYTHONDONTWRITEBYTECODE="1",
                **variables,
            ),
        )
        try:
            async with asyncio.timeout(client.seconds_max):
                await _read(client, process, outcome, say)
                code = await process.wait()
        except TimeoutError:
            outcome.problem = f"the program did not end within {client.seconds_max:.0f} s"
            process.send_signal(signal.SIGKILL)
            await process.wait()
            code = 0
    if code and not any(step.traceback for step in outcome.steps):
        outcome.problem = f"the program ended with {code}"
    if outcome.problem:
        outcome.problem += f"\n--- the program's last lines\n{errors.read_text(errors='replace')[-4000:]}"


async def _read(
    client: Client, process: asyncio.subprocess.Process, outcome: Outcome, say: Callable[[str], None]
) -> None:
    assert process.stdout is not None
    async for line in process.stdout:
        if not line.startswith(b"STEP "):
            continue
        step = Step(**json.loads(line[5:]))
        outcome.steps.append(step)
        verdict = "ok" if step.ok else "FAILED"
        what = f"{client.name:15} {step.mode:8} {step.name:48}"
        say(f"{what} {verdict} {step.seconds:6.2f} s  {step.note}".rstrip())
        if step.traceback:
            say(step.traceback)
