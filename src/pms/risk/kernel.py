"""The step of one tick over all holders of a symbol: by NumPy, or compiled where that was built.

Both do the same float operations in the same order, so equity, maintenance and hits are equal to the last
bit (a property test holds it); they differ in speed only. docs/decisions/0020.
"""

from importlib import import_module
from typing import Protocol

import numpy as np

from pms.risk.columns import INITIAL_CAPACITY, AccountColumns, Floats, Indices, SymbolColumns
from pms.risk.errors import KernelMissing

NATIVE, NUMPY, AUTO = "native", "numpy", "auto"


class Kernel(Protocol):
    """Moves equity (and maintenance) of a symbol's holders from the price `before` (0: none yet) to `price`.

    Returns the account rows whose equity left its bounds. The columns must hold at least one row.
    """

    name: str

    def step(
        self, symbol: SymbolColumns, accounts: AccountColumns, price: float, before: float
    ) -> list[int]: ...

    def step_with_brackets(
        self, symbol: SymbolColumns, accounts: AccountColumns, price: float, before: float
    ) -> list[int]: ...


class NativeModule(Protocol):
    """What `_kernel.pyx` offers; each function returns how many rows it wrote into `hits`."""

    def step(
        self,
        count: int,
        rows: Indices,
        quantities: Floats,
        entries: Floats,
        equity: Floats,
        low: Floats,
        high: Floats,
        price: float,
        before: float,
        hits: Indices,
    ) -> int: ...

    def step_with_brackets(
        self,
        count: int,
        rows: Indices,
        quantities: Floats,
        entries: Floats,
        slopes: Floats,
        cumulatives: Floats,
        needs: Floats,
        equity: Floats,
        maintenance: Floats,
        low_factor: Floats,
        low: Floats,
        high_factor: Floats,
        high: Floats,
        price: float,
        before: float,
        hits: Indices,
    ) -> int: ...


def kernel_named(name: str) -> Kernel:
    """Return the kernel of a setting's value: `auto` takes the compiled one where it was built.

    Raises KernelMissing for `native` without it.
    """
    if name == NUMPY:
        return NumpyKernel()
    module = native_module()
    if module is not None:
        return NativeKernel(module)
    if name == NATIVE:
        raise KernelMissing(
            "PMS_RISK_KERNEL: the compiled kernel is not built in this installation; build it with "
            "'make kernel' (needs a C compiler), or set auto or numpy"
        )
    return NumpyKernel()


def native_module() -> NativeModule | None:
    """Return the compiled module, None where it was not built."""
    try:
        module: NativeModule = import_module("pms.risk._kernel")
    except ImportError:
        return None
    return module


class NumpyKernel:
    """Vectorised steps; the scratch columns are used again from tick to tick."""

    name = NUMPY

    def __init__(self) -> None:
        self._scratch: tuple[Floats, ...] = _floats(INITIAL_CAPACITY)

    def step(self, symbol: SymbolColumns, accounts: AccountColumns, price: float, before: float) -> list[int]:
        rows = symbol.accounts[: symbol.count]
        equity, bound, _, _ = self._columns(symbol.count)
        self._move(symbol, accounts, price, before)
        np.take(accounts.low, rows, out=bound, mode="clip")
        hit = equity <= bound
        np.take(accounts.high, rows, out=bound, mode="clip")
        np.logical_or(hit, equity > bound, out=hit)
        return rows[hit].tolist() if hit.any() else []

    def step_with_brackets(
        self, symbol: SymbolColumns, accounts: AccountColumns, price: float, before: float
    ) -> list[int]:
        count = symbol.count
        rows = symbol.accounts[:count]
        equity, bound, need, maintenance = self._columns(count)
        self._move(symbol, accounts, price, before)
        np.multiply(symbol.slopes[:count], price, out=need)
        np.subtract(need, symbol.cumulatives[:count], out=need)
        np.subtract(need, symbol.needs[:count], out=bound)
        symbol.needs[:count] = need
        np.take(accounts.maintenance, rows, out=maintenance, mode="clip")
        np.add(maintenance, bound, out=maintenance)
        accounts.maintenance[rows] = maintenance
        hit = equity <= self._bound(accounts.low_factor, accounts.low, rows)
        np.logical_or(hit, equity > self._bound(accounts.high_factor, accounts.high, rows), out=hit)
        return rows[hit].tolist() if hit.any() else []

    def _move(self, symbol: SymbolColumns, accounts: AccountColumns, price: float, before: float) -> None:
        count = symbol.count
        rows = symbol.accounts[:count]
        equity, delta, _, _ = self._columns(count)
        if before > 0.0:
            np.multiply(symbol.quantities[:count], price - before, out=delta)
        else:
            np.subtract(price, symbol.entries[:count], out=delta)
            np.multiply(delta, symbol.quantities[:count], out=delta)
        np.take(accounts.equity, rows, out=equity, mode="clip")
        np.add(equity, delta, out=equity)
        accounts.equity[rows] = equity

    def _bound(self, factor: Floats, offset: Floats, rows: Indices) -> Floats:
        _, bound, other, maintenance = self._columns(rows.size)
        np.take(factor, rows, out=bound, mode="clip")
        np.multiply(bound, maintenance, out=bound)
        np.take(offset, rows, out=other, mode="clip")
        np.add(bound, other, out=bound)
        return bound

    def _columns(self, count: int) -> tuple[Floats, Floats, Floats, Floats]:
        if self._scratch[0].size < count:
            self._scratch = _floats(1 << (count - 1).bit_length())
        first, second, third, fourth = self._scratch
        return first[:count], second[:count], third[:count], fourth[:count]


class NativeKernel:
    """The compiled steps: one pass over the holders."""

    name = NATIVE

    def __init__(self, module: NativeModule) -> None:
        self._module = module
        self._hits: Indices = np.zeros(INITIAL_CAPACITY, dtype=np.intp)

    def step(self, symbol: SymbolColumns, accounts: AccountColumns, price: float, before: float) -> list[int]:
        hits = self._room(symbol.count)
        found = self._module.step(
            symbol.count,
            symbol.accounts,
            symbol.quantities,
            symbol.entries,
            accounts.equity,
            accounts.low,
            accounts.high,
            price,
            before,
            hits,
        )
        return hits[:found].tolist() if found else []

    def step_with_brackets(
        self, symbol: SymbolColumns, accounts: AccountColumns, price: float, before: float
    ) -> list[int]:
        hits = self._room(symbol.count)
        found = self._module.step_with_brackets(
            symbol.count,
            symbol.accounts,
            symbol.quantities,
            symbol.entries,
            symbol.slopes,
            symbol.cumulatives,
            symbol.needs,
            accounts.equity,
            accounts.maintenance,
            accounts.low_factor,
            accounts.low,
            accounts.high_factor,
            accounts.high,
            price,
            before,
            hits,
        )
        return hits[:found].tolist() if found else []

    def _room(self, count: int) -> Indices:
        if self._hits.size < count:
            self._hits = np.zeros(1 << (count - 1).bit_length(), dtype=np.intp)
        return self._hits


def _floats(size: int) -> tuple[Floats, Floats, Floats, Floats]:
    return np.zeros(size), np.zeros(size), np.zeros(size), np.zeros(size)
