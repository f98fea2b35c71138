"""The `pms` command with bad input: one clear line, a stable exit code, nothing changed."""

import gzip
import logging
import socket
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
import structlog
from typer.testing import CliRunner, Result

from pms.cli import (
    EXIT_CHECK_FAILED,
    EXIT_RESOURCE,
    EXIT_USAGE,
    app,
)
from pms.data_folder import DataFolderError


@contextmanager
def kept_logging() -> Iterator[None]:
    """The commands set up the logging of their process; here that process is the test run."""
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    structlog.reset_defaults()


@pytest.fixture(autouse=True)
def restored_logging() -> Iterator[None]:
    with kept_logging():
        yield


def pms(*arguments: str, stdin: str | None = None) -> Result:
    return CliRunner().invoke(app, list(arguments), input=stdin)


def one_line(result: Result) -> str:
    """Return the only line on standard error."""
    lines = [line for line in result.stderr.splitlines() if line]
    assert len(lines) == 1, result.output
    assert lines[0].startswith("pms: ")
    return lines[0]


def test_the_demo_refuses_any_exchange_but_the_simulator(tmp_path: Path) -> None:
    result = pms("up", "--demo", "--exchange", "binance", "--data-dir", str(tmp_path / "data"))
    assert result.exit_code == EXIT_USAGE
    assert "--demo works with the simulator only" in one_line(result)
    assert not (tmp_path / "data").exists()


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (("--exchange", "nowhere"), "PMS_EXCHANGE"),
        (("--db", "mysql://x"), "DATABASE_URL"),
        (("--redis", "http://x"), "REDIS_URL"),
        (("--port", "70000"), "PORT"),
        (("--phase", "9"), "PMS_PHASE"),
        (("--roles", "king"), "PMS_ROLES"),
        (("--roles", "gateway"), "PMS_ROLES"),
        (("--exchange", "testnet", "--port", "0"), "BINANCE_API_KEY"),
    ],
)
def test_an_unusable_setting_is_named(arguments: tuple[str, ...], named: str, tmp_path: Path) -> None:
    result = pms("up", *arguments, "--data-dir", str(tmp_path / "data"))
    assert result.exit_code == EXIT_USAGE
    assert named in one_line(result)


@pytest.mark.parametrize(
    ("variable", "value"),
    [("PMS_WORKER_SECRET", "s" * 32)],
)
def test_a_setting_that_is_not_in_force_yet_is_refused_not_ignored(
    variable: str, value: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, value)
    result = pms("up", "--port", "0", "--seconds", "0", "--data-dir", str(tmp_path / "data"))
    assert result.exit_code == EXIT_USAGE
    assert f"{variable}: this version" in one_line(result)
    assert not (tmp_path / "data").exists()


def test_a_busy_port_is_named_and_its_owner_left_alone(tmp_path: Path) -> None:
    with socket.socket() as busy:
        busy.bind(("127.0.0.1", 0))
        busy.listen()
        port = busy.getsockname()[1]
        result = pms("up", "--port", str(port), "--data-dir", str(tmp_path / "data"))
        assert result.exit_code == EXIT_RESOURCE
        assert f"port {port}" in one_line(result)
        socket.create_connection(("127.0.0.1", port)).close()
    assert not (tmp_path / "data").exists()


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    occupied = tmp_path / "file"
    occupied.write_text("mine")
    result = pms("up", "--port", "0", "--data-dir", str(occupied))
    assert result.exit_code == EXIT_RESOURCE
    assert str(occupied) in one_line(result)
    assert occupied.read_text() == "mine"


def test_a_database_newer_than_the_code_is_left_alone(tmp_path: Path) -> None:
    data = tmp_path / "data"
    assert pms("user", "create", "eve", "--data-dir", str(data)).exit_code == 0
    with closing(sqlite3.connect(data / "ledger.db")) as database, database:
        database.execute("UPDATE pms_schema_version SET version_num = '9999'")
    before = (data / "ledger.db").read_bytes()
    result = pms("account", "list", "--data-dir", str(data))
    assert result.exit_code == EXIT_RESOURCE
    assert "update the program" in one_line(result)
    assert (data / "ledger.db").read_bytes() == before


