"""The project's own rules about its sources, which no linter states. Run by `make check`."""

import ast
import importlib
import inspect
import re
import tomllib
from collections.abc import Iterable
from pathlib import Path

import pytest
from pydantic import AliasChoices
from pydantic_settings import BaseSettings

from tests.support.paths import PROJECT_ROOT
from tests.tidy import sources
from tests.tidy.sources import Source

# (rule, file): every exception from a rule below, each with its reason beside it. Empty is the aim.
EXCEPTIONS: frozenset[tuple[str, str]] = frozenset()

FILE_LINES_MAX = 600
FUNCTION_LINES_MAX = 60
LINE_COLUMNS_MAX = int(
    tomllib.loads((PROJECT_ROOT / "pyproject.toml").read_text())["tool"]["ruff"]["line-length"]
)
WEB_LINE_COLUMNS_MAX = 140
"""Markup holds an element with its attributes on one line."""

DECIDING = ("model", "risk", "ledger", "execution", "algos")
"""Packages whose decisions take clock, ids and randomness as arguments (decision 24)."""

FLOATS_ALLOWED = ("src/pms/ledger/rendering.py",)
"""One module renders the incumbent's Float columns; everything else in the ledger is exact (decision 5)."""

IMPORTS_ALLOWED = {
    "settings": ("pms.model", "pms.setting_values"),
    "setting_values": ("pms.model",),
    "limits": ("pms.model",),
    "logging": ("pms.model", "pms.limits"),
    "data_folder": ("pms.model", "pms.limits"),
    "runtime": ("pms.model",),
    "client": ("pms.model", "pms.client"),
    "model": ("pms.model", "pms.limits"),
    "simulator": ("pms.model", "pms.simulator", "pms.exchange.messages", "pms.settings", "pms.limits"),
}
"""What modules beside the layers may import of pms; the layers are in pyproject.toml (import-linter)."""

SIMULATOR_IMPORTERS = ("simulator", "engine", "cli", "commands")

# What a checker must be told stands at the end of the line; it may stand beyond the margin.
DIRECTIVE = re.compile(r"\s+# (noqa|type: ignore)\b.*$")
UNFINISHED = re.compile(r"\b(TODO|FIXME|HACK)\b|(#|//)\s*XXX\b")
MACHINE_PATH = re.compile(r"(?<![\w.~-])/(work|tmp|root|home)/")
INDEX_HOST = re.compile(r"pypi\.org|pythonhosted\.org|registry\.npmjs|registry\.yarnpkg", re.IGNORECASE)
TOOL_NAME = re.compile(r"claude|anthropic|openai|copilot|chatgpt", re.IGNORECASE)
IMPURE_CALL = re.compile(
    r"(^|\.)(time\.time(_ns)?|datetime\.(now|utcnow|today)|date\.today|uuid[14])$|(^|\.)(random|secrets)\."
)


def report(rule: str, problems: Iterable[tuple[Source, int, str]]) -> None:
    """Fails with one line for each problem that is not excepted."""
    found = [
        f"{source.name}:{line}: {text}"
        for source, line, text in problems
        if (rule, source.name) not in EXCEPTIONS
    ]
    assert not found, f"{len(found)} against the rule {rule!r}:\n" + "\n".join(found)


def test_files_are_short() -> None:
    counted = [(source, len(source.text.splitlines())) for source in sources.all_code()]
    report(
        "file length",
        [
            (source, count, f"{count} lines > {FILE_LINES_MAX}")
            for source, count in counted
            if count > FILE_LINES_MAX
        ],
    )


def test_functions_are_short() -> None:
    problems = []
    for source in sources.all_python():
        for node in ast.walk(source.tree):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                count = (node.end_lineno or node.lineno) - node.lineno + 1
                if count > FUNCTION_LINES_MAX:
                    problems.append(
                        (source, node.lineno, f"{node.name} has {count} lines > {FUNCTION_LINES_MAX}")
                    )
    report("function length", problems)


def test_lines_are_short() -> None:
    report(
        "line length",
        [
            (source, number, f"{len(DIRECTIVE.sub('', line))} columns > {columns_max}")
            for source in sources.all_code()
            for columns_max in [WEB_LINE_COLUMNS_MAX if source.name.startswith("web/") else LINE_COLUMNS_MAX]
            for number, line in source.lines()
            if len(DIRECTIVE.sub("", line)) > columns_max
        ],
    )


def test_each_module_says_its_one_reason_to_exist() -> None:
    problems = []
    for source in sources.package_python():
        docstring = ast.get_docstring(source.tree)
        if not docstring:
            problems.append((source, 1, "no docstring"))
        elif not docstring.splitlines()[0].endswith("."):
            problems.append(
                (source, 1, "the docstring's first line must be a sentence and end with a period")
            )
    report("module docstring", problems)


@pytest.mark.parametrize(
    ("rule", "pattern"),
    [
        ("unfinished work", UNFINISHED),
        ("path of one machine", MACHINE_PATH),
        ("address of a package index", INDEX_HOST),
        ("tool name", TOOL_NAME),
    ],
)
def test_no_banned_words(rule: str, pattern: re.Pattern[str]) -> None:
    here = str(Path(__file__).relative_to(PROJECT_ROOT))
    report(
        rule,
        [
            (source, number, line.strip()[:100])
            for source in sources.all_texts()
            for number, line in source.lines()
            if source.name != here and pattern.search(line)
        ],
    )


