"""The data folder: its owner's alone, locked while in use, secrets made once."""

import stat
from pathlib import Path

import pytest

from pms.data_folder import DataFolder, DataFolderError


def test_a_new_folder_and_its_secrets_are_the_owners_alone(tmp_path: Path) -> None:
    folder = DataFolder.open(tmp_path / "data")
    assert folder.secret("key", "first") == "first"
    assert folder.secret("key", "second") == "first", "made once"
    assert stat.S_IMODE((tmp_path / "data").stat().st_mode) == 0o700
    assert stat.S_IMODE((tmp_path / "data" / "key").stat().st_mode) == 0o600
    folder.close()


def test_a_second_holder_is_refused_and_told_who_holds_it(tmp_path: Path) -> None:
    assert DataFolder.holder(tmp_path / "data") is None
    folder = DataFolder.open(tmp_path / "data")
    holder = DataFolder.holder(tmp_path / "data")
    assert holder is not None
    with pytest.raises(DataFolderError, match=holder):
        DataFolder.open(tmp_path / "data")
    folder.close()
    assert DataFolder.holder(tmp_path / "data") is None
    DataFolder.open(tmp_path / "data").close()


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(DataFolderError, match="file"):
        DataFolder.open(tmp_path / "file" / "data")


def test_a_secret_that_was_never_written_is_made_again(tmp_path: Path) -> None:
    folder = DataFolder.open(tmp_path / "data")
    (folder.path / "key").touch()
    assert folder.secret("key", "fresh") == "fresh"
    assert folder.secret("key", "other") == "fresh"
    folder.close()


def test_a_secret_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    folder = DataFolder.open(tmp_path / "data")
    (folder.path / "damaged").write_bytes(b"\xff\xfe")
    (folder.path / "folder").mkdir()
    for name in ("damaged", "folder"):
        with pytest.raises(DataFolderError, match=f"{name} cannot be used .*; make it readable"):
            folder.secret(name, "fresh")
    folder.close()
