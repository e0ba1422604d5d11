"""Finished runs are measured on their own frames, on sets by name, and on frames new to them."""

from __future__ import annotations

import json
import math
import shutil
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from measured_runs import finish_run, shifted, truth_of, write_data

from weakseg.artifacts import ArtifactError, load_run, write_mask
from weakseg.data import DataError, Frame, IndexSource, read_frame
from weakseg.labels import IGNORE
from weakseg.plans import EvaluatePlan, HardwarePlan
from weakseg.stages.evaluation import command as evaluation
from weakseg.stages.evaluation.measuring import evaluate, in_order, pixels_of
from weakseg.stages.evaluation.measuring import truth_of as truth_by_masks
from weakseg.stages.evaluation.rows import frame_row, read_evaluation
from weakseg.stages.evaluation.sets import open_set, set_lines
from weakseg.stages.products import open_product
from weakseg.stages.scores import score_path
from weakseg.stages.segmenters import load_segmenter

CPU = HardwarePlan(accelerator="cpu", threads=1)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data set, another of larger frames, and a run of stage 2 and of stage 3 on the first."""
    root = tmp_path_factory.mktemp("made")
    index = write_data(root / "data")
    write_data(root / "night", scenes=3, per_scene=1, size=(70, 150), split="night", name="night")
    finish_run(root / "runs" / "masks", "stage2", index, shifted(2))
    finish_run(root / "runs" / "segmenter", "stage3", index, shifted(1))
    return root


@pytest.fixture
def root(made: Path, tmp_path: Path) -> Path:
    """A copy of the runs, to be written into; the frames stay where they are."""
    shutil.copytree(made / "runs", tmp_path / "runs")
    (tmp_path / "data").symlink_to(made / "data")
    (tmp_path / "night").symlink_to(made / "night")
    return tmp_path


def measured(run: Path, **settings: Any) -> dict[str, Any]:
    given = {"resamples": 20, "report_frames": 1, "hardware": CPU} | settings
    path = evaluation.run(EvaluatePlan(run=str(run), **given), {})
    return dict(json.loads(path.read_text()))


def test_each_frame_keeps_what_it_was_measured_by(root: Path) -> None:
    told = measured(root / "runs" / "masks")
    rows = {row["id"]: row for row in told["frames"]}
    assert len(rows) == 18
    row = rows["frame1_2"]
    frame = Frame("frame1_2", Path(row["path"]), 1, "s1", "test", "film1")
    truth = truth_of(frame)
    tp, fp, fn, tn = row["counts"]
    assert (tp + fn, tp + fp + fn + tn) == (truth.sum(), truth.size)
    assert row["iou"] == pytest.approx(tp / (tp + fp + fn))
    assert row["smoke_share"] == pytest.approx(truth.mean())
    assert (row["camera"], row["sequence"], row["scene"]) == ("cam0", "film1", "s1")
    assert 0 < row["boundary_iou"] < 1
    assert 0 < row["opacity"] < 1
    assert rows["frame2_0"]["iou"] is None
    assert rows["frame2_0"]["opacity"] is None
    assert row["truth"] != rows["frame1_1"]["truth"]


def test_strata_groups_and_bins_cover_all_frames(root: Path) -> None:
    told = measured(root / "runs" / "masks")
    smoke, every = 12, 18
    for table in ("by_size", "by_opacity"):
        assert sum(row["frames"] for row in told[table]) == smoke
    assert [row["camera"] for row in told["by_camera"]] == ["cam0", "cam1", "cam2"]
    for table, count in (("by_scene", 6), ("by_camera", 3)):
        assert len(told[table]) == count
        assert sum(row["frames"] + row["smoke_free_frames"] for row in told[table]) == every
    assert sum(row["count"] for row in told["reliability"]) == every
    assert sum(row["count"] for row in told["pixel_reliability"]) == every * 40 * 64
    # Smoke of later scenes is painted denser.
    means = [row["opacity_mean"] for row in told["by_scene"] if row["opacity_mean"] is not None]
    assert max(means[:2]) < min(means[2:])


def test_index_without_cameras_has_no_table_of_them(root: Path, tmp_path: Path) -> None:
    lines = (root / "data" / "index.csv").read_text().replace("camera", "other")
    (tmp_path / "plain.csv").write_text(lines)
    source = IndexSource(str(tmp_path / "plain.csv"), root=str((root / "data").resolve()))
    told = measured(root / "runs" / "masks", data=source, name="plain")
    assert told["by_camera"] == []
    assert {row["camera"] for row in told["frames"]} == {""}


def test_an_evaluation_reads_back_as_it_was(root: Path) -> None:
    measured(root / "runs" / "masks", name="all")
    path = root / "runs" / "masks" / "evaluation" / "all.json"
    stored = read_evaluation(path)
    for row in json.loads(path.read_text())["frames"]:
        one = stored.frames[row["id"]]
        assert frame_row(one.figures, path=one.path, truth=one.truth) == row
    assert stored.threshold == 0.5
    assert stored.data["index"].endswith("index.csv")


def test_evaluation_of_an_older_version_says_what_to_do(root: Path) -> None:
    measured(root / "runs" / "masks", name="all")
    path = root / "runs" / "masks" / "evaluation" / "all.json"
    told = json.loads(path.read_text())
    for row in told["frames"]:
        del row["counts"]
    path.write_text(json.dumps(told))
    with pytest.raises(ArtifactError, match=r"measure the run again with .*evaluate run="):
        read_evaluation(path)


# ---- frames that are new to a run


def test_segmenter_looks_at_frames_new_to_it_in_tiles(root: Path) -> None:
    run = root / "runs" / "segmenter"
    source = IndexSource(str(root / "night" / "index.csv"))
    told = measured(run, data=source)
    assert (run / "evaluation" / "index.html").exists()
    assert len(told["frames"]) == 3
    model, inference, threshold = load_segmenter(load_run(run))
    frame = source.frames()[1]
    pixels = read_frame(frame.path)
    assert inference.is_tiled(*pixels.shape[:2])
    found = inference(model, pixels) >= threshold
    truth = truth_of(frame) == 1
    row = next(row for row in told["frames"] if row["id"] == frame.id)
    expected = [(found & truth).sum(), (found & ~truth).sum(), (~found & truth).sum()]
    assert row["counts"][:3] == expected


def test_one_index_may_hold_frames_a_segmenter_knows_and_new_ones(
    root: Path, tmp_path: Path
) -> None:
    """Known frames are read from their scores, new ones looked at; the split chooses."""
    head, *known = (root / "data" / "index.csv").read_text().splitlines()
    _, *new = (root / "night" / "index.csv").read_text().splitlines()
    both = tmp_path / "both"
    both.mkdir()
    lines = [head]
    for folder, rows in (("data", known), ("night", new)):
        for row in rows:
            cells = row.split(",")
            cells[0], cells[-1] = (
                str((root / folder).resolve() / c) for c in cells[:: len(cells) - 1]
            )
            lines.append(",".join(cells))
    (both / "index.csv").write_text("\n".join(lines) + "\n")
    source = IndexSource(str(both / "index.csv"))
    run = root / "runs" / "segmenter"
    alone = measured(run, name="alone")
    own = measured(run, data=source, split="test", name="own")
    assert own["figures"] == pytest.approx(alone["figures"], nan_ok=True)
    new_only = measured(run, data=source, split="night", name="new")
    assert len(new_only["frames"]) == 3
    assert len(measured(run, data=source, name="every")["frames"]) == 21


def index_of(path: Path, root: Path, *, keep: Any, change: Any = None) -> IndexSource:
    """Write an index of some of the rows of the data set's, each changed or as it is."""
    head, *rows = (root / "data" / "index.csv").read_text().splitlines()
    kept = [change(row) if change else row for row in rows if keep(row)]
    path.write_text("\n".join([head, *kept]) + "\n")
    return IndexSource(str(path), root=str((root / "data").resolve()), val_fraction=0)


