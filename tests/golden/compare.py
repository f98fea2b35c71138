"""How an answer is compared with a vector: ledger spec 11.1."""

import math
from typing import Any

RELATIVE_TOLERANCE = 1e-12


def decoded(value: Any) -> Any:
    """Turn `{"$num": …}` into the number that it stands for, at any depth."""
    if isinstance(value, dict):
        if set(value) == {"$num"}:
            return float(value["$num"])
        return {key: decoded(item) for key, item in value.items()}
    if isinstance(value, list):
        return [decoded(item) for item in value]
    return value


def differences(expected: Any, actual: Any, path: str = "", *, superset: bool = False) -> list[str]:
    """Return what differs, one line each; `superset` allows members that the vector does not have."""
    if isinstance(expected, dict) and isinstance(actual, dict):
        return _object_differences(expected, actual, path, superset)
    if isinstance(expected, list) and isinstance(actual, list | tuple):
        if len(expected) != len(actual):
            return [f"{path or 'list'}: {len(actual)} elements, not {len(expected)}: {actual!r}"]
        return [
            line
            for index, (left, right) in enumerate(zip(expected, actual, strict=True))
            for line in differences(left, right, f"{path}[{index}]", superset=superset)
        ]
    return [] if _equal(expected, actual) else [f"{path or 'value'}: {actual!r}, not {expected!r}"]


def _object_differences(
    expected: dict[str, Any], actual: dict[str, Any], path: str, superset: bool
) -> list[str]:
    found = [f"{path}.{key}: missing" for key in expected if key not in actual]
    if not superset:
        found += [f"{path}.{key}: not in the vector" for key in actual if key not in expected]
    for key in expected:
        if key in actual:
            found += differences(expected[key], actual[key], f"{path}.{key}", superset=superset)
    return found


def _equal(expected: Any, actual: Any) -> bool:
    if isinstance(expected, bool) or isinstance(actual, bool):
        return expected is actual
    if isinstance(expected, int | float) and isinstance(actual, int | float):
        if math.isnan(expected) or math.isnan(actual):
            return math.isnan(expected) and math.isnan(actual)
        return math.isclose(expected, actual, rel_tol=RELATIVE_TOLERANCE, abs_tol=0.0)
    return bool(type(expected) is type(actual) and expected == actual)
