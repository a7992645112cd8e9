"""The hint that relative paths of images start from the current folder."""

from __future__ import annotations

from typing import Any

import pytest

from morel_search.errors import DataError
from morel_search.training.settings import DataSettings
from morel_search.workflows.data_paths import relative_path_hint


@pytest.mark.parametrize(
    ("data", "hint"),
    [
        ({"name": "parquet", "train": "/a/train.parquet", "test": "/a/test.parquet"}, False),
        ({"name": "parquet", "train": "/a/train.parquet", "test": "test.parquet"}, True),
        ({"name": "image_folder", "train": "train", "test": "/a/test"}, True),
        ({"name": "image_folder", "train": "~/train", "test": "~/test"}, False),
        ({"name": "cifar10", "folder": "/a"}, False),
        ({"name": "cifar10"}, True),
        ({"name": "cifar10", "folder": "/a", "extra": "extra.parquet"}, True),
        ({"name": "digits"}, False),
    ],
)
def test_relative_paths_that_are_read_are_named(data: dict[str, Any], hint: bool) -> None:
    """``data.folder`` is relative by default, also where no file is read from it."""
    with pytest.raises(DataError, match="no images") as caught, relative_path_hint(DataSettings(**data)):
        raise DataError("no images")
    assert ("; relative paths start from the current folder" in str(caught.value)) is hint
