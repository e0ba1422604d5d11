"""One command makes the table; what is finished is not made again, and what fails stays alone."""

from __future__ import annotations

import csv
import dataclasses
import io
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml
from doors import STAGES, Doors

from weakseg.artifacts import load_run, read_json, write_json
from weakseg.data import DataError, IndexSource
from weakseg.errors import ArtifactError
from weakseg.plans import AblationPlan, HardwarePlan, StudyPlan
from weakseg.stages.ablation import command as ablation
from weakseg.stages.running import Step, Terminal
from weakseg.targets import ConfigurationError

TINY = " ".join(word for word in STAGES["stage1"] if not word.startswith(("tracker", "hardware")))
ROWS: list[dict[str, Any]] = [
    {"name": "local", "group": "baseline", "stage1": "cam=local cam.scales=[1.0]"},
    {"name": "crf", "group": "step", "of": "local", "stage2": "refine=crf"},
    {"name": "broken", "group": "step", "of": "local", "stage2": "refine=crf masks.min_area=7"},
]


class Typist:
    """Runs the commands by the doors, and remembers them."""

    def __init__(self, doors: Doors, cwd: Path) -> None:
        self.steps: list[Step] = []
        self._doors, self._cwd = doors, cwd

    def __call__(self, step: Step, log_file: Path) -> int:
        self.steps.append(step)
        done = self._doors.run(step.command, *step.words, cwd=self._cwd)
        with log_file.open("a") as said:
            said.write(done.out + done.err)
        return done.code

    def names(self) -> list[str]:
        """Give what was run since the last look: stage, and whose."""
        named = [f"{s.name} {_unit_of(s)}" for s in self.steps]
        self.steps.clear()
        return named


def read_csv(path: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(path.read_text())))


def _unit_of(step: Step) -> str:
    given = dict(word.split("=", 1) for word in step.words)
    return Path(given.get("output", given.get("run", ""))).parent.name


