"""A ledger gives a point to one at a time, and forgets nobody who was killed."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from weakseg.artifacts.lock import FolderLock
from weakseg.errors import ArtifactError
from weakseg.stages.sweeps.file import Metric
from weakseg.stages.sweeps.ledger import (
    FAILED,
    FINISHED,
    INTERRUPTED,
    RUNNING,
    Claim,
    Ledger,
    Point,
    folder_name,
)
from weakseg.stages.sweeps.search import GridSearch
from weakseg.stages.sweeps.space import read_parameter


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    return Ledger(tmp_path)


def grid(*values: int) -> GridSearch:
    return GridSearch({"a": read_parameter("a", {"values": list(values)})}, cap=None)


def claim(
    ledger: Ledger,
    search: GridSearch,
    *,
    retry: bool = False,
    tried: set[int] | None = None,
    metric: Metric | None = None,
) -> Claim | None:
    return ledger.claim(
        search,
        metric=metric,
        overrides_of=lambda values: [f"{key}={value}" for key, value in values.items()],
        retry=retry,
        tried=tried or set(),
    )


def end(
    ledger: Ledger,
    one: Claim,
    status: str,
    *,
    metric: float | None = None,
    figures: dict[str, float] | None = None,
) -> None:
    ended = dataclasses.replace(one.point, status=status, metric=metric, figures=figures or {})
    ledger.write(ended)
    one.release()


def everyone(ledger: Ledger, search: GridSearch) -> Iterator[Claim]:
    while (one := claim(ledger, search)) is not None:
        yield one


def test_points_are_given_in_order_and_once(ledger: Ledger) -> None:
    taken = [claim(ledger, grid(5, 6, 7)) for _ in range(4)]
    assert [one.point.overrides for one in taken if one] == [["a=5"], ["a=6"], ["a=7"]]
    assert taken[3] is None
    assert [point.number for point in ledger.points()] == [0, 1, 2]


def test_many_hands_never_take_the_same_point(tmp_path: Path) -> None:
    made: list[int] = []

    def hand() -> None:
        mine = Ledger(tmp_path)
        for one in everyone(mine, grid(*range(12))):
            made.append(one.point.number)
            end(mine, one, FINISHED)

    hands = [threading.Thread(target=hand) for _ in range(4)]
    for one in hands:
        one.start()
    for one in hands:
        one.join(timeout=60)
    assert sorted(made) == list(range(12))


def test_finished_point_is_never_given_again_and_a_failed_one_only_on_request(
    ledger: Ledger,
) -> None:
    search = grid(1, 2)
    for status in (FINISHED, FAILED):
        one = claim(ledger, search)
        assert one is not None
        end(ledger, one, status)
    assert claim(ledger, search, retry=False) is None
    again = claim(ledger, search, retry=True)
    assert again is not None
    assert again.point.parameters == {"a": 2}
    again.release()
    assert claim(ledger, search, retry=True, tried={1}) is None


KILLED = """
import os, signal, sys
from weakseg.artifacts.lock import FolderLock
lock = FolderLock(__import__("pathlib").Path(sys.argv[1]))
print("locked", flush=True)
sys.stdin.read()
"""


def test_point_of_a_killed_process_is_interrupted_and_goes_on(ledger: Ledger) -> None:
    one = claim(ledger, grid(1))
    assert one is not None
    ledger.write(dataclasses.replace(one.point, status=RUNNING, attempts=1))
    one.release()
    holder = subprocess.Popen(
        [sys.executable, "-c", KILLED, str(ledger.folder_of(one.point))],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    with holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"locked\n"
        assert claim(ledger, grid(1)) is None
        assert [point.status for point in ledger.statuses()] == [RUNNING]
        holder.kill()
        holder.wait()
    assert [point.status for point in ledger.statuses()] == [INTERRUPTED]
    again = claim(ledger, grid(1))
    assert again is not None
    assert again.point.attempts == 1


def test_kill_between_folder_and_record_leaves_no_hole(ledger: Ledger) -> None:
    first = claim(ledger, grid(1, 2))
    assert first is not None
    (ledger.folder_of(first.point).parent / "0001").mkdir()
    second = claim(ledger, grid(1, 2))
    assert second is not None
    assert second.point.number == 1


def test_target_that_is_reached_ends_the_sweep(ledger: Ledger) -> None:
    metric = Metric("iou", "maximize", 0.5)
    for value in (0.4, 0.6):
        one = claim(ledger, grid(1, 2, 3), metric=metric)
        assert one is not None
        end(ledger, one, FINISHED, metric=value, figures={"iou": value})
    assert claim(ledger, grid(1, 2, 3), metric=metric) is None
    assert Metric("loss", "minimize", 0.5).is_reached(0.4)


def test_damaged_record_is_named(ledger: Ledger) -> None:
    one = claim(ledger, grid(1))
    assert one is not None
    path = ledger.folder_of(one.point) / "point.json"
    path.write_text(json.dumps({"number": 0, "colour": "red"}))
    with pytest.raises(ArtifactError, match=r"point.json is no point of a sweep"):
        ledger.points()


def test_ledger_in_use_is_waited_for(ledger: Ledger, tmp_path: Path) -> None:
    (tmp_path / "ledger").mkdir()
    holder = FolderLock(tmp_path / "ledger")
    threading.Timer(0.3, holder.release).start()
    assert claim(ledger, grid(1)) is not None


def test_folders_are_named_after_what_varies() -> None:
    assert folder_name(["refine=crf+sam", "seed=0"]) == "refine=crf+sam,seed=0"
    odd, other = folder_name(["data.index=/a/b c.csv"]), folder_name(["data.index=/a/b-c.csv"])
    assert "/" not in odd
    assert odd != other
    assert len(folder_name([f"key{i}=value" for i in range(60)])) < 140


def test_record_says_all_that_a_report_needs() -> None:
    fields = {field.name for field in dataclasses.fields(Point)}
    assert {"overrides", "seed", "status", "seconds", "figures", "run", "command"} <= fields
