"""Equal settings have equal fingerprints, and differences are told in words."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from weakseg.artifacts import differences, fingerprint

LEAVES = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text()
NESTED = st.lists(LEAVES, max_size=3) | st.dictionaries(st.text(), LEAVES, max_size=3)
SETTINGS = st.dictionaries(st.text(), LEAVES | NESTED, max_size=4)


@dataclass(frozen=True)
class Recipe:
    method: str = "layer_cam"
    scales: tuple[float, ...] = (1.0, 0.5)


@settings(max_examples=40, deadline=None)
@given(SETTINGS)
def test_order_of_keys_makes_no_difference(content: dict[str, Any]) -> None:
    turned = dict(reversed(content.items()))
    assert fingerprint(turned) == fingerprint(content)
    assert differences(content, turned) == []


@settings(max_examples=40, deadline=None)
@given(SETTINGS, LEAVES)
def test_added_setting_changes_the_fingerprint_and_is_named(
    content: dict[str, Any], value: Any
) -> None:
    more = {**content, "added": value}
    if "added" not in content:
        assert fingerprint(more) != fingerprint(content)


def test_spelling_of_numbers_and_lists_makes_no_difference() -> None:
    one = {"lr": 1.0, "scales": (1, 0.5), "path": Path("a/b"), "n": np.int64(3), "on": True}
    two = {"lr": 1, "scales": [1.0, 0.5], "path": "a/b", "n": 3, "on": np.bool_(True)}
    assert fingerprint(one) == fingerprint(two)


def test_true_is_not_one() -> None:
    assert fingerprint({"flip": True}) != fingerprint({"flip": 1})


def test_dataclass_counts_as_its_fields() -> None:
    assert fingerprint(Recipe()) == fingerprint({"method": "layer_cam", "scales": [1, 0.5]})


def test_fingerprint_stays_the_same_between_versions() -> None:
    # Anything else would orphan every run folder there is.
    expected = "30dc0108ceea61022656914d5ddf5ccc522242450337388bb2f6420a92607fc1"
    assert fingerprint({"a": [1, 2.5, None, "ü"]}) == expected


def test_differences_name_the_dotted_key_and_both_values() -> None:
    was = {"cam": {"method": "grad_cam", "flip": True}, "seed": 0, "old": 1}
    now = {"cam": {"method": "layer_cam", "flip": True}, "seed": 0, "new": [1, 2]}
    assert differences(was, now) == [
        "cam.method: was grad_cam, now layer_cam",
        "new: was absent, now [1, 2]",
        "old: was 1, now absent",
    ]


def test_object_is_no_setting() -> None:
    with pytest.raises(TypeError, match="settings hold"):
        fingerprint({"a": object()})
