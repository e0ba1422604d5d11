"""Units run in order and side by side; one that fails stops no other; a stop reaches all."""

from __future__ import annotations

import dataclasses
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from weakseg.artifacts.lock import FolderLock
from weakseg.errors import ArtifactError, DataError
from weakseg.plans import StudyPlan
from weakseg.stages.ablation.running import progress_line, run_units, seconds_left
from weakseg.stages.ablation.study import Study, Unit, read_study
from weakseg.stages.running import Step, StepFailed, run_steps
from weakseg.training import Interrupted, StopFlag


@pytest.fixture
def study() -> Study:
    """Two chains: c on b on a, and y on x."""
    parents = {"a": "", "b": "a", "c": "b", "x": "", "y": "x"}
    rows = [
        {"name": name, "group": "step" if of else "baseline", "of": of, "stage1": "" if of else "s"}
        for name, of in parents.items()
    ]
    return read_study(StudyPlan(rows=rows), weights={}, only=[])


class Kept:
    """Makes units by writing down when each began and ended."""

    def __init__(self, *, broken: tuple[str, ...] = (), seconds: float = 0.0) -> None:
        self.told: list[tuple[str, str]] = []
        self.at_once = 0
        self._broken, self._seconds, self._lock, self._now = broken, seconds, threading.Lock(), 0

    def __call__(self, unit: Unit) -> bool:
        with self._lock:
            self._now += 1
            self.at_once = max(self.at_once, self._now)
            self.told.append(("begin", unit.row))
        time.sleep(self._seconds)
        with self._lock:
            self._now -= 1
            self.told.append(("end", unit.row))
        if unit.row in self._broken:
            raise StepFailed(f"{unit.row} is broken")
        return True

    def made(self) -> list[str]:
        return [name for what, name in self.told if what == "begin"]


def run_all(
    study: Study, make: Callable[[Unit], bool], *, jobs: int = 1, stop: StopFlag | None = None
) -> dict[Unit, str]:
    return run_units(
        study,
        study.units([0]),
        jobs=jobs,
        make=make,
        stop=stop or StopFlag(),
        on_stop=lambda: None,
    )


@pytest.mark.parametrize("jobs", [1, 2, 5])
def test_unit_begins_after_the_one_it_builds_on_has_ended(study: Study, jobs: int) -> None:
    kept = Kept(seconds=0.01)
    assert run_all(study, kept, jobs=jobs) == {}
    assert sorted(kept.made()) == ["a", "b", "c", "x", "y"]
    for name, of in (("b", "a"), ("c", "b"), ("y", "x")):
        assert kept.told.index(("begin", name)) > kept.told.index(("end", of))
    assert kept.at_once == min(jobs, 2)


def test_failed_unit_stops_only_what_builds_on_it(study: Study) -> None:
    kept = Kept(broken=("b",))
    failed = run_all(study, kept)
    assert sorted(kept.made()) == ["a", "b", "x", "y"]
    assert failed == {
        Unit("b", 0): "b is broken",
        Unit("c", 0): "b/seed0, which it builds on, failed",
    }


def test_what_cannot_be_made_any_more_does_not_count_as_left(study: Study) -> None:
    left: dict[str, list[str]] = {}

    def tell(unit: Unit, done: int, still: Sequence[Unit]) -> None:
        left[unit.row] = [one.row for one in still]

    run_units(
        study,
        study.units([0]),
        jobs=1,
        make=Kept(broken=("a",)),
        stop=StopFlag(),
        on_stop=lambda: None,
        on_end=tell,
    )
    assert left == {"x": ["y"], "y": []}


def test_unit_waits_for_the_one_whose_cams_it_averages_in(study: Study) -> None:
    rows = {**study.rows, "c": dataclasses.replace(study.rows["c"], also="a")}
    kept, units = Kept(seconds=0.02), [Unit("a", 0), Unit("c", 0)]
    run_units(Study(rows), units, jobs=2, make=kept, stop=StopFlag(), on_stop=lambda: None)
    assert kept.told.index(("begin", "c")) > kept.told.index(("end", "a"))


def test_unit_on_one_that_was_finished_before_may_begin(study: Study) -> None:
    kept = Kept()
    units = [Unit("c", 0)]
    run_units(study, units, jobs=1, make=kept, stop=StopFlag(), on_stop=lambda: None)
    assert kept.made() == ["c"]


def test_errors_of_the_program_are_not_taken_for_a_failed_unit(study: Study) -> None:
    def make(unit: Unit) -> bool:
        raise KeyError(unit.row)

    with pytest.raises(KeyError):
        run_all(study, make)


def test_stop_reaches_what_runs_and_starts_nothing_more(study: Study) -> None:
    stop, reached = StopFlag(), threading.Event()
    made = []

    def make(unit: Unit) -> bool:
        made.append(unit.row)
        stop.set("SIGTERM")
        assert reached.wait(timeout=10)
        raise DataError("stopped halfway")

    with pytest.raises(Interrupted, match="stopped by SIGTERM after 0 of 5 units"):
        run_units(study, study.units([0]), jobs=1, make=make, stop=stop, on_stop=reached.set)
    assert made == ["a"]


