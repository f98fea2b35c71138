"""`pms kill` and `pms rules`: control from the command line, beside a running engine or without one."""

from collections.abc import Callable, Mapping

import orjson
from pydantic import ValidationError

from pms.commands.accounts import find_account
from pms.commands.opened import opened_ledger
from pms.commands.running import is_running, running_engine
from pms.gateway.rule_bodies import TradingRulesBody
from pms.ledger.api import Actor
from pms.model.restriction import Restriction
from pms.model.trading_rules import rules_to_json
from pms.settings import SettingsError

Say = Callable[[str], None]
Overrides = Mapping[str, object]

LEVELS = {
    "reduce-only": Restriction.REDUCE_ONLY,
    "halt": Restriction.HALT,
    "flatten": Restriction.FLATTEN,
    "release": Restriction.NONE,
}
SHOW = "show"


async def kill(
    overrides: Overrides, level: str, account: str | None, reason: str, source: str, say: Say
) -> int:
    """Set, release or show restrictions. What a level cancels and closes, a running engine does at once;
    without one its next start does."""
    if level not in (*LEVELS, SHOW):
        raise SettingsError(f"LEVEL: must be one of {', '.join((*LEVELS, SHOW))}, was {level!r}")
    if source != "operator" and level not in ("release", SHOW):
        raise SettingsError("--source: only for release; an operator sets his own restriction")
    if is_running(overrides):
        await _through_engine(overrides, level, account, reason, source, say)
    else:
        await _in_ledger(overrides, level, account, reason, source, say)
    return 0


async def _through_engine(
    overrides: Overrides, level: str, account: str | None, reason: str, source: str, say: Say
) -> None:
    async with opened_ledger(overrides, say, writing=False) as ledger:
        found = None if account is None else find_account(ledger, account)
        names: dict[str, str] = {one.id: one.name for one in ledger.accounts()}
    async with running_engine(overrides) as engine:
        if level == SHOW:
            state = await engine.kill_switch_state()
        else:
            state = await engine.kill_switch(level, found.id if found else None, reason=reason, source=source)
    for entry in state.entries:
        say(_line(names.get(entry.sub_account_id or ""), entry.level, entry.source, entry.reason))
    if not state.entries:
        say("nothing is restricted")
    if state.working:
        say(f"{len(state.working)} accounts still have orders or positions to go")


async def _in_ledger(
    overrides: Overrides, level: str, account: str | None, reason: str, source: str, say: Say
) -> None:
    async with opened_ledger(overrides, say, writing=level != SHOW) as ledger:
        found = None if account is None else find_account(ledger, account)
        if level != SHOW:
            scope = found.id if found else None
            await ledger.set_restriction(scope, source, LEVELS[level], reason, Actor("system", "cli"))
        names = {one.id: one.name for one in ledger.accounts()}
        entries = ledger.restrictions()
        for entry in entries:
            name = names.get(entry.sub_account_id) if entry.sub_account_id else None
            say(_line(name, entry.level.name, entry.source, entry.reason))
        say("no engine runs here: its next start acts on this" if entries else "nothing is restricted")


async def rules(overrides: Overrides, text: str | None, account: str | None, say: Say) -> int:
    """Show the further rules of an account, or the global ones; with `text` (JSON, as the API takes it) set
    them, through the running engine if there is one."""
    wanted = None if text is None else _rules_body(text)
    running = is_running(overrides)
    async with opened_ledger(overrides, say, writing=wanted is not None and not running) as ledger:
        scope = None if account is None else find_account(ledger, account).id
        if wanted is not None and not running:
            await ledger.set_trading_rules(scope, wanted.rules(), Actor("system", "cli"))
        found = ledger.rule_set(None) if scope is None else ledger.rule_set_of(scope)
    if wanted is None or not running:
        told = None if found is None else rules_to_json(found.rules)
        say("no further rules" if told is None else orjson.dumps(told, option=orjson.OPT_INDENT_2).decode())
        return 0
    path = "/api/admin/rules" if scope is None else f"/api/admin/sub-accounts/{scope}/rules"
    async with running_engine(overrides) as engine:
        answer = await engine.request("PUT", path, wanted.model_dump(mode="json", by_alias=True))
    say(answer.decode())
    return 0


def _rules_body(text: str) -> TradingRulesBody:
    try:
        return TradingRulesBody.model_validate_json(text)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        raise SettingsError(f"the rules are not acceptable: {place} {first['msg']}") from error


def _line(account: str | None, level: str, source: str, reason: str) -> str:
    return f"{account or 'every account':24}  {level:13}  {source:24}  {reason}".rstrip()
