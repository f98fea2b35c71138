"""Writes the pages of docs/ that are made from code, so that they cannot say anything else than the code.

python -m scripts.generate_docs           write them
python -m scripts.generate_docs --check   exit 1, naming the stale ones
"""

import ast
import itertools
import re
import sys
from pathlib import Path
from types import ModuleType

from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from pms import limits
from pms.gateway import bounds
from pms.model import order_life
from pms.model.order_life import TABLE, By, Denied
from pms.model.refusal import RefusalCode
from pms.settings import Settings, variable_names
from pms.simulator.canned import HTML, VARIANTS
from pms.simulator.fault_kinds import ACTION, KINDS, REQUEST, SOCKET, STREAM

DOCS = Path(__file__).resolve().parents[1] / "docs"
_TABLE_HEAD = ["| bound | value | what | beyond it |", "|---|---|---|---|"]
_NOTE = "<!-- Made by scripts/generate_docs.py; do not edit. -->\n"

# Defaults that depend on the phase have no constant to show.
_DEPENDENT_DEFAULTS = {
    "roles": "all, or those of `PMS_PHASE`",
    "flip_mode": "`net`; `incumbent` with `PMS_PHASE`",
    "charge_open_fees": "`true`; `false` with `PMS_PHASE`",
    "funding": "`true`; `false` with `PMS_PHASE`",
    "published_price": "`mark`; `incumbent` in phases 1 and 2",
}


def settings_page() -> str:
    """Every setting with its variable, default and meaning."""
    lines = [
        "# Settings",
        "",
        _NOTE,
        "Settings come from environment variables; an option of the command line wins. No file is read. An",
        "unusable value stops the start with one line that names the variable and the rule. An empty one",
        "counts as unset. Names without the prefix PMS are those of the incumbent and of the exchange.",
        "",
        "| variable | default | meaning |",
        "|---|---|---|",
    ]
    for name, field in Settings.model_fields.items():
        variables = ", ".join(f"`{variable}`" for variable in variable_names(name))
        lines.append(f"| {variables} | {_default(name, field)} | {_cell(field.description or '')} |")
    return "\n".join(lines) + "\n"


def refusals_page() -> str:
    """Every refusal code with its HTTP status and meaning."""
    lines = [
        "# Refusals",
        "",
        _NOTE,
        "What the API answers when it does not carry out a request: `{error, code, errors}` with these",
        "codes. The same code stands in the log. A refused request changed nothing; `EXECUTION_UNKNOWN` is",
        "different: the order was sent, and its outcome will be settled.",
        "",
        "| code | HTTP | meaning |",
        "|---|---|---|",
    ]
    lines += [f"| `{code.name}` | {code.http_status} | {_cell(code.meaning)} |" for code in RefusalCode]
    return "\n".join(lines) + "\n"


def order_life_page() -> str:
    """Every state of an order, everything that can be heard of it, and what follows."""
    lines = [
        "# The life of an order",
        "",
        _NOTE,
        *_paragraphs(order_life.__doc__ or ""),
        "```mermaid",
        "stateDiagram-v2",
        "    [*] --> INTENT",
        *_transitions(),
        "```",
        "",
        "A dash: the state stays. *As the exchange says*: `CANCELLED`, `EXPIRED`, `FILLED` or `REJECTED`. A",
        "denial changes nothing.",
        "",
    ]
    for state, row in TABLE.items():
        lines += [f"## {state.value}", "", "| heard | then |", "|---|---|"]
        for heard, following in row.items():
            text = f"denied: {following.why}" if isinstance(following, Denied) else following.value
            lines.append(f"| {heard.value} | {'–' if following is state else text} |")
        lines.append("")
    return "\n".join(lines[:-1]) + "\n"


def _transitions() -> list[str]:
    arrows: dict[tuple[str, str], list[str]] = {}
    for state, row in TABLE.items():
        for heard, following in row.items():
            named = ["CANCELLED", "EXPIRED", "FILLED", "REJECTED"] if following is By.STATUS else [following]
            for target in named:
                if not isinstance(target, Denied) and target != state:
                    arrows.setdefault((state.value, str(target)), []).append(heard.value)
    return [f"    {start} --> {end}: {', '.join(heard)}" for (start, end), heard in arrows.items()]


def limits_page() -> str:
    """Every bound with its value, meaning and overflow rule."""
    lines = ["# Bounds", "", _NOTE, *_paragraphs(limits.__doc__ or "")]
    lines += _bounds_of(limits)
    lines += ["", "## Gateway", "", *_TABLE_HEAD, *_bounds_of(bounds)]
    return "\n".join(lines) + "\n"


