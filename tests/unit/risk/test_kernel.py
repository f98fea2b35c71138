"""The compiled step: built wherever it can be, equal to NumPy to the last bit, and never silently missing."""

import importlib.machinery
import shutil
import sys
import sysconfig
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pms.model.ids import PositionId
from pms.risk.columns import AccountColumns, SymbolColumns
from pms.risk.errors import KernelMissing
from pms.risk.kernel import Kernel, NativeKernel, NumpyKernel, kernel_named, native_module
from tests.unit.risk.builders import BTC

CAN_BUILD = shutil.which("cc") is not None and Path(sysconfig.get_paths()["include"], "Python.h").exists()


def test_it_is_built_where_a_compiler_is() -> None:
    assert (native_module() is not None) or not CAN_BUILD, "run make kernel"


def test_the_setting_chooses(monkeypatch: pytest.MonkeyPatch) -> None:
    assert kernel_named("numpy").name == "numpy"
    assert kernel_named("auto").name == ("numpy" if native_module() is None else "native")
    monkeypatch.setitem(sys.modules, "pms.risk._kernel", None)
    assert kernel_named("auto").name == "numpy"
    with pytest.raises(KernelMissing, match=r"PMS_RISK_KERNEL.*not built.*make kernel.*auto or numpy"):
        kernel_named("native")


def test_the_compiled_module_is_the_one_of_this_interpreter() -> None:
    module = native_module()
    suffixes = tuple(importlib.machinery.EXTENSION_SUFFIXES)
    assert module is None or str(sys.modules["pms.risk._kernel"].__file__).endswith(suffixes)


def columns(seed: int, count: int) -> tuple[SymbolColumns, AccountColumns]:
    """Random holders on random account rows; every third account close to a bound, some bounds infinite."""
    random = np.random.default_rng(seed)
    symbol, accounts = SymbolColumns(BTC), AccountColumns()
    rows = [accounts.allocate() for _ in range(count + 3)]
    for number, row in enumerate(random.permutation(rows)[:count]):
        symbol.append(PositionId(str(number)), int(row), random.normal(0, 3), random.uniform(1, 900))
        slope = random.uniform(0.001, 0.5) * abs(symbol.quantities[number])
        symbol.set_piece(number, slope, random.uniform(0, 5), 0.0, np.inf, random.uniform(0, 9))
    size = accounts.equity.size
    accounts.equity[:] = random.normal(500, 400, size)
    accounts.maintenance[:] = random.uniform(0, 40, size)
    accounts.low[:] = np.where(
        random.random(size) < 0.1, np.inf, accounts.equity - random.exponential(50, size)
    )
    accounts.high[:] = np.where(random.random(size) < 0.5, np.inf, accounts.equity + 50)
    accounts.low_factor[:], accounts.high_factor[:] = random.uniform(0, 3, size), random.uniform(0, 3, size)
    return symbol, accounts


def run(
    kernel: Kernel, seed: int, count: int, prices: list[float], brackets: bool
) -> tuple[list[list[int]], bytes]:
    symbol, accounts = columns(seed, count)
    hits, before = [], 0.0
    for price in prices:
        step = kernel.step_with_brackets if brackets else kernel.step
        hits.append(step(symbol, accounts, price, before))
        before = price
    state = (accounts.equity, accounts.maintenance, symbol.needs)
    return hits, b"".join(column.tobytes() for column in state)


@settings(max_examples=60)
@given(
    st.integers(0, 2**32),
    st.integers(1, 300),
    st.lists(st.floats(1e-6, 1e6), min_size=1, max_size=8),
    st.booleans(),
)
def test_both_kernels_give_the_same_bits_and_the_same_hits(
    seed: int, count: int, prices: list[float], brackets: bool
) -> None:
    module = native_module()
    compiled = NumpyKernel() if module is None else NativeKernel(module)
    assert run(compiled, seed, count, prices, brackets) == run(NumpyKernel(), seed, count, prices, brackets)


def test_a_step_tells_rows_at_or_below_low_and_above_high() -> None:
    for kernel in (NumpyKernel(), kernel_named("auto")):
        symbol, accounts = SymbolColumns(BTC), AccountColumns()
        for number in range(4):
            accounts.allocate()
            symbol.append(PositionId(str(number)), number, 1.0, 100.0)
        accounts.equity[:4] = 50.0
        accounts.low[:4] = [40.0, 39.0, -np.inf, 0.0]
        accounts.high[:4] = [np.inf, np.inf, 39.0, 40.0]
        assert kernel.step(symbol, accounts, 90.0, 100.0) == [0, 2]
        assert accounts.equity[:4].tolist() == [40.0] * 4