@pytest.fixture(scope="module")
def made(
    doors: Doors, tiny_folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[AblationPlan, list[str], str]:
    """The plan of an ablation that was run to its end, what was run for it, and how it ended."""
    output = tmp_path_factory.mktemp("ablation")
    plan = AblationPlan(
        data=IndexSource(str(tiny_folder / "index.csv")),
        study=StudyPlan(
            title="Tiny", stage1=f"{TINY} fit.epochs=1", stage2="refine=none", rows=ROWS
        ),
        output=str(output / "out"),
        seeds=[0],
        pictures=3,
        hardware=HardwarePlan(accelerator="cpu", threads=1),
    )
    with pytest.MonkeyPatch.context() as patch:
        typist = Typist(doors, output)
        patch.setattr(Terminal, "run", typist)
        with pytest.raises(ablation.UnitsFailed) as failure:
            ablation.run(plan, {})
    return plan, typist.names(), str(failure.value)


@pytest.fixture
def typist(doors: Doors, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Typist:
    typist = Typist(doors, tmp_path)
    monkeypatch.setattr(Terminal, "run", typist)
    return typist


Made = tuple[AblationPlan, list[str], str]


def test_every_unit_is_made_and_measured_by_the_stages_own_commands(made: Made) -> None:
    _, names, _ = made
    assert names == [
        "stage1 local",
        "stage2 local",
        "measure-train local",
        "measure-val local",
        "stage2 crf",
        "measure-train crf",
        "measure-val crf",
        "stage2 broken",
    ]


def test_failed_unit_is_told_by_name_with_its_log_after_all_others_are_done(made: Made) -> None:
    plan, _, told = made
    assert told.startswith("1 units failed, and all others are done: broken/seed0: stage2: ")
    assert "min_area must lie in [0, 1]" in told
    log_file = Path(plan.output) / "logs" / "broken" / "seed0.log"
    assert f"({log_file})" in told
    assert "min_area" in log_file.read_text()


def test_stages_saw_no_test_frame_and_no_mask(made: Made) -> None:
    output = Path(made[0].output)
    for run in ("stage1/local", "stage2/crf"):
        finished = load_run(output / run / "seed0")
        assert {row["split"] for row in finished.frames} == {"train", "val"}
        assert finished.data["index"] == str(output / "index.csv")
    assert "mask" not in (output / "index.csv").read_text()


def test_table_says_what_evaluate_measured(made: Made) -> None:
    output = Path(made[0].output)
    rows = {r["row"]: r for r in read_csv(output / "ablation.csv")}
    assert list(rows) == ["local", "crf"]
    for row, cells in rows.items():
        for split in ("train", "val"):
            run = output / "stage2" / row / "seed0" / "evaluation" / f"ablation-{split}.json"
            figures = read_json(run)["figures"]
            for key in ("iou_per_image", "oracle_iou_per_image", "false_alarm_share"):
                cell = float(cells[f"{split}/{key}_mean"])
                assert cell == pytest.approx(figures[key], abs=1e-5)
            assert cells[f"{split}/iou_per_image_n"] == "1"
            assert cells[f"{split}/iou_per_image_std"] == ""
    text = (output / "ablation.md").read_text()
    assert str(output) not in text
    assert "Failed: broken/seed0." in text


def test_page_shows_frame_truth_and_every_row(made: Made) -> None:
    page = (Path(made[0].output) / "ablation.html").read_text()
    assert page.count("<figcaption>truth</figcaption>") == 3
    assert page.count("<figcaption>crf</figcaption>") == 3
    assert "IoU per image on val" in page


def test_second_start_makes_only_what_failed(made: Made, typist: Typist) -> None:
    with pytest.raises(ablation.UnitsFailed):
        ablation.run(made[0], {})
    assert typist.names() == ["stage2 broken"]


def test_shards_make_what_is_theirs(made: Made, typist: Typist) -> None:
    ablation.run(dataclasses.replace(made[0], shard="1/2"), {})
    assert typist.names() == []


def test_shard_without_a_unit_ends_well_before_all_others(
    made: Made, typist: Typist, tmp_path: Path
) -> None:
    folder = ablation.run(dataclasses.replace(made[0], shard="1/2", output=str(tmp_path)), {})
    assert (typist.names(), folder) == ([], tmp_path)


def test_plan_that_makes_no_sense_is_refused(made: Made) -> None:
    with pytest.raises(ValueError, match="jobs must be at least 1"):
        ablation.run(dataclasses.replace(made[0], jobs=0), {})
    with pytest.raises(ConfigurationError, match="seeds must be"):
        ablation.run(dataclasses.replace(made[0], seeds=[0, 0]), {})


def test_result_of_other_settings_has_no_part_in_a_mean(made: Made, tmp_path: Path) -> None:
    """As when one seed of three is made again with other settings."""
    moved = tmp_path / "moved"
    shutil.copytree(made[0].output, moved)
    content = read_json(moved / "units" / "crf" / "seed0.json")
    other = {**content, "seed": 1, "fingerprint": "other", "recipe": "other"}
    write_json(moved / "units" / "crf" / "seed1.json", other)
    plan = dataclasses.replace(made[0], output=str(moved), only=["local"])
    ablation.run(plan, {})
    rows = {row["row"]: row for row in read_csv(moved / "ablation.csv")}
    assert (rows["local"]["seeds"], rows["crf"]["seeds"]) == ("1", "1")
    assert "Stale: crf/seed1." in (moved / "ablation.md").read_text()
    with pytest.raises(ArtifactError, match="seeds 0 and seeds 1 of crf were made in different"):
        ablation.run(dataclasses.replace(plan, data=None, collect_only=True), {})


def test_collecting_runs_nothing_and_needs_no_data(made: Made, typist: Typist) -> None:
    output = Path(made[0].output)
    before = (output / "ablation.csv").read_bytes()
    (output / "ablation.csv").unlink()
    # Rows and seeds that are not asked for now keep their place in the table.
    plan = dataclasses.replace(made[0], data=None, collect_only=True, only=["local"], seeds=[7])
    page = ablation.run(plan, {})
    assert typist.names() == []
    assert (output / "ablation.csv").read_bytes() == before
    assert page.is_file()


def test_changed_row_alone_is_made_again_in_a_folder_that_was_moved_too(
    made: Made, typist: Typist, tmp_path: Path
) -> None:
    moved = tmp_path / "moved"
    shutil.copytree(made[0].output, moved)
    rows = [{**row} for row in ROWS[:2]]
    rows[1]["stage2"] = "refine=crf masks.min_area=0.002"
    study = dataclasses.replace(made[0].study, rows=rows)
    plan = dataclasses.replace(made[0], study=study, output=str(moved))
    ablation.run(plan, {})
    # Refused first, for the folder holds the run of the other settings.
    assert typist.names() == ["stage2 crf", "stage2 crf", "measure-train crf", "measure-val crf"]
    ablation.run(plan, {})
    assert typist.names() == []


def test_cams_that_were_deleted_are_made_again_only_if_they_are_needed(
    made: Made, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    asked: list[str] = []
    monkeypatch.setattr(
        ablation, "make_unit", lambda kitchen, unit, *_: asked.append(unit.row) or 1
    )
    shutil.copytree(made[0].output, tmp_path / "out", ignore=shutil.ignore_patterns("stage1"))
    study = dataclasses.replace(made[0].study, rows=ROWS[:2])
    plan = dataclasses.replace(made[0], study=study, output=str(tmp_path / "out"))
    ablation.run(plan, {})
    assert asked == []
    study = dataclasses.replace(study, rows=[*ROWS[:2], {**ROWS[1], "name": "more"}])
    ablation.run(dataclasses.replace(plan, study=study), {})
    assert asked == ["local", "more"]
    asked.clear()
    shutil.copytree(Path(made[0].output) / "stage1", tmp_path / "out" / "stage1")
    ablation.run(dataclasses.replace(plan, study=study), {})
    assert asked == ["more"]
    manifest = tmp_path / "out" / "stage1" / "local" / "seed0" / "manifest.json"
    write_json(manifest, {**read_json(manifest), "status": "interrupted"})
    asked.clear()
    ablation.run(dataclasses.replace(plan, study=study), {})
    assert asked == ["local", "more"]


def test_ablation_without_frames_or_masks_is_refused(
    made: Made, tiny_folder: Path, tmp_path: Path
) -> None:
    plan = dataclasses.replace(made[0], output=str(tmp_path / "out"), data=None)
    with pytest.raises(DataError, match="give data=index"):
        ablation.run(plan, {})
    lines = (tiny_folder / "index.csv").read_text().splitlines()
    (tmp_path / "bare.csv").write_text("\n".join(line.rsplit(",", 1)[0] for line in lines))
    bare = IndexSource(str(tmp_path / "bare.csv"), root=str(tiny_folder))
    with pytest.raises(DataError, match="no frame of val has a mask"):
        ablation.run(dataclasses.replace(plan, data=bare), {})
    with pytest.raises(ArtifactError, match="no finished unit"):
        ablation.run(
            dataclasses.replace(plan, collect_only=True, output=_begun(made, tmp_path)), {}
        )


def _begun(made: Made, tmp_path: Path) -> str:
    """Copy an ablation without its results."""
    for name in ("index.csv", "truth.csv", "ablation.json"):
        (tmp_path / "begun").mkdir(exist_ok=True)
        shutil.copy(Path(made[0].output) / name, tmp_path / "begun" / name)
    return str(tmp_path / "begun")


# ---- the studies that come with weakseg


@pytest.mark.slow
def test_command_makes_the_quick_study(tmp_path: Path, doors: Doors) -> None:
    small = ("data.scenes=12", "data.frames_per_scene=1", "data.size=64", "only=[local_crf]")
    shorter = "stage1='classifier.name=test_resnet image_size=64 fit.epochs=1 fit.batch_size=4'"
    given = ("study=quick", *small, shorter, "seeds=[0]", "output=out", "hardware.threads=1")
    done = doors.must("ablation", *given, cwd=tmp_path)
    assert "unit 2/2: local_crf/seed0" in done.err
    rows = read_csv(tmp_path / "out" / "ablation.csv")
    assert [row["row"] for row in rows] == ["local", "local_crf"]
    assert yaml.safe_load((tmp_path / "out" / "ablation.json").read_text())["root"]
