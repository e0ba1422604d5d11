"""The check before training finds what would spoil it, names the file, and says what to do."""

from __future__ import annotations

import csv
import json
import logging
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from weakseg.data import DataError, IndexSource, SyntheticSource
from weakseg.plans import CheckPlan
from weakseg.stages.audit import AuditReport, audit, run

Spoil = Callable[[Path], None]


def _plan(folder: Path, output: Path, *, quarantine: Path | None = None) -> CheckPlan:
    source = IndexSource(
        str(folder / "index.csv"), quarantine=str(quarantine) if quarantine else None
    )
    return CheckPlan(data=source, output=str(output))


def _topics(report: AuditReport, name: str) -> set[tuple[str, str]]:
    return {(f.level, f.topic) for f in report.findings if Path(f.path).name == name}


@pytest.fixture
def folder(tiny_folder: Path, tmp_path: Path) -> Path:
    shutil.copytree(tiny_folder, tmp_path / "set")
    return tmp_path / "set"


def test_a_clean_set_has_no_errors(folder: Path, tmp_path: Path) -> None:
    report = audit(_plan(folder, tmp_path / "out"), {"seed": 0})
    assert report.counts == {"error": 0, "warning": 0, "info": 0}
    assert report.frames == 16
    assert report.balance == {"train": (4, 4), "val": (2, 2), "test": (2, 2)}
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "findings.csv",
        "quarantine.csv",
        "report.txt",
        "summary.json",
    ]
    assert json.loads((tmp_path / "out" / "summary.json").read_text())["config"] == {"seed": 0}


def _empty(path: Path) -> None:
    path.write_bytes(b"")


def _cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-300])


def _text(path: Path) -> None:
    path.write_text("not a picture")


