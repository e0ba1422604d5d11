"""A study is checked before anything runs, ordered by what builds on what, and dealt out whole."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from weakseg.plans import StudyPlan
from weakseg.stages.ablation.study import (
    Row,
    Study,
    Unit,
    check_seeds,
    read_shard,
    read_study,
    units_of_shard,
)
from weakseg.targets import ConfigurationError


def row(name: str, of: str = "", **more: Any) -> dict[str, Any]:
    given = {"of": of} if of else {"stage1": "classifier=resnet50"}
    return {"name": name, "group": "baseline", **given, **more}


def study(*rows: dict[str, Any], only: tuple[str, ...] = (), **weights: str | None) -> Study:
    return read_study(StudyPlan(rows=list(rows)), weights=weights, only=only)


def test_row_comes_after_what_it_builds_on() -> None:
    found = study(row("c", "b"), row("b", "a"), row("a"), row("d"))
    assert list(found.rows) == ["a", "b", "c", "d"]
    assert [one.name for one in found.lineage("c")] == ["c", "b", "a"]
    assert found.parent(Unit("c", 2)) == Unit("b", 2)
    assert found.parent(Unit("a", 2)) is None
    assert found.root(Unit("c", 2)) == Unit("a", 2)


def test_first_seed_comes_whole_before_the_second() -> None:
    units = study(row("a"), row("b", "a")).units([0, 1])
    assert units == [Unit("a", 0), Unit("b", 0), Unit("a", 1), Unit("b", 1)]


@pytest.mark.parametrize(
    ("rows", "complaint"),
    [
        ([row("a", "b"), row("b", "a")], "in a circle: a, b"),
        ([row("a", "zebra")], "no row zebra"),
        ([row("a"), row("a")], "a stands there twice"),
        ([{"name": "a", "group": "baseline"}], "a has no CAMs"),
        ([{"name": "a"}], "needs a name and a group"),
        ([row("a") | {"group": "other"}], "group 'other'"),
        ([row("../a")], "no name of a row"),
        ([row("a") | {"stage3": "x=1"}], "unknown key stage3"),
        ([], "no row to make"),
    ],
)
def test_wrong_study_is_refused_by_name(rows: list[dict[str, Any]], complaint: str) -> None:
    with pytest.raises(ConfigurationError, match=complaint):
        study(*rows)


def test_rows_without_their_weights_are_left_out_with_what_builds_on_them() -> None:
    rows = (row("a"), row("b", "a", needs="sam"), row("c", "b"), row("d", "a"))
    found = study(*rows, sam=None)
    assert list(found.rows) == ["a", "d"]
    assert found.left_out == {
        "b": "weights.sam is not given",
        "c": "builds on b, which is left out",
    }
    assert list(study(*rows, sam="sam.safetensors").rows) == ["a", "b", "c", "d"]


def test_only_keeps_what_the_rows_build_on() -> None:
    rows = (row("a"), row("b", "a"), row("c", "b"), row("d"))
    assert list(study(*rows, only=("b",)).rows) == ["a", "b"]
    with pytest.raises(ConfigurationError, match="only: there is no row zebra"):
        study(*rows, only=("zebra",))


@pytest.mark.parametrize(
    ("stage2", "is_made"),
    [
        ("consistency=resnet_to_vit refine=crf", True),
        ("consistency=cotraining", True),
        ("consistency=none", False),
        ("refine=crf", False),
    ],
)
def test_student_is_made_where_consistency_is_asked_for(stage2: str, is_made: bool) -> None:
    assert Row("a", "consistency", of="b", stage2=stage2).makes_student is is_made


# ---- shards


@given(
    parents=st.lists(st.integers(-1, 6), min_size=1, max_size=8),
    seeds=st.integers(1, 4),
    count=st.integers(1, 6),
)
def test_every_unit_is_in_one_shard_with_all_it_builds_on(
    parents: list[int], seeds: int, count: int
) -> None:
    rows = [row(f"r{i}", f"r{of}" if 0 <= of < i else "") for i, of in enumerate(parents)]
    found = study(*rows)
    shards = [units_of_shard(found, range(seeds), (index, count)) for index in range(count)]
    dealt = Counter(unit for shard in shards for unit in shard)
    assert dealt == Counter(found.units(range(seeds)))
    for shard in shards:
        assert all(found.parent(unit) in (None, *shard) for unit in shard)


def test_shards_of_equal_chains_are_of_equal_size() -> None:
    found = study(row("a"), row("b", "a"), row("c"), row("d", "c"))
    sizes = [len(units_of_shard(found, [0, 1, 2], (index, 3))) for index in range(3)]
    assert sizes == [4, 4, 4]


@pytest.mark.parametrize("seeds", [[], [0, 0], [-1]])
def test_seeds_that_make_no_table_are_refused(seeds: list[int]) -> None:
    with pytest.raises(ConfigurationError, match="seeds must be one or more different numbers"):
        check_seeds(seeds)


@pytest.mark.parametrize("text", ["4/4", "1", "a/b", "-1/2", "1/0", ""])
def test_shard_must_be_one_of_n(text: str) -> None:
    with pytest.raises(ConfigurationError, match="shard must be I/N"):
        read_shard(text)


def test_shard_is_read() -> None:
    assert read_shard("3/4") == (3, 4)
