"""Builds the compiled kernel of the risk book where a C compiler is; everything else is in pyproject.toml."""

from setuptools import Extension, setup

setup(
    ext_modules=[
        Extension(
            "pms.risk._kernel",
            ["src/pms/risk/_kernel.pyx"],
            # Without a C compiler the installation goes on, and NumPy does the steps (docs/decisions/0020).
            optional=True,
            # A contracted multiply-add would round otherwise than NumPy does; debug tables are never read.
            extra_compile_args=["-O3", "-ffp-contract=off", "-g0"],
        )
    ]
)
