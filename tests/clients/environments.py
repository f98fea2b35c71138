"""Makes the environment of each client from its locked, hashed packages."""

import asyncio
import hashlib
import json
import os
import re
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

FOLDER = Path(__file__).parent
ROOT = FOLDER.parent.parent
ENVIRONMENTS = ROOT / ".venv-clients"
MAKE_SECONDS = 300.0
NEWER_PYTHONS = ("python3.14", "python3.13", "python3.12")


class NotMade(RuntimeError):
    """The environment of a client could not be made; the message has the tool's own words."""


@dataclass(frozen=True, slots=True)
class Client:
    """One third-party client: how it is installed, and the program that uses it.

    `newer_python` asks for Python 3.12 or newer. `options` go to the simulator. `large` clients are not part
    of `make test-clients`.
    """

    name: str
    package: str
    program: str
    large: bool = False
    newer_python: bool = False
    node: bool = False
    options: tuple[str, ...] = ()
    seconds_max: float = 80.0

    @property
    def lock(self) -> Path:
        """The file with the pinned versions and hashes."""
        folder = FOLDER / "requirements"
        return folder / self.name / "package-lock.json" if self.node else folder / f"{self.name}.lock"

    @property
    def locked_version(self) -> str:
        """The version of the client in its lock (of a lock for several Pythons the newest)."""
        text = self.lock.read_text()
        if self.node:
            found = json.loads(text)["packages"][f"node_modules/{self.package}"]["version"]
            return str(found)
        name = re.escape(self.package).replace("_", "[-_]").replace(r"\-", "[-_]")
        versions: list[str] = re.findall(rf"^{name}==([^\s;]+)", text, re.MULTILINE)
        return versions[-1]


async def made(client: Client) -> tuple[list[str], dict[str, str]]:
    """Make the client's environment where it is not ready; return what starts a program in it.

    That is the command and the variables it needs. Raises NotMade.
    """
    if client.node:
        return await _node(client)
    python = _newer_python() if client.newer_python else sys.executable
    key = hashlib.sha256(f"{client.lock.read_text()}{python}".encode()).hexdigest()[:12]
    place = ENVIRONMENTS / f"{client.name}-{key}"
    program = place / "bin" / "python"
    if not (place / ".ready").exists():
        _remove_older(client)
        await _run(python, "-m", "venv", "--clear", "--without-pip", str(place))
        # pip, as in scripts/setup.sh: it knows the machine's certificates and index without variables.
        await _run(
            sys.executable,
            "-m",
            "pip",
            "--python",
            str(program),
            "install",
            "--quiet",
            "--no-input",
            "--disable-pip-version-check",
            "--require-hashes",
            *(() if client.large else ("--only-binary=:all:",)),  # freqtrade needs one source package
            "-r",
            str(client.lock),
        )
        (place / ".ready").touch()
    return [str(program), "-s"], {}


async def _node(client: Client) -> tuple[list[str], dict[str, str]]:
    npm, node = shutil.which("npm"), shutil.which("node")
    if not npm or not node:
        raise NotMade("npm and node (20 or newer) are needed: apt-get install nodejs npm")
    key = hashlib.sha256(client.lock.read_bytes()).hexdigest()[:12]
    place = ENVIRONMENTS / f"{client.name}-{key}"
    if not (place / ".ready").exists():
        _remove_older(client)
        place.mkdir(parents=True)
        for name in ("package.json", "package-lock.json", ".npmrc"):
            shutil.copy(client.lock.parent / name, place / name)
        await _run(npm, "ci", "--no-audit", "--no-fund", "--ignore-scripts", "--prefix", str(place))
        (place / ".ready").touch()
    return [node], {"NODE_PATH": str(place / "node_modules")}


def _newer_python() -> str:
    """Return a Python 3.12 or newer: PMS_CLIENTS_PYTHON, this one, one on the PATH, one of pyenv."""
    named = os.environ.get("PMS_CLIENTS_PYTHON")
    if named:
        return named
    if sys.version_info >= (3, 12):
        return sys.executable
    pyenv = sorted(Path.home().glob(".pyenv/versions/3.1[2-9]*/bin/python"), reverse=True)
    places = [place for place in map(shutil.which, NEWER_PYTHONS) if place and ".pyenv/shims" not in place]
    for candidate in [*places, *map(str, pyenv)]:
        return candidate
    raise NotMade("Python 3.12 or newer is needed; name one in PMS_CLIENTS_PYTHON")


def _remove_older(client: Client) -> None:
    for old in ENVIRONMENTS.glob(f"{client.name}-????????????"):
        shutil.rmtree(old)


async def _run(*command: str) -> None:
    kept = {k: v for k, v in os.environ.items() if k not in ("VIRTUAL_ENV", "PYTHONPATH")}
    process = await asyncio.create_subprocess_exec(
        *command, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT, env=kept
    )
    try:
        output, _ = await asyncio.wait_for(process.communicate(), MAKE_SECONDS)
    except TimeoutError:
        process.kill()
        raise NotMade(f"{command[0]} took longer than {MAKE_SECONDS} s: {' '.join(command)}") from None
    if process.returncode:
        raise NotMade(f"{' '.join(command)} failed:\n{output.decode()[-3000:]}")