def test_a_corrupt_database_is_named(tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir()
    (data / "ledger.db").write_bytes(b"this is no database" * 100)
    result = pms("account", "list", "--data-dir", str(data))
    assert result.exit_code == EXIT_RESOURCE
    assert "ledger.db" in one_line(result)


@pytest.mark.parametrize(
    "content",
    [b"not gzip", gzip.compress(b'{"recv_ns": 1, "frame": {"stream"', mtime=0)],
    ids=["no gzip", "cut in the middle"],
)
def test_a_corrupt_recording_is_named(content: bytes, tmp_path: Path) -> None:
    recording = tmp_path / "broken.jsonl.gz"
    recording.write_bytes(content)
    result = pms("simulate", "--port", "0", "--recording", str(recording))
    assert result.exit_code == EXIT_RESOURCE
    assert "broken.jsonl.gz" in one_line(result)


def test_an_audit_of_nothing_says_so(tmp_path: Path) -> None:
    result = pms("audit", "--data-dir", str(tmp_path / "none"))
    assert result.exit_code == EXIT_RESOURCE
    assert "no database" in one_line(result)


def test_users_are_made_listed_and_never_doubled(tmp_path: Path) -> None:
    where = ("--data-dir", str(tmp_path / "data"))
    made = pms("user", "create", "eve", "--admin", "--password-stdin", *where, stdin="correct-horse-1\n")
    assert made.exit_code == 0, made.output
    assert "correct-horse" not in made.output
    assert pms("user", "create", "eve", *where).exit_code == EXIT_USAGE
    listed = pms("user", "list", *where)
    assert "ADMIN" in listed.output
    assert "eve" in listed.output
    assert pms("user", "passwd", "nobody", *where).exit_code == EXIT_USAGE
    assert "password" in pms("user", "passwd", "eve", *where).output


@pytest.mark.parametrize("name", ["", "a\tb", "<b>", "x" * 65])
def test_a_user_that_could_never_log_in_is_not_made(name: str, tmp_path: Path) -> None:
    result = pms("user", "create", name, "--data-dir", str(tmp_path / "data"))
    assert result.exit_code == EXIT_USAGE
    assert "user name" in one_line(result)
    assert not (tmp_path / "data").exists()


def test_an_empty_password_is_not_taken_for_none_given(tmp_path: Path) -> None:
    where = ("--data-dir", str(tmp_path / "data"))
    result = pms("user", "create", "eve", "--password-stdin", *where, stdin="\n")
    assert result.exit_code == EXIT_USAGE
    assert "empty" in one_line(result)


def test_an_account_name_is_held_to_the_bounds_of_the_api(tmp_path: Path) -> None:
    result = pms("account", "create", "a\n<b>", "--data-dir", str(tmp_path / "data"))
    assert result.exit_code == EXIT_USAGE
    assert "account name" in one_line(result)


@pytest.mark.parametrize(
    "command",
    [
        ("user", "list"),
        ("user", "passwd", "eve"),
        ("account", "list"),
        ("account", "deposit", "Alice", "5"),
        ("account", "freeze", "Alice"),
    ],
)
def test_a_mistyped_folder_is_named_and_not_made(command: tuple[str, ...], tmp_path: Path) -> None:
    result = pms(*command, "--data-dir", str(tmp_path / "typo"))
    assert result.exit_code == EXIT_RESOURCE
    assert "no database" in one_line(result)
    assert not (tmp_path / "typo").exists()


def test_a_port_beyond_the_range_is_refused_by_the_simulator() -> None:
    assert pms("simulate", "--port", "70000").exit_code == EXIT_USAGE
    assert pms("simulate", "--port", "0", "--symbols", "NOPE", "--speed", "max").exit_code == EXIT_RESOURCE
    assert pms("simulate", "--port", "0", "--key", "nobody,k,s").exit_code == EXIT_RESOURCE
    without = pms("simulate", "--port", "0", "--tls-cert", "no.pem", "--tls-key", "no.pem")
    assert without.exit_code == EXIT_RESOURCE
    assert "no.pem" in one_line(without)


@pytest.mark.parametrize(
    "amount", ["0", "-5", "NaN", "Infinity", "ten", "", "1e400", "1_000", "\u0661\u0662"]
)
def test_amounts_must_be_positive_numbers(amount: str, tmp_path: Path) -> None:
    where = ("--data-dir", str(tmp_path / "data"))
    assert pms("account", "create", "Alice", *where).exit_code == 0
    result = pms("account", "deposit", "Alice", "--data-dir", str(tmp_path / "data"), "--", amount)
    assert result.exit_code == EXIT_USAGE
    assert "amount" in one_line(result)


def test_a_deposit_beyond_the_house_is_refused_and_named(tmp_path: Path) -> None:
    where = ("--data-dir", str(tmp_path / "data"))
    assert pms("account", "create", "Alice", *where).exit_code == 0
    result = pms("account", "deposit", "Alice", "100", *where)
    assert result.exit_code == EXIT_CHECK_FAILED
    assert "house" in one_line(result)
    assert pms("account", "freeze", "Bob", *where).exit_code == EXIT_CHECK_FAILED
    assert pms("account", "freeze", "Alice", *where).exit_code == 0
    assert "FROZEN" in pms("account", "list", *where).output


def test_the_doctor_tells_what_is_wrong(tmp_path: Path) -> None:
    well = pms("doctor", "--data-dir", str(tmp_path / "data"))
    assert well.exit_code == 0, well.output
    assert well.output.count("ok  ") == 5
    assert not (tmp_path / "data").exists(), "the doctor changes nothing"
    ill = pms("doctor", "--redis", "redis://127.0.0.1:1", "--data-dir", str(tmp_path / "data"))
    assert ill.exit_code == EXIT_CHECK_FAILED
    assert "FAIL  redis" in ill.output


@pytest.mark.parametrize(
    "arguments",
    [
        ("up", "--data-dir", "", "--port", "0", "--seconds", "0"),
        ("account", "list", "--data-dir", " "),
        ("audit", "--data-dir", "a\0b"),
        ("up", "--speed", "inf", "--seconds", "0", "--port", "0"),
        ("simulate", "--speed", "1e300", "--port", "0"),
        ("simulate", "--speed", "fast", "--port", "0"),
        ("simulate", "--speed", "0", "--port", "0"),
        ("simulate", "--tls-cert", "cert.pem", "--port", "0"),
        ("simulate", "--wallet", "1e400", "--port", "0"),
        ("simulate", "--wallet", "-1", "--port", "0"),
        ("simulate", "--api-key", "", "--port", "0"),
        ("simulate", "--api-secret", "\n", "--port", "0"),
        ("simulate", "--api-secret", "@missing.pem", "--port", "0"),
        ("simulate", "--api-secret", f"@{__file__}", "--port", "0"),
        ("simulate", "--key", f"demo,second,@{__file__}", "--port", "0"),
        ("simulate", "--account", "key,secret", "--port", "0"),
        ("simulate", "--account", "key,secret,-1", "--port", "0"),
        ("simulate", "--account", "demo,secret,1", "--port", "0"),
        ("simulate", "--key", "demo,second", "--port", "0"),
        ("simulate", "--stream-routing", "new", "--port", "0"),
        ("simulate", "--limits", "some", "--port", "0"),
        ("simulate", "--synthetic", "storm:10", "--port", "0"),
        ("simulate", "--relay", "http://localhost", "--symbols", "BTCUSDT", "--port", "0"),
        ("simulate", "--relay", "http://localhost,ws://localhost", "--port", "0"),
        ("simulate", "--queue-model", "front", "--port", "0"),
        ("simulate", "--latency", "5", "--port", "0"),
        ("simulate", "--latency", "-5,0,0", "--port", "0"),
        ("simulate", "--maker-fee", "1e-4", "--port", "0"),
        ("simulate", "--faults", "earthquake", "--port", "0"),
        ("simulate", "--faults", "missing.toml", "--port", "0"),
        ("account", "create", "x", "--balance", "1e9999999"),
    ],
)
def test_what_no_run_can_mean_is_wrong_usage(
    arguments: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert pms(*arguments).exit_code == EXIT_USAGE
    assert not list(tmp_path.iterdir()), "nothing was made"


def test_an_error_of_several_lines_is_told_in_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def failing(*arguments: object) -> int:
        raise DataFolderError("first line\n  second line")

    monkeypatch.setattr("pms.commands.accounts.show", failing)
    assert one_line(pms("account", "list", "--data-dir", str(tmp_path))) == "pms: first line second line"


def test_an_audit_goes_on_without_an_exchange_that_cannot_be_read(tmp_path: Path) -> None:
    data = tmp_path / "data"
    assert pms("user", "create", "eve", "--data-dir", str(data)).exit_code == 0
    (data / "simulator.db").write_bytes(b"no database" * 500)
    result = pms("audit", "--data-dir", str(data))
    assert result.exit_code == 0
    assert "not compared with the simulated exchange" in result.output
    assert "skipped" in result.output


def test_accounts_are_set_transferred_reset_and_closed_offline(tmp_path: Path) -> None:
    folder = ("--data-dir", str(tmp_path / "data"))
    for name in ("Ann", "Bob"):
        assert pms("account", "create", name, *folder).exit_code == 0
    # The house has no capital before an engine has read a wallet: cash can only move to it and around.
    refused = pms("account", "set-balance", "Ann", "5", *folder)
    assert refused.exit_code == EXIT_CHECK_FAILED
    assert "the house holds 0" in one_line(refused)
    with closing(sqlite3.connect(tmp_path / "data" / "ledger.db")) as database:
        assert database.execute("SELECT count(*) FROM balance_logs").fetchone() == (2,)
    assert "Ann: 0 -> 0 USDT" in pms("account", "set-balance", "Ann", "0", *folder).output
    assert "can transfer at most 0" in one_line(pms("account", "transfer", "Ann", "Bob", "1", *folder))
    assert "two accounts" in one_line(pms("account", "transfer", "Ann", "Ann", "1", *folder))
    assert "Ann: ACTIVE, 0 USDT" in pms("account", "reset", "Ann", *folder).output
    assert "Ann: owed 0 -> 0 USDT" in pms("account", "write-off", "Ann", *folder).output
    assert "Bob: FROZEN, 0 USDT" in pms("account", "close", "Bob", *folder).output
    for bad in ("-1", "NaN", "x"):
        assert pms("account", "set-balance", "Ann", "--", bad, *folder).exit_code == EXIT_USAGE