def _bounds_of(module: ModuleType) -> list[str]:
    """The rows of a module's constants, under the headings of its section comments."""
    lines: list[str] = []
    source = Path(module.__file__ or "").read_text(encoding="utf-8")
    sections = {
        number: text[6:-4]
        for number, text in enumerate(source.splitlines(), 1)
        if text.startswith("# --- ") and text.endswith(" ---")
    }
    body = ast.parse(source).body
    pending = sorted(sections)
    for statement, following in itertools.pairwise(body):
        if not isinstance(statement, ast.Assign) or not isinstance(following, ast.Expr):
            continue
        while pending and pending[0] < statement.lineno:
            lines += ["", f"## {sections[pending.pop(0)]}", "", *_TABLE_HEAD]
        name = ast.unparse(statement.targets[0])
        text = " ".join(str(ast.literal_eval(following.value)).split())
        what, _, overflow = re.sub(r"; (?:beyond (?:it|that) )?| Overflow: ", "\0", text, count=1).partition(
            "\0"
        )
        value = f"{getattr(module, name):,}".replace(",", " ")
        lines.append(f"| `{name}` | {value} | {_cell(what)} | {_cell(overflow)} |")
    return lines


def decisions_page() -> str:
    """The index of decisions, from the first lines of their pages."""
    lines = [
        "# Decisions",
        "",
        _NOTE,
        "One page for each decision that a newcomer would question: what we did, why, and what it costs.",
        "",
    ]
    for page in sorted((DOCS / "decisions").glob("[0-9]*.md")):
        title = page.read_text(encoding="utf-8").splitlines()[0].removeprefix("# ")
        lines.append(f"* [{title}]({page.name})")
    return "\n".join(lines) + "\n"


def faults_page() -> str:
    """Every fault of the simulator with its fields, and every answer of an exchange in trouble."""
    lines = [
        "# Faults of the simulator",
        "",
        _NOTE,
        "What can go wrong on demand, by `/sim/fault` or by a scenario file ([simulator](simulator.md)).",
        "Every fault takes `kind` and `at_ms`; fields in bold must be given. Times are milliseconds of",
        "exchange time, quantities base asset, `quantity` of a deposit USDT.",
    ]
    for group, title in _FAULT_GROUPS.items():
        lines += ["", f"## {title}", "", "| kind | what it does | fields |", "|---|---|---|"]
        for name, kind in KINDS.items():
            if kind.group == group:
                fields = [f"**`{field}`**" for field in sorted(kind.needs)]
                fields += [f"`{field}`" for field in sorted(kind.takes - kind.needs)]
                lines.append(f"| `{name}` | {_cell(kind.meaning)} | {', '.join(fields)} |")
    lines += ["", "## Variants of `answer`", "", "| variant | HTTP | body | `executed` may be true |"]
    lines.append("|---|---|---|---|")
    for name, answer in VARIANTS.items():
        body = "HTML page" if answer.content_type == HTML else f"`{answer.body.decode()}`"
        lines.append(
            f"| `{name}` | {answer.status} | {_cell(body)} | {'yes' if answer.executable else 'no'} |"
        )
    return "\n".join(lines) + "\n"


_FAULT_GROUPS = {
    REQUEST: "Requests",
    STREAM: "Stream events",
    SOCKET: "Sockets",
    ACTION: "At the exchange",
}

PAGES = {
    "faults.md": faults_page,
    "settings.md": settings_page,
    "refusals.md": refusals_page,
    "limits.md": limits_page,
    "order-life.md": order_life_page,
    "decisions/README.md": decisions_page,
}


def stale_pages() -> list[str]:
    """The pages whose file differs from what the code says now."""
    stale = []
    for name, make in PAGES.items():
        path = DOCS / name
        if not path.exists() or path.read_text(encoding="utf-8") != make():
            stale.append(name)
    return stale


def _default(name: str, field: FieldInfo) -> str:
    if name in _DEPENDENT_DEFAULTS:
        return _DEPENDENT_DEFAULTS[name]
    value = field.default
    if value is None or value == () or value is PydanticUndefined:
        return "unset"
    return f"`{str(value).lower() if isinstance(value, bool) else value}`"


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def _paragraphs(docstring: str) -> list[str]:
    return docstring.strip().splitlines()[2:]


def main(arguments: list[str]) -> int:
    """Write or check; returns the exit code."""
    stale = stale_pages()
    if "--check" in arguments:
        for name in stale:
            sys.stderr.write(f"docs/{name} is stale: run `python -m scripts.generate_docs`\n")
        return 1 if stale else 0
    for name in stale:
        (DOCS / name).write_text(PAGES[name](), encoding="utf-8")
        sys.stdout.write(f"wrote docs/{name}\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
