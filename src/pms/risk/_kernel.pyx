# cython: language_level=3, boundscheck=False, wraparound=False, initializedcheck=False, cdivision=True
"""The compiled tick step: the operations of `kernel.NumpyKernel`, in the same order, in one pass.

Built where a C compiler is (see pyproject.toml); without it the NumPy step serves.
"""


def step(
    Py_ssize_t count,
    const Py_ssize_t[::1] rows,
    const double[::1] quantities,
    const double[::1] entries,
    double[::1] equity,
    const double[::1] low,
    const double[::1] high,
    double price,
    double before,
    Py_ssize_t[::1] hits,
):
    """Move the equity of all holders; returns how many account rows were written into `hits`."""
    cdef Py_ssize_t index, row, found = 0
    cdef double change = price - before, moved
    cdef bint first = not before > 0.0
    for index in range(count):
        row = rows[index]
        if first:
            moved = equity[row] + (price - entries[index]) * quantities[index]
        else:
            moved = equity[row] + quantities[index] * change
        equity[row] = moved
        if moved <= low[row] or moved > high[row]:
            hits[found] = row
            found += 1
    return found


def step_with_brackets(
    Py_ssize_t count,
    const Py_ssize_t[::1] rows,
    const double[::1] quantities,
    const double[::1] entries,
    const double[::1] slopes,
    const double[::1] cumulatives,
    double[::1] needs,
    double[::1] equity,
    double[::1] maintenance,
    const double[::1] low_factor,
    const double[::1] low,
    const double[::1] high_factor,
    const double[::1] high,
    double price,
    double before,
    Py_ssize_t[::1] hits,
):
    """Move equity and maintenance of all holders; returns how many rows were written into `hits`."""
    cdef Py_ssize_t index, row, found = 0
    cdef double change = price - before, moved, need, needed
    cdef bint first = not before > 0.0
    for index in range(count):
        row = rows[index]
        if first:
            moved = equity[row] + (price - entries[index]) * quantities[index]
        else:
            moved = equity[row] + quantities[index] * change
        equity[row] = moved
        need = slopes[index] * price - cumulatives[index]
        needed = maintenance[row] + (need - needs[index])
        needs[index] = need
        maintenance[row] = needed
        if moved <= low_factor[row] * needed + low[row] or moved > high_factor[row] * needed + high[row]:
            hits[found] = row
            found += 1
    return found