# ---- commands


@pytest.fixture
def log_file(tmp_path: Path) -> Path:
    return tmp_path / "logs" / "a.log"


class Answers:
    """Stands for commands: gives codes in turn, and says a line each."""

    def __init__(self, *answers: tuple[int, str]) -> None:
        self.steps: list[Step] = []
        self._answers = list(answers)

    def __call__(self, step: Step, log_file: Path) -> int:
        self.steps.append(step)
        code, line = self._answers.pop(0)
        with log_file.open("a") as said:
            said.write(line + "\n")
        return code


STAGE1, STAGE2 = Step("stage1", "stage1", ("seed=0",)), Step("stage2", "stage2", ("seed=0",))
OTHERWISE = (
    "error: out/stage1 holds a stage1 run made otherwise (seed: was 0, now 1): choose another "
    "output folder, or start again with overwrite=true"
)


def test_first_bad_command_ends_a_unit_with_its_own_words(log_file: Path) -> None:
    answers = Answers((0, "fine"), (1, "error: no such file"), (0, "never"))
    with pytest.raises(StepFailed, match="stage2: no such file"):
        run_steps([STAGE1, STAGE2, STAGE1], log_file, answers)
    assert answers.steps == [STAGE1, STAGE2]
    assert log_file.read_text().splitlines()[0] == "$ python -m weakseg.stage1 seed=0"


def test_run_that_was_made_otherwise_is_made_again_once(log_file: Path) -> None:
    answers = Answers((1, OTHERWISE), (0, "fine"))
    run_steps([STAGE1], log_file, answers)
    assert [step.words[-1] for step in answers.steps] == ["seed=0", "overwrite=true"]
    with pytest.raises(StepFailed, match="made otherwise"):
        run_steps([STAGE1], log_file, Answers((1, OTHERWISE), (1, OTHERWISE)))


def test_earlier_words_of_a_log_are_not_taken_for_new_ones(log_file: Path) -> None:
    with pytest.raises(StepFailed, match="made otherwise"):
        run_steps([STAGE1], log_file, Answers((1, OTHERWISE), (1, OTHERWISE)))
    answers = Answers((-9, "killed"))
    with pytest.raises(StepFailed, match="stage1: ended by signal 9: killed"):
        run_steps([STAGE1], log_file, answers)
    assert len(answers.steps) == 1


def test_real_refusal_is_the_one_that_is_understood(log_file: Path, tmp_path: Path) -> None:
    from weakseg.artifacts import RunFolder  # noqa: PLC0415

    def opened(seed: int) -> RunFolder:
        return RunFolder.open(
            tmp_path / "run", kind="stage1", config={}, settings={"seed": seed}, inputs={}, data={}
        )

    opened(0).close()
    with pytest.raises(ArtifactError) as refusal:
        opened(1)
    answers = Answers((1, f"error: {refusal.value}"), (0, "fine"))
    run_steps([STAGE1], log_file, answers)
    assert len(answers.steps) == 2


IN_USE = "error: out is in use by another run (process 7): wait for it to end"


def test_folder_in_use_is_waited_for(log_file: Path) -> None:
    answers = Answers((1, IN_USE), (1, IN_USE), (0, "fine"))
    run_steps([STAGE1], log_file, answers, pause=0.0)
    assert len(answers.steps) == 3
    with pytest.raises(StepFailed, match="in use by another run"):
        run_steps([STAGE1], log_file, Answers((1, IN_USE)), patience=0.0)


def test_real_lock_is_the_one_that_is_understood(log_file: Path, tmp_path: Path) -> None:
    holder = FolderLock(tmp_path)
    with pytest.raises(ArtifactError) as refusal:
        FolderLock(tmp_path, patience_seconds=0.0)
    holder.release()
    answers = Answers((1, f"error: {refusal.value}"), (0, "fine"))
    run_steps([STAGE1], log_file, answers, pause=0.0)
    assert len(answers.steps) == 2


# ---- how long it takes


def test_time_left_is_that_of_the_same_row_else_group_else_any() -> None:
    left = [Unit("a", 1), Unit("b", 1), Unit("z", 1)]
    finished = {Unit("a", 0): 10.0, Unit("c", 0): 40.0, Unit("d", 0): 60.0}
    groups = {"a": "baseline", "b": "step", "c": "step", "d": "step", "z": "rounds"}

    def group_of(unit: Unit) -> str:
        return groups[unit.row]

    # a as a: 10; b as c and d: 50; z as all: 110 / 3.
    expected = (10 + 50 + 110 / 3) / 2
    assert seconds_left(left, finished, group_of=group_of, jobs=2) == pytest.approx(expected)
    assert seconds_left(left, {}, group_of=group_of, jobs=2) is None


def test_progress_says_which_of_how_many_and_how_long() -> None:
    unit = Unit("crf", 1)
    assert progress_line(unit, 7, 42, 4200.0) == ("unit 7/42: crf/seed1, about 1 h 10 min left")
    assert progress_line(unit, 42, 42, 0.0) == "unit 42/42: crf/seed1"