@pytest.mark.parametrize("run", ["masks", "segmenter"])
def test_source_of_a_few_known_frames_is_measured_on_no_others(
    root: Path, tmp_path: Path, run: str
) -> None:
    source = index_of(tmp_path / "few.csv", root, keep=lambda row: "film0" in row)
    told = measured(root / "runs" / run, data=source, name="few")
    assert [row["scene"] for row in told["frames"]] == ["s0"] * 3


def test_new_smoke_free_frames_stand_beside_known_masks(root: Path, tmp_path: Path) -> None:
    """The new frames have no mask: their truth is empty, as their label says."""
    pixels = np.zeros((40, 64, 3), np.uint8)
    cv2.imwrite(str(tmp_path / "clear.png"), pixels)
    source = index_of(tmp_path / "few.csv", root, keep=lambda row: "film0" in row)
    with Path(source.index).open("a") as file:
        file.write(f"{tmp_path / 'clear.png'},0,new,test,filmnew,cam9,\n")
    told = measured(root / "runs" / "segmenter", data=source, name="few")
    assert [row["scene"] for row in told["frames"]] == ["s0"] * 3 + ["new"]


def test_frames_a_segmenter_has_learnt_from_are_measured_on_request_only(
    root: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def learnt(row: str) -> str:
        return row.replace(",test,", ",train,") if "film0" in row or "film2" in row else row

    source = index_of(tmp_path / "split.csv", root, keep=bool, change=learnt)
    run = finish_run(
        root / "runs" / "learnt", "stage3", Path(source.index), shifted(1), source=source
    )
    caplog.set_level("INFO")
    told = measured(run, data=source, name="every")
    assert {row["scene"] for row in told["frames"]} == {"s1", "s3", "s4", "s5"}
    assert any("6 frames that" in line and "left out" in line for line in caplog.messages)
    # Another index may list them under another split.
    again = index_of(tmp_path / "again.csv", root, keep=bool)
    told = measured(run, data=again, name="again")
    assert {row["scene"] for row in told["frames"]} == {"s1", "s3", "s4", "s5"}
    told = measured(run, data=source, split="train", name="learnt")
    assert {row["scene"] for row in told["frames"]} == {"s0", "s2"}


def test_frame_of_another_path_with_a_known_name_is_looked_at(root: Path, tmp_path: Path) -> None:
    """Scores are kept by frame, not by its name: two cameras may both have an `a.jpg`."""
    run = load_run(root / "runs" / "segmenter")
    row = run.frames[0]
    own = Frame(row["id"], Path(row["path"]), 1, "s", "test")
    other_path = tmp_path / own.path.name
    cv2.imwrite(str(other_path), np.zeros((64, 64, 3), np.uint8))
    product = open_product(run, CPU)
    stored, _ = product.scores_of(own)
    fresh, _ = product.scores_of(Frame(row["id"], other_path, 1, "s", "test"))
    assert stored.shape == (40, 64)
    assert fresh.shape == (64, 64)
    assert score_path(run, row["id"]).exists()


def test_tiles_of_another_size_are_read_anew(root: Path) -> None:
    run = load_run(root / "runs" / "segmenter")
    frame = IndexSource(str(root / "night" / "index.csv")).frames()[0]
    model, inference, _ = load_segmenter(run)
    own, _ = open_product(run, CPU).scores_of(frame)
    small, _ = open_product(run, CPU, tile=32).scores_of(frame)
    np.testing.assert_array_equal(own, inference(model, read_frame(frame.path)))
    assert np.abs(own - small).max() > 0
    with pytest.raises(ArtifactError, match="tile= is for stage-3 runs"):
        open_product(load_run(root / "runs" / "masks"), CPU, tile=32)


def test_figures_of_other_tiles_have_files_of_their_own(root: Path) -> None:
    run = root / "runs" / "segmenter"
    night = str(root / "night" / "index.csv")
    for tile in (None, 32):
        measured(run, data=IndexSource(night), tile=tile, sets={"set": night}, report_frames=0)
    names = {path.stem for path in (run / "evaluation").glob("*.json")}
    assert names == {"index", "index-tile32", "set", "set-tile32", "sets"}


def test_pages_draw_the_masks_that_were_judged(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The masks of a run of stage 2 are its own: here empty, or not known, whatever the scores."""
    run = root / "runs" / "masks"
    for path in (run / "masks").iterdir():
        write_mask(path, np.full((40, 64), IGNORE, np.uint8))
    drawn = []

    def keep(pixels: Any, mask: Any, truth: Any) -> Any:
        drawn.append(mask)
        return pixels

    monkeypatch.setattr("weakseg.stages.pages.panels.comparison", keep)
    told = measured(run)
    assert told["figures"]["iou_per_image"] == 0
    assert drawn
    assert not any(mask.any() for mask in drawn)


def test_masks_cannot_be_made_for_frames_they_were_not_made_of(root: Path) -> None:
    source = IndexSource(str(root / "night" / "index.csv"))
    with pytest.raises(ArtifactError, match="only a stage-3 run can look at new ones"):
        measured(root / "runs" / "masks", data=source)


# ---- sets by name


def test_sets_are_measured_one_by_one_and_told_beside_each_other(
    root: Path, caplog: pytest.LogCaptureFixture
) -> None:
    run = root / "runs" / "segmenter"
    caplog.set_level("INFO")
    night = str(root / "night" / "index.csv")
    sets = {"night": night, "film0": {"index": night, "where": {"sequence": "film0"}}}
    measured(run, sets=sets, name="own")
    told = json.loads((run / "evaluation" / "sets.json").read_text())
    assert list(told["sets"]) == ["own", "night", "film0"]
    assert [one["frames"] for one in told["sets"].values()] == [18, 3, 1]
    alone = measured(run, data=IndexSource(night), name="alone")
    assert told["sets"]["night"] == alone["figures"]
    page = (run / "evaluation" / "sets.html").read_text()
    assert all(name in page for name in ("own", "night", "film0", "By opacity"))
    for name in ("own", "night", "film0"):
        assert (run / "evaluation" / f"{name}.html").exists()
    assert any("IoU per image" in line and "[" in line for line in caplog.messages)


def test_set_without_masks_has_figures_by_labels_and_false_alarms(
    root: Path, tmp_path: Path
) -> None:
    lines = (root / "night" / "index.csv").read_text().splitlines()
    short = [line.rpartition(",")[0] for line in lines]
    (tmp_path / "labels.csv").write_text("\n".join(short) + "\n")
    given = {"index": str(tmp_path / "labels.csv"), "root": str((root / "night").resolve())}
    run = root / "runs" / "segmenter"
    measured(run, sets={"labels": given}, name="own")
    figures = json.loads((run / "evaluation" / "labels.json").read_text())["figures"]
    assert figures["iou_per_image"] is None
    assert figures["iou_pooled"] == pytest.approx(0)  # of the smoke-free frames, all called smoke
    assert 0 <= figures["auroc"] <= 1
    assert figures["false_alarm_share"] == 1
    assert (figures["smoke_frames"], figures["smoke_free_frames"]) == (0, 1)
    with pytest.raises(DataError, match="mask_path column"):
        measured(run, data=IndexSource(**given))


@pytest.mark.parametrize(
    ("name", "given", "complaint"),
    [
        ("a/b", "x.csv", "named by letters"),
        ("sets", "x.csv", "named by letters"),
        ("night", 3, "must be the path of an index"),
        ("night", {"split": "test"}, "must be the path of an index"),
        ("night", {"index": "x.csv", "folder": "y"}, "sets.night: .*folder"),
        ("night", {"index": "x.csv", "scenes": "guess"}, "sets.night: scenes must be one of"),
    ],
)
def test_wrong_set_is_refused_by_name(name: str, given: Any, complaint: str) -> None:
    with pytest.raises(DataError, match=complaint):
        open_set(name, given)


def test_set_called_like_the_evaluation_is_refused(root: Path) -> None:
    night = str(root / "night" / "index.csv")
    with pytest.raises(DataError, match="two evaluations would be called own"):
        measured(root / "runs" / "segmenter", sets={"own": night}, name="own")


def test_lines_of_sets_are_of_equal_width() -> None:
    figures = {"a": {"iou_per_image": 0.5, "frames": 3.0}, "longer": {"iou_per_image": math.nan}}
    lines = set_lines(figures)
    assert len({len(line) for line in lines}) == 1
    assert [line.split()[-1] for line in lines] == ["longer", "-", "-"]


# ---- order, cameras and labels


def test_frames_are_compared_in_the_order_of_the_index(tmp_path: Path) -> None:
    """A run keeps its frames by name; film10 would come before film2."""
    index = write_data(tmp_path / "data", scenes=1, per_scene=12)
    run = finish_run(tmp_path / "run", "stage2", index, shifted(0))
    told = measured(run)
    assert [row["id"] for row in told["frames"]] == [f"frame0_{k}" for k in range(12)]
    changes = [row["change"] for row in told["frames"]]
    assert changes[0] is None
    assert all(change["found_iou"] == change["true_iou"] for change in changes[1:])
    assert told["figures"]["temporal_iou"] > 0.5
    assert told["figures"]["flicker"] == 0


def test_frames_not_listed_come_last() -> None:
    frames = [Frame(name, Path(f"/{name}"), 0, "s", "t") for name in "abc"]
    listed = [Path("/c"), Path("/x"), Path("/b")]
    assert [frame.id for frame in in_order(frames, listed)] == ["c", "b", "a"]


def test_smoke_without_a_mask_is_ignored_not_missed() -> None:
    frame = Frame("a", Path("/a"), 1, "s", "t")
    assert (truth_by_masks(frame, {}, 3, 4) == IGNORE).all()
    scores = np.ones((3, 4), np.float32)
    result = evaluate([frame], {}, lambda _: (scores, 0.9), 0.5, draws=0)
    assert math.isnan(result.figures["iou_pooled"])
    assert result.frames[0].probability == 0.9


def test_only_frames_with_smoke_are_read_for_their_opacity(root: Path) -> None:
    frames = IndexSource(str(root / "data" / "index.csv")).frames()
    masks = {f.path: f.path.with_name(f"{f.path.stem}_mask.png") for f in frames}
    read: list[str] = []

    def pixels(frame: Frame) -> Any:
        read.append(frame.id)
        return pixels_of(frame)

    scores = np.zeros((40, 64), np.float32)
    evaluate(frames, masks, lambda _: (scores, 0.0), 0.5, pixels_of=pixels, draws=0)
    assert read == [frame.id for frame in frames if frame.label]
