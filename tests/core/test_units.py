"""Amounts of memory are read as people write them."""

import pytest

from analysis.core import units
from analysis.core.errors import SpecError


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("4GB", 4_000_000_000),
        ("512 mb", 512_000_000),
        ("1.5GiB", 3 << 29),
        (" 2 TB ", 2_000_000_000_000),
        ("0.5kB", 500),
    ],
)
def test_a_number_with_its_unit(text, wanted):
    assert units.read_size(text) == wanted


@pytest.mark.parametrize(
    "text", ["", "4", "GB", "-4GB", "4 G B", "1e9GB", "nan GB", "4GB" * 1000, "९GB"]
)
def test_anything_else_is_refused_in_a_sentence(text):
    with pytest.raises(SpecError, match="is not an amount of memory. Give a number with its unit"):
        units.read_size(text)
