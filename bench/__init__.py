"""Benchmarks of PMS: `python -m bench` prints every figure, `python -m bench NAME` one of them."""
