"""Where tests find data: the shared folder beside the repository, else the subset in tests/data.

The shared folder is optional for a newcomer's clone and required by `.ci/run`.
"""

from pathlib import Path

PROJECT_ROOT = Path(__file__).resolve().parents[2]
TESTS_DATA = PROJECT_ROOT / "tests" / "data"


def shared_data() -> Path | None:
    """The shared data folder (`../shared/data` from the repository), or None where it is absent."""
    folder = PROJECT_ROOT.parent / "shared" / "data"
    return folder if folder.is_dir() else None


def data_file(name: str) -> Path:
    """The file or folder `name`, such as "golden/risk_math.jsonl": shared data first, own subset second.

    Raises FileNotFoundError, naming both places, when neither holds it.
    """
    shared = shared_data()
    for folder in (shared, TESTS_DATA):
        if folder is not None and (folder / name).exists():
            return folder / name
    raise FileNotFoundError(f"test data {name!r} is neither in ../shared/data nor in tests/data")


def golden_file(name: str) -> Path:
    """The golden vector file `name`, such as "risk_math.jsonl". Raises FileNotFoundError as `data_file`."""
    return data_file(f"golden/{name}")
