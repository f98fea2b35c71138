"""Scenario files: a seed and a list of faults, in TOML or JSON, each error told in one line."""

from __future__ import annotations

import tomllib
from decimal import Decimal
from pathlib import Path

import msgspec

from pms.simulator.errors import SimulatorError
from pms.simulator.fault_kinds import Fault

FOLDER = Path(__file__).with_name("scenarios")
FAULTS_MAX = 1000


class Scenario(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Faults in exchange time from the exchange's start; the same seed and traffic give the same faults."""

    seed: int = 0
    about: str = ""
    fault: tuple[Fault, ...] = ()


def shipped() -> tuple[str, ...]:
    """Return the names of the scenarios that ship with the package."""
    return tuple(sorted(path.stem for path in FOLDER.glob("*.toml")))


def load(name: str) -> Scenario:
    """Return a shipped scenario by name, or one from a `.toml` or `.json` file.

    Raises `SimulatorError` with one line that names file, fault and field.
    """
    path = Path(name)
    if not path.suffix and not path.exists():
        path = FOLDER / f"{name}.toml"
        if not path.exists():
            known = ", ".join(shipped())
            raise SimulatorError(
                f"There is no scenario '{name}'. Shipped: {known}; or give a .toml or .json file."
            )
    try:
        text = path.read_text()
        plain = (
            tomllib.loads(text, parse_float=Decimal) if path.suffix == ".toml" else msgspec.json.decode(text)
        )
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError, msgspec.DecodeError) as error:
        raise SimulatorError(f"The scenario {path} cannot be read: {error}.") from error
    return parse(plain, str(path))


def parse(plain: object, where: str) -> Scenario:
    """Return a scenario from decoded TOML or JSON. Raises `SimulatorError`."""
    try:
        scenario = msgspec.convert(plain, Scenario, strict=False)
    except msgspec.ValidationError as error:
        raise SimulatorError(f"The scenario {where} is wrong: {error}.") from error
    if len(scenario.fault) > FAULTS_MAX:
        raise SimulatorError(f"The scenario {where} holds more than {FAULTS_MAX} faults.")
    for number, fault in enumerate(scenario.fault, 1):
        problem = fault.problem()
        if problem:
            raise SimulatorError(f"The scenario {where}, fault {number}: {problem}")
    return scenario


def fault_of(plain: object) -> Fault:
    """Return one fault from decoded JSON. Raises `SimulatorError` with one line."""
    try:
        fault = msgspec.convert(plain, Fault, strict=False)
    except msgspec.ValidationError as error:
        raise SimulatorError(f"The fault is wrong: {error}.") from error
    problem = fault.problem()
    if problem:
        raise SimulatorError(problem)
    return fault
