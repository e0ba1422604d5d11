"""Name the class ids that masks and labels are made of."""

from __future__ import annotations

from typing import Final

BACKGROUND: Final = 0
SMOKE: Final = 1
IGNORE: Final = 255

CLASS_NAMES: Final = ("background", "smoke")
