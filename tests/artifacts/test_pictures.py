"""Pictures for people are written whole, in the format their name says."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from weakseg.artifacts.pictures import write_picture


@pytest.mark.parametrize(("name", "kind"), [("a.png", "PNG"), ("b.jpg", "JPEG")])
def test_the_suffix_says_the_format(tmp_path: Path, name: str, kind: str) -> None:
    picture = np.full((8, 12, 3), (200, 100, 50), np.uint8)
    write_picture(tmp_path / "deep" / name, picture)
    with Image.open(tmp_path / "deep" / name) as image:
        assert image.format == kind
        assert image.size == (12, 8)
        assert np.abs(np.asarray(image, np.int64) - picture).max() <= 4


def test_a_mask_is_no_picture(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="picture must have shape"):
        write_picture(tmp_path / "a.png", np.zeros((4, 4), np.uint8))
