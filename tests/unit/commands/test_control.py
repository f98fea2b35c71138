"""`pms kill` and `pms rules` without an engine: in the ledger, for the next start."""

import pytest

from pms.cli import EXIT_CHECK_FAILED, EXIT_USAGE
from tests.unit.commands.test_cli import kept_logging, one_line, pms, restored_logging

__all__ = ["restored_logging"]


@pytest.fixture(scope="module")
def where(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """A data folder with one account; every test leaves nothing restricted."""
    folder = ["--data-dir", str(tmp_path_factory.mktemp("control") / "data")]
    with kept_logging():
        made = pms("account", "create", "Alice", *folder)
    assert made.exit_code == 0, made.output
    return folder


def said(*arguments: str) -> list[str]:
    result = pms(*arguments)
    assert result.exit_code == 0, result.output
    return [" ".join(line.split()) for line in result.stdout.splitlines()]


def test_what_is_set_is_kept_and_shown_until_it_is_released(where: list[str]) -> None:
    said("kill", "halt", "--reason", "exchange trouble", *where)
    assert said("kill", "flatten", "--account", "Alice", *where) == [
        "every account HALT operator exchange trouble",
        "Alice FLATTEN operator",
        "no engine runs here: its next start acts on this",
    ]
    said("kill", "release", *where)
    assert said("kill", "show", *where)[0] == "Alice FLATTEN operator"
    assert said("kill", "release", "--account", "Alice", *where) == ["nothing is restricted"]


def test_rules_are_shown_as_they_are_set(where: list[str]) -> None:
    assert said("rules", *where) == ["no further rules"]
    text = '{"orderRate": {"action": "REDUCE_ONLY", "perMinuteMax": 60}}'
    shown = " ".join(said("rules", "--account", "Alice", "--set", text, *where))
    assert '"orderRate": { "action": "REDUCE_ONLY", "perMinuteMax": 60 }' in shown
    assert '"dailyLoss": null' in shown
    assert said("rules", *where) == ["no further rules"], "the others have none"


@pytest.mark.parametrize(
    ("arguments", "code", "text"),
    [
        (("kill", "everything"), EXIT_USAGE, "must be one of reduce-only, halt, flatten, release, show"),
        (("kill", "halt", "--source", "rule:daily_loss"), EXIT_USAGE, "only for release"),
        (("kill", "halt", "--account", "Nobody"), EXIT_CHECK_FAILED, "no sub-account has"),
        (("kill", "release", "--source", "somebody"), EXIT_CHECK_FAILED, "comes from operator"),
        (("rules", "--set", '{"dailyLoss": {"action": "LOCK"}}'), EXIT_USAGE, "amountMax or fractionMax"),
        (("rules", "--set", '{"orderRate": {"action": "SOON"}}'), EXIT_USAGE, "orderRate"),
        (("rules", "--set", "much"), EXIT_USAGE, "not acceptable"),
    ],
)
def test_a_wrong_command_says_what_is_wrong(
    where: list[str], arguments: tuple[str, ...], code: int, text: str
) -> None:
    result = pms(*arguments, *where)
    assert result.exit_code == code, result.output
    assert text in one_line(result)