def _turned(path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.open(path).transpose(Image.Transpose.ROTATE_90).save(path, exif=exif)


def _wide(path: Path) -> None:
    grey = np.asarray(Image.open(path).convert("L"), dtype=np.uint16) * 257
    Image.fromarray(grey).save(path)


def _palette(path: Path) -> None:
    Image.open(path).convert("P").save(path)


def _cmyk(path: Path) -> None:
    Image.open(path).convert("CMYK").save(path, "JPEG")


def _alpha(path: Path) -> None:
    Image.open(path).convert("RGBA").save(path)


def _flat(path: Path) -> None:
    Image.new("RGB", (64, 48), (90, 90, 90)).save(path)


@pytest.mark.parametrize(
    ("spoil", "level", "topic"),
    [
        (_empty, "error", "zero-byte"),
        (_cut, "error", "truncated"),
        (_text, "error", "unreadable"),
        (_turned, "info", "EXIF-rotated"),
        (_wide, "warning", "16-bit"),
        (_palette, "info", "palette"),
        (_cmyk, "warning", "CMYK"),
        (_cmyk, "info", "misnamed"),
        (_alpha, "info", "transparent"),
        (_flat, "warning", "flat"),
    ],
)
def test_a_spoilt_file_is_found(
    spoil: Spoil, level: str, topic: str, folder: Path, tmp_path: Path
) -> None:
    spoil(folder / "scene2_1.png")
    report = audit(_plan(folder, tmp_path / "out"), {})
    assert (level, topic) in _topics(report, "scene2_1.png")
    quarantined = "scene2_1.png" in (tmp_path / "out" / "quarantine.csv").read_text()
    assert quarantined == (level == "error")
    assert any(topic in line and "scene2_1.png" in line for line in report.lines())


def test_pictures_above_the_limit_are_errors(folder: Path, tmp_path: Path) -> None:
    Image.new("RGB", (100, 100)).save(folder / "scene0_0.png")
    plan = _plan(folder, tmp_path / "out")
    plan.max_pixels = 48 * 64
    report = audit(plan, {})
    assert ("error", "too large") in _topics(report, "scene0_0.png")
    assert report.counts["error"] == 1


def test_the_quarantine_cures_the_errors_and_keeps_what_it_held(
    folder: Path, tmp_path: Path
) -> None:
    _empty(folder / "scene2_1.png")
    with pytest.raises(DataError, match=r"1 errors in the data.*quarantine\.csv"):
        run(_plan(folder, tmp_path / "out"), {})
    quarantine = tmp_path / "out" / "quarantine.csv"
    _empty(folder / "scene3_1.png")
    with pytest.raises(DataError):
        run(_plan(folder, tmp_path / "out", quarantine=quarantine), {})
    run(_plan(folder, tmp_path / "out", quarantine=quarantine), {})
    with quarantine.open(newline="") as file:
        assert [row["id"] for row in csv.DictReader(file)] == ["scene2_1", "scene3_1"]


def test_copies_that_contradict_each_other_are_errors(folder: Path, tmp_path: Path) -> None:
    shutil.copy(folder / "scene0_0.png", folder / "scene1_0.png")
    report = audit(_plan(folder, tmp_path / "out"), {})
    assert ("error", "label conflict") in _topics(report, "scene0_0.png")
    assert ("error", "label conflict") in _topics(report, "scene1_0.png")


def test_look_alikes_that_contradict_each_other_are_warnings(folder: Path, tmp_path: Path) -> None:
    Image.open(folder / "scene0_0.png").save(folder / "scene1_0.png", compress_level=1)
    (folder / "scene1_0.png").write_bytes((folder / "scene1_0.png").read_bytes() + b" ")
    report = audit(_plan(folder, tmp_path / "out"), {})
    assert ("warning", "label conflict") in _topics(report, "scene1_0.png")
    assert report.counts["error"] == 0


def test_leaks_between_splits_name_the_frame_to_train_on(folder: Path, tmp_path: Path) -> None:
    shutil.copy(folder / "scene6_0.png", folder / "scene0_0.png")
    Image.open(folder / "scene7_1.png").save(folder / "scene1_1.png", compress_level=1)
    report = audit(_plan(folder, tmp_path / "out"), {})
    assert ("error", "copy in another split") in _topics(report, "scene0_0.png")
    assert ("warning", "near-duplicate in another split") in _topics(report, "scene1_1.png")
    assert not _topics(report, "scene6_0.png")


def test_masks_are_checked(folder: Path, tmp_path: Path) -> None:
    Image.new("L", (10, 10)).save(folder / "scene0_0_mask.png")
    Image.new("L", (64, 48), 9).save(folder / "scene0_1_mask.png")
    Image.new("L", (64, 48), 0).save(folder / "scene2_0_mask.png")
    Image.new("L", (64, 48), 1).save(folder / "scene1_0_mask.png")
    (folder / "scene3_0_mask.png").unlink()
    report = audit(_plan(folder, tmp_path / "out"), {})
    assert _topics(report, "scene0_0_mask.png") == {("error", "mask")}
    assert _topics(report, "scene0_1_mask.png") == {("error", "mask")}
    assert _topics(report, "scene3_0_mask.png") == {("error", "mask")}
    assert _topics(report, "scene2_0_mask.png") == {("warning", "mask against label")}
    assert _topics(report, "scene1_0_mask.png") == {("warning", "mask against label")}
    assert ("warning", "mask coding") in _topics(report, "")
    with (tmp_path / "out" / "quarantine.csv").open(newline="") as file:
        ids = [row["id"] for row in csv.DictReader(file)]
    assert ids == ["scene0_0", "scene0_1", "scene3_0"]


def test_sizes_of_smoke_are_told(folder: Path, tmp_path: Path) -> None:
    report = audit(_plan(folder, tmp_path / "out"), {})
    mask = np.asarray(Image.open(folder / "scene0_0_mask.png")) > 0
    assert report.shares["train"][0] == pytest.approx(mask.mean())
    assert [len(report.shares[split]) for split in ("train", "val", "test")] == [4, 2, 2]
    assert any("10.0% -  30.0%      4 ####" in line for line in report.lines())


def test_one_class_and_rare_classes_are_found(folder: Path, tmp_path: Path) -> None:
    rows = (folder / "index.csv").read_text().splitlines()
    (folder / "index.csv").write_text("\n".join(row for row in rows if ",1,s" not in row) + "\n")
    report = audit(_plan(folder, tmp_path / "out"), {})
    found = [f for f in report.findings if f.topic == "one class only"]
    assert [f.level for f in found] == ["error", "warning", "warning"]
    assert "split train has 4 frames and none is labelled smoke" in found[0].what


def test_scenes_in_several_splits_are_found(folder: Path, tmp_path: Path) -> None:
    text = (folder / "index.csv").read_text()
    (folder / "index.csv").write_text(text.replace("s6,test", "s0,test"))
    report = audit(_plan(folder, tmp_path / "out"), {})
    assert any("scene s0 lies in the splits test and train" in f.what for f in report.findings)


def test_two_test_splits_may_share_scenes_and_frames(folder: Path, tmp_path: Path) -> None:
    shutil.copy(folder / "scene6_0.png", folder / "scene6_1.png")
    text = (folder / "index.csv").read_text()
    row = next(row for row in text.splitlines() if row.startswith("scene6_1"))
    (folder / "index.csv").write_text(text.replace(row, row.replace("test", "test_large")))
    report = audit(_plan(folder, tmp_path / "out"), {})
    assert [f.topic for f in report.findings] == ["one class only"]


def test_an_index_without_masks_is_fine(folder: Path, tmp_path: Path) -> None:
    rows = (folder / "index.csv").read_text().splitlines()
    (folder / "index.csv").write_text("\n".join(row.rpartition(",")[0] for row in rows) + "\n")
    report = audit(_plan(folder, tmp_path / "out"), {})
    assert report.shares == {}
    assert report.counts["error"] == 0


def test_the_synthetic_set_passes(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    source = SyntheticSource(str(tmp_path / "set"), scenes=6, frames_per_scene=2, size=48)
    with caplog.at_level(logging.INFO):
        run(CheckPlan(data=source, output=str(tmp_path / "out")), {})
    assert "12 frames: 0 errors" in caplog.text