def test_only_the_command_line_prints() -> None:
    report(
        "print",
        [
            (source, line, "print() outside pms.cli; log it or return it")
            for source in sources.package_python()
            if not source.within("cli")
            for line, name in sources.called_names(source)
            if name == "print"
        ],
    )


def test_decisions_take_clock_ids_and_randomness_as_arguments() -> None:
    report(
        "injected clock and ids",
        [
            (source, line, f"{name}() must come in as an argument")
            for source in sources.package_python()
            if source.within(*DECIDING)
            for line, name in sources.called_names(source)
            if IMPURE_CALL.search(name)
        ],
    )


def test_the_ledger_is_exact() -> None:
    ledger = [source for source in sources.package_python() if source.within("ledger")]
    exact = [source for source in ledger if source.name not in FLOATS_ALLOWED]
    calls = [(source, line, f"{name}()") for source in exact for line, name in sources.called_names(source)]
    typed = [(source, line, text) for source in exact for line, text in sources.annotations(source)]
    problems = [problem for problem in calls if problem[2] == "float()"]
    problems += [problem for problem in typed if re.search(r"\bfloat\b", problem[2])]
    report("no float in the ledger", problems)


def test_modules_beside_the_layers_import_only_what_they_may() -> None:
    problems = []
    for source in sources.package_python():
        for module, allowed in IMPORTS_ALLOWED.items():
            if source.within(module):
                problems += [
                    (source, line, f"pms.{module} must not import {name}")
                    for line, name in sources.imported_modules(source)
                    if not name.startswith(tuple(f"{one}." for one in allowed)) and name not in allowed
                ]
    report("imports", problems)


def test_only_the_composition_root_knows_the_simulator() -> None:
    report(
        "simulator",
        [
            (source, line, f"imports {name}")
            for source in sources.package_python()
            if not source.within(*SIMULATOR_IMPORTERS)
            for line, name in sources.imported_modules(source)
            if name.startswith("pms.simulator")
        ],
    )


def test_each_package_has_its_unit_tests() -> None:
    packages = {
        source.name.split("/")[2]
        for source in sources.package_python()
        if source.name.count("/") > 2 and not source.name.endswith("__init__.py")
    }
    tests = {
        source.name.split("/")[2] for source in sources.all_python() if source.name.startswith("tests/unit/")
    }
    missing = sorted(f"src/pms/{package} has no tests/unit/{package}" for package in packages - tests)
    assert not missing, "\n".join(missing)


def documented_names() -> set[str]:
    """The words in code style on docs/settings.md."""
    page = PROJECT_ROOT / "docs" / "settings.md"
    assert page.is_file(), "docs/settings.md is missing: every setting of src/pms/settings.py must be there"
    return set(re.findall(r"`(\w+)`", page.read_text(encoding="utf-8")))


def defined_names() -> set[str]:
    """The environment variables of every settings class in pms.settings, second names included."""
    module = importlib.import_module("pms.settings")
    names: set[str] = set()
    for _name, kind in inspect.getmembers(module, inspect.isclass):
        if issubclass(kind, BaseSettings) and kind.__module__ == module.__name__:
            prefix = str(kind.model_config.get("env_prefix", ""))
            for field, information in kind.model_fields.items():
                alias = information.validation_alias
                if isinstance(alias, AliasChoices):
                    names.update(str(choice) for choice in alias.choices)
                else:
                    names.add(str(alias) if alias else f"{prefix}{field}".upper())
    assert names, "pms.settings defines no setting: this test looks for subclasses of BaseSettings"
    return names


def test_every_setting_is_documented() -> None:
    defined, documented = defined_names(), documented_names()
    problems = [f"{name} is not in docs/settings.md" for name in sorted(defined - documented)]
    ours = {name for name in documented if name.startswith("PMS_") and not name.startswith("PMS_TEST_")}
    problems += [f"docs/settings.md names {name}, which does not exist" for name in sorted(ours - defined)]
    assert not problems, "\n".join(problems)


def test_lock_files_hold_hashes_and_no_address() -> None:
    locks = [source for source in sources.all_texts() if source.name.startswith("requirements/")]
    assert {source.name for source in locks} >= {"requirements/dev.lock", "requirements/run.lock"}
    for source in locks:
        assert "://" not in source.text, f"{source.name} holds an address; regenerate it with `make lock`"
        pinned = re.split(r"\n(?=[a-z])", source.text)
        unhashed = [one.split(" ")[0] for one in pinned if "--hash=sha256:" not in one]
        assert not unhashed, f"{source.name}: without a hash: {unhashed}"


def test_every_exception_is_still_needed() -> None:
    names = {source.name for source in sources.all_texts()}
    gone = sorted(f"{rule}: {name}" for rule, name in EXCEPTIONS if name not in names)
    assert not gone, f"exceptions for files that no longer exist: {gone}"
