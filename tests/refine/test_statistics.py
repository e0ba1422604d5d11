from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from weakseg.refine import EvidenceStatistics

SMOKE_SCORES = hnp.arrays(np.float32, (4, 5), elements=st.floats(0, 1, width=32))


@settings(deadline=None)
@given(SMOKE_SCORES)
def test_shares_above_are_those_of_a_cut_at_the_edge(smoke: np.ndarray) -> None:
    statistics = EvidenceStatistics()
    statistics.add("a", smoke, label=1, probability=0.5)
    above = statistics.frames()[0].shares_above
    for edge in range(256):
        assert above[edge] == np.mean(smoke >= edge / 256)


@settings(deadline=None)
@given(st.lists(SMOKE_SCORES, min_size=2, max_size=4), st.randoms())
def test_the_order_and_the_parts_do_not_matter(maps: list[np.ndarray], random: object) -> None:
    whole, left, right = EvidenceStatistics(), EvidenceStatistics(), EvidenceStatistics()
    for i, smoke in enumerate(maps):
        whole.add(str(i), smoke, label=i % 2, probability=0.5)
        part = left if i % 3 else right
        part.add(str(i), smoke, label=i % 2, probability=0.5)
    assert left.merge(right).to_dict() == right.merge(left).to_dict() == whole.to_dict()


def test_statistics_travel_as_json(rng: np.random.Generator) -> None:
    statistics = EvidenceStatistics()
    statistics.add("a", rng.random((9, 9), dtype=np.float32), label=0, probability=0.25)
    stored = json.loads(json.dumps(statistics.to_dict()))
    assert EvidenceStatistics.from_dict(stored).to_dict() == statistics.to_dict()


def test_frames_are_told_apart_by_label_and_probability() -> None:
    statistics = EvidenceStatistics()
    for name, label, probability in (("a", 0, 0.9), ("b", 1, 0.9), ("c", 1, 0.1)):
        statistics.add(name, np.zeros((2, 2), np.float32), label=label, probability=probability)
    assert [f.frame_id for f in statistics.frames(label=1)] == ["b", "c"]
    assert [f.frame_id for f in statistics.smoke_frames(min_probability=0.5)] == ["b"]
    assert [f.frame_id for f in statistics.smoke_frames(min_probability=0.95)] == ["b", "c"]
    assert len(statistics) == 3


def test_a_frame_counts_once() -> None:
    statistics = EvidenceStatistics()
    statistics.add("a", np.zeros((2, 2), np.float32), label=0, probability=0)
    with pytest.raises(ValueError, match="frame a was counted twice"):
        statistics.add("a", np.zeros((2, 2), np.float32), label=0, probability=0)
    with pytest.raises(ValueError, match="counted twice"):
        statistics.merge(statistics)
    with pytest.raises(ValueError, match="label must be one of"):
        statistics.add("b", np.zeros((2, 2), np.float32), label=2, probability=0)
