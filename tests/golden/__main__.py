"""Command line of the golden runner: prints the failures and `N passed, M failed, K exempt`; exits 1 on a
failure.
"""

import sys
from pathlib import Path

from tests.golden.runner import run


def main(names: list[str]) -> int:
    """Run the named files. Returns 0, 1 on a failure, 2 when a file is missing or none is named."""
    paths = [Path(name) for name in names]
    missing = [str(path) for path in paths if not path.is_file()]
    if missing or not paths:
        print(
            f"no such file: {', '.join(missing)}" if missing else "usage: python -m tests.golden FILE…",
            file=sys.stderr,
        )
        return 2
    totals = run(paths)
    for failure in totals.failures:
        print(failure)
    print(totals.line())
    return 1 if totals.failures else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
