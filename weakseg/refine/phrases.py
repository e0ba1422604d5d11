"""Words for CLIP: what smoke is called, what is mistaken for it, and what else a camera sees."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

Phrases = Mapping[str, Sequence[str]]

SMOKE_PHRASES: Final = ("smoke", "a plume of smoke", "wildfire smoke", "smoke rising from a fire")

LOOK_ALIKES: Final[Phrases] = {
    "steam": ("steam", "white steam from a chimney", "water vapour"),
    "cloud": ("a cloud", "clouds", "an overcast sky"),
    "fog": ("fog", "morning mist", "low fog in a valley"),
    "dust": ("dust", "a cloud of dust behind a vehicle"),
}

SCENERY: Final[Phrases] = {
    "sky": ("a clear sky", "blue sky"),
    "forest": ("a forest", "trees"),
    "mountain": ("a mountain", "hills"),
    "ground": ("a field", "grass", "bare ground"),
    "building": ("a building", "houses", "a chimney", "a crane"),
    "road": ("a road",),
    "water": ("water", "a lake"),
}

TEMPLATES: Final = (
    "{}",
    "a photo of {}",
    "a blurry photo of {}",
    "a photo of {} in the distance",
    "a photo of {} taken by a surveillance camera",
)
