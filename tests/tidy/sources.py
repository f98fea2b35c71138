"""The files that the tidy test reads, and small helpers over their syntax trees."""

import ast
import functools
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.support.paths import PROJECT_ROOT

CODE_SUFFIXES = {".py", ".pyi", ".pyx", ".sh", ".ts", ".svelte", ".css"}
TEXT_SUFFIXES = CODE_SUFFIXES | {
    ".md",
    ".toml",
    ".html",
    ".js",
    ".json",
    ".yml",
    ".yaml",
    ".lock",
    ".ini",
    ".mako",
}
TEXT_NAMES = {"Makefile", "run", ".gitignore", ".npmrc", ".editorconfig"}
# Data and built files: other people's bytes, or a compiler's.
NOT_OURS = ("tests/data/", "src/pms/web/", "src/pms/simulator/recordings/", "docs/openapi")


@dataclass(frozen=True)
class Source:
    """One file of the repository; `name` is its path from the root with forward slashes."""

    name: str

    @property
    def path(self) -> Path:
        return PROJECT_ROOT / self.name

    @functools.cached_property
    def text(self) -> str:
        return self.path.read_text(encoding="utf-8")

    @functools.cached_property
    def tree(self) -> ast.Module:
        return ast.parse(self.text, self.name)

    def lines(self) -> Iterator[tuple[int, str]]:
        """The lines with their numbers from 1."""
        return enumerate(self.text.splitlines(), 1)

    def within(self, *packages: str) -> bool:
        """True for a module of one of these packages or modules of `src/pms`."""
        return self.name.startswith(tuple(f"src/pms/{package}{end}" for package in packages for end in "/."))


@functools.cache
def all_texts() -> tuple[Source, ...]:
    """Every text file that git tracks or would track, without data and built files."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
    listed = subprocess.run(command, cwd=PROJECT_ROOT, capture_output=True, check=True, text=True).stdout
    names = sorted(name for name in listed.split("\0") if name and not name.startswith(NOT_OURS))
    found = [
        Source(name)
        for name in names
        if (Path(name).suffix in TEXT_SUFFIXES or Path(name).name in TEXT_NAMES)
        and (PROJECT_ROOT / name).is_file()
    ]
    assert any(source.name == "pyproject.toml" for source in found), "the tidy test must see the repository"
    return tuple(found)


def all_code() -> list[Source]:
    """The sources that people write and read: Python, shell, TypeScript, Svelte, style sheets."""
    return [source for source in all_texts() if source.path.suffix in CODE_SUFFIXES]


def all_python() -> list[Source]:
    """Every Python file of the repository."""
    return [source for source in all_texts() if source.path.suffix == ".py"]


def package_python() -> list[Source]:
    """The modules of `src/pms`."""
    return [source for source in all_python() if source.name.startswith("src/pms/")]


def imported_modules(source: Source) -> Iterator[tuple[int, str]]:
    """Each module, or name of a module, of `pms` that a module of `src/pms` imports, with its line."""
    package = list(Path(source.name).with_suffix("").parts[1:-1])
    for node in ast.walk(source.tree):
        if isinstance(node, ast.Import):
            yield from (
                (node.lineno, alias.name) for alias in node.names if alias.name.split(".")[0] == "pms"
            )
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            full = ".".join([*base, *([node.module] if node.module else [])])
            if full.split(".")[0] == "pms":
                yield from ((node.lineno, f"{full}.{alias.name}") for alias in node.names)


def called_names(source: Source) -> Iterator[tuple[int, str]]:
    """Each call by a plain or dotted name, such as "print" or "datetime.now", with its line."""
    for node in ast.walk(source.tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name | ast.Attribute):
            yield node.lineno, ast.unparse(node.func)


def annotations(source: Source) -> Iterator[tuple[int, str]]:
    """Each annotation of an argument, a result or a variable, with its line."""
    for node in ast.walk(source.tree):
        found: list[ast.expr | None] = []
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            found = [node.returns]
        elif isinstance(node, ast.AnnAssign | ast.arg):
            found = [node.annotation]
        yield from ((one.lineno, ast.unparse(one)) for one in found if one is not None)
