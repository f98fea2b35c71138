"""A few kill -9 moments on each run; `make test-crash` runs many."""

from pathlib import Path

import pytest

from tests.crash.__main__ import rounds


@pytest.mark.timeout(120)
async def test_the_books_are_clean_after_kill_9_under_load(tmp_path: Path) -> None:
    assert await rounds(count=3, seed=20261125, rate=25.0, database=None, folder=tmp_path) == 0
