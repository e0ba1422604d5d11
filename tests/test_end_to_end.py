"""From labelled frames to masks: each command takes up what the one before it left."""

from __future__ import annotations

import csv
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from doors import Chain, Doors
from PIL import Image
from safetensors.torch import load_file
from torch import Tensor
from torch.testing import assert_close

from weakseg.artifacts import Manifest, load_run, read_frames
from weakseg.data import read_frame
from weakseg.stages.predictor import load_predictor

pytestmark = pytest.mark.slow

STAGES = ("stage1", "stage2", "stage3")


def summary(run: Path) -> dict[str, Any]:
    return json.loads((run / "summary.json").read_text())


def contents(folder: Path) -> dict[str, tuple[str, int]]:
    """Hash and time of every file that is not Hydra's or the lock."""
    return {
        str(path.relative_to(folder)): (
            hashlib.sha256(path.read_bytes()).hexdigest(),
            path.stat().st_mtime_ns,
        )
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != ".lock"
    }


def grey(path: Path) -> np.ndarray:
    with Image.open(path) as picture:
        assert picture.mode == "L"
        return np.array(picture)


@pytest.fixture
def copy(chain: Chain, tmp_path: Path) -> Chain:
    """The chain in a folder of its own, to be spoilt."""
    shutil.copytree(chain.root / "runs", tmp_path / "runs")
    return Chain(tmp_path, chain.arguments)


# ---- what the stages leave


@pytest.mark.parametrize("stage", STAGES)
def test_manifest_says_complete(chain: Chain, stage: str) -> None:
    manifest = Manifest.read(chain.run_of(stage))
    assert (manifest.kind, manifest.status) == (stage, "complete")
    assert manifest.started < manifest.finished
    assert manifest.config["output"] == f"runs/{stage}/tiny"
    assert manifest.data["kind"] == "index"
    assert load_run(chain.run_of(stage), kind=stage).fingerprint == manifest.fingerprint


def test_each_stage_records_the_one_before(chain: Chain) -> None:
    one, two, three = (Manifest.read(chain.run_of(stage)) for stage in STAGES)
    assert two.inputs["stage1"] == one.fingerprint
    assert three.inputs["stage2"] == two.fingerprint
    assert one.inputs["frames"] == two.inputs["frames"] == three.inputs["frames"]


def test_every_frame_has_its_products(chain: Chain) -> None:
    frames = load_run(chain.run_of("stage1")).frames
    ids = {row["id"] for row in frames}
    assert len(ids) == 16
    for stage, pattern in (
        ("stage1", "cams/*.npz"),
        ("stage2", "scores/*.png"),
        ("stage2", "masks/*.png"),
    ):
        assert {path.stem for path in chain.run_of(stage).glob(pattern)} == ids
    held_out = {row["id"] for row in frames if row["split"] != "train"}
    assert {path.stem for path in chain.run_of("stage3").glob("scores/*.png")} == held_out


@pytest.mark.parametrize("stage", STAGES)
def test_no_temporary_file_is_left(chain: Chain, stage: str) -> None:
    assert list(chain.run_of(stage).rglob(".partial-*")) == []


def test_figures_are_far_above_chance(chain: Chain) -> None:
    assert summary(chain.run_of("stage1"))["val/auroc"] == 1
    figures = summary(chain.run_of("stage3"))
    # A mask of everything would reach 0.1, and one of nothing 0.
    assert figures["test/iou_per_image"] > 0.4
    assert figures["test/miou"] > 0.6
    assert figures["test/false_alarm_share"] == 0
    assert figures["selection"] == "labels"
    assert figures["threshold_rule"] == "fixed"


def test_figures_before_stage_3_come_from_labels_alone(chain: Chain) -> None:
    for stage in ("stage1", "stage2"):
        assert not any("iou" in key for key in summary(chain.run_of(stage)))


@pytest.mark.parametrize("stage", STAGES)
def test_report_needs_nothing_from_elsewhere(chain: Chain, stage: str) -> None:
    page = (chain.run_of(stage) / "report.html").read_text()
    links = re.findall(r"""(?:src|href)\s*=\s*["']?([^"'\s>]{0,40})""", page)
    links += re.findall(r"url\(\s*[\"']?([^)\"']{0,40})", page)
    beside = [link for link in links if not link.startswith(("data:", "#"))]
    assert [link for link in beside if not (chain.run_of(stage) / link).is_file()] == []
    assert page.count("data:image/") >= 4
    assert "<script src" not in page
    assert stage[-1] in page[: page.index("</title>")]


def test_every_row_of_the_log_is_json(chain: Chain) -> None:
    for stage in ("stage1", "stage3"):
        lines = (chain.run_of(stage) / "metrics.jsonl").read_text().splitlines()
        rows = [json.loads(line) for line in lines]
        epochs = [row["epoch"] for row in rows if "val/selection" in row]
        assert epochs == list(range(1, 11))


# ---- evaluate and predict


@pytest.mark.parametrize("stage", STAGES)
def test_evaluate_measures_every_stage(doors: Doors, copy: Chain, stage: str) -> None:
    done = doors.must(
        "evaluate", f"run=runs/{stage}/tiny", "split=test", "resamples=50", cwd=copy.root
    )
    (found,) = (copy.run_of(stage) / "evaluation").glob("*.json")
    result = json.loads(found.read_text())
    assert result["figures"]["iou_per_image"] > 0.3
    assert len(result["frames"]) == 4
    assert found.with_suffix(".html").exists()
    assert "IoU per image" in done.err
    if stage == "stage3":
        own = summary(copy.run_of(stage))
        for name in ("iou_per_image", "iou_pooled", "miou", "false_alarm_share"):
            assert result["figures"][name] == pytest.approx(own[f"test/{name}"])


def test_evaluate_changes_no_product(doors: Doors, copy: Chain) -> None:
    before = contents(copy.run_of("stage2"))
    doors.must("evaluate", "run=runs/stage2/tiny", "resamples=10", cwd=copy.root)
    after = contents(copy.run_of("stage2"))
    assert {name: after[name] for name in before} == before
    assert {name.split("/")[0] for name in after.keys() - before.keys()} == {"evaluation"}


def test_evaluate_takes_masks_from_another_index(
    doors: Doors, copy: Chain, tiny_folder: Path
) -> None:
    lines = (tiny_folder / "index.csv").read_text().splitlines()
    some, all_smoke = copy.root / "some.csv", copy.root / "all_smoke.png"
    Image.new("L", (64, 48), 255).save(all_smoke)
    kept = "\n".join([lines[0], *lines[9:13]]) + "\n"
    some.write_text(kept.replace("scene4_0_mask.png", str(all_smoke)))
    doors.must(
        "evaluate",
        "run=runs/stage2/tiny",
        "data=index",
        f"data.index={some}",
        f"data.root={tiny_folder}",
        "resamples=10",
        cwd=copy.root,
    )
    result = json.loads((copy.run_of("stage2") / "evaluation" / "some.json").read_text())
    frames = {frame["id"]: frame for frame in result["frames"]}
    assert set(frames) == {f"scene{scene}_{k}" for scene in (4, 5) for k in (0, 1)}
    for name, frame in frames.items():
        found, _, missed, _ = frame["counts"]
        assert (found + missed == 48 * 64) == (name == "scene4_0"), "its mask is the other index's"


def test_predict_writes_masks_scores_overlays_and_a_table(
    doors: Doors, chain: Chain, tiny_folder: Path, tmp_path: Path
) -> None:
    source = tmp_path / "new" / "camera"
    source.mkdir(parents=True)
    with Image.open(tiny_folder / "scene6_0.png") as picture:
        picture.resize((200, 150)).save(source / "large.jpg")
    shutil.copy(tiny_folder / "scene7_0.png", tmp_path / "new" / "clear.png")
    run = chain.run_of("stage3")
    doors.must("predict", f"run={run}", f"source={tmp_path / 'new'}", "output=out", cwd=tmp_path)
    out = tmp_path / "out"
    with (out / "predictions.csv").open() as table:
        rows = {row["image"]: row for row in csv.DictReader(table)}
    assert set(rows) == {"camera/large.jpg", "clear.png"}
    predictor = load_predictor(run)
    for name, shape in (("camera/large.jpg", (150, 200)), ("clear.png", (48, 64))):
        expected = predictor(read_frame(tmp_path / "new" / name))
        assert expected.mask.shape == shape
        stem = Path(name).with_suffix("")
        np.testing.assert_array_equal(grey(out / "masks" / f"{stem}.png"), 255 * expected.mask)
        scores = np.rint(255 * expected.scores)
        np.testing.assert_array_equal(grey(out / "scores" / f"{stem}.png"), scores)
        assert (out / "overlays" / f"{stem}.jpg").exists()
    smoke, clear = rows["camera/large.jpg"], rows["clear.png"]
    assert float(smoke["smoke_probability"]) > float(clear["smoke_probability"])
    share = (grey(out / "masks" / "camera" / "large.png") == 255).mean()
    assert 0.01 < share < 0.9
    assert float(smoke["smoke_share"]) == pytest.approx(share, abs=1e-6)


def test_predict_takes_one_image_and_a_threshold(
    doors: Doors, chain: Chain, tiny_folder: Path, tmp_path: Path
) -> None:
    doors.must(
        "predict",
        f"run={chain.run_of('stage3')}",
        f"source={tiny_folder / 'scene6_0.png'}",
        "output=out",
        "cut=0",
        "tile=96",
        cwd=tmp_path,
    )
    assert (grey(tmp_path / "out" / "masks" / "scene6_0.png") == 255).all()


# ---- starting again


@pytest.mark.parametrize("stage", STAGES)
def test_second_start_changes_no_byte(doors: Doors, copy: Chain, stage: str) -> None:
    before = contents(copy.root)
    done = doors.must(stage, *copy.arguments[stage], cwd=copy.root)
    assert "nothing left to do" in done.err
    assert contents(copy.root) == before


@pytest.mark.parametrize(
    ("stage", "change"),
    [
        ("stage1", "optimizer.lr=0.001"),
        ("stage2", "background.alpha=2.0"),
        ("stage3", "loss.dice_weight=0.25"),
    ],
)
def test_changed_setting_is_refused_by_name(
    doors: Doors, copy: Chain, stage: str, change: str
) -> None:
    before = contents(copy.root)
    done = doors.run(stage, *copy.arguments[stage], change, cwd=copy.root)
    assert change.split("=", maxsplit=1)[0] in done.sentence
    assert "overwrite=true" in done.sentence
    assert contents(copy.root) == before


def test_what_cannot_change_the_products_may_differ(doors: Doors, copy: Chain) -> None:
    for change in ("hardware.workers=1", "fit.checkpoint_seconds=5", "report_frames=2"):
        done = doors.must("stage1", *copy.arguments["stage1"], change, cwd=copy.root)
        assert "nothing left to do" in done.err


def test_overwrite_starts_afresh(doors: Doors, copy: Chain) -> None:
    old = Manifest.read(copy.run_of("stage2")).fingerprint
    doors.must(
        "stage2", *copy.arguments["stage2"], "background.alpha=2.0", "overwrite=true", cwd=copy.root
    )
    manifest = Manifest.read(copy.run_of("stage2"))
    assert manifest.status == "complete"
    assert manifest.fingerprint != old
    done = doors.run("stage3", *copy.arguments["stage3"], cwd=copy.root)
    assert "stage2" in done.sentence


def test_overwriting_makes_the_same_bytes(doors: Doors, copy: Chain) -> None:
    for stage in STAGES:
        before = products(copy.run_of(stage))
        doors.must(stage, *copy.arguments[stage], "overwrite=true", cwd=copy.root)
        assert products(copy.run_of(stage)) == before


def products(run: Path) -> dict[str, str]:
    """Hash of every product, of which a second run makes the same bytes."""
    patterns = ("cams/*", "scores/*", "masks/*", "frames.csv", "*.json", "checkpoints/best*")
    told = {"manifest.json", "summary.json", "inputs.json", "speed.json"}
    found = [path for pattern in patterns for path in sorted(run.glob(pattern))]
    return {
        str(path.relative_to(run)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in found
        if path.name not in told
    }


# ---- other ways to run a stage


def test_trained_classifier_gives_other_cams_without_training(doors: Doors, copy: Chain) -> None:
    given = [item for item in copy.arguments["stage1"] if not item.startswith("output=")]
    again = ("trained=runs/stage1/tiny", "cam.flip=false", "output=runs/stage1/again")
    done = doors.must("stage1", *given, *again, cwd=copy.root)
    assert "epoch" not in done.err
    first, second = copy.run_of("stage1"), copy.root / "runs" / "stage1" / "again"
    assert_close(weights_of(second), weights_of(first), rtol=0, atol=0)
    cam = "cams/scene0_0.npz"
    assert (first / cam).read_bytes() != (second / cam).read_bytes()
    out = "output=runs/stage2/again"
    doors.must("stage2", *copy.arguments["stage2"], f"cams={second}", out, cwd=copy.root)


def test_trained_segmenter_takes_another_threshold_without_training(
    doors: Doors, copy: Chain
) -> None:
    given = [item for item in copy.arguments["stage3"] if not item.startswith("output=")]
    again = ("trained=runs/stage3/tiny", "threshold.value=0.9", "output=runs/stage3/again")
    done = doors.must("stage3", *given, *again, cwd=copy.root)
    assert "epoch" not in done.err
    first, second = copy.run_of("stage3"), copy.root / "runs" / "stage3" / "again"
    assert_close(weights_of(second), weights_of(first), rtol=0, atol=0)
    assert summary(second)["threshold"] == 0.9
    assert summary(first)["threshold"] != 0.9


def weights_of(run: Path) -> dict[str, Tensor]:
    return load_file(run / "checkpoints" / "best.safetensors")


def test_masks_of_val_choose_only_if_asked_and_the_run_says_so(doors: Doors, copy: Chain) -> None:
    given = ("selection=val", "output=runs/stage3/val")
    doors.must("stage3", *copy.arguments["stage3"], *given, cwd=copy.root)
    run = copy.root / "runs" / "stage3" / "val"
    assert summary(run)["selection"] == "val"
    assert summary(run)["threshold_rule"] == "val_masks"
    assert "chosen by the masks of val" in (run / "report.html").read_text()


def test_wrong_selection_is_refused_before_training(doors: Doors, copy: Chain) -> None:
    given = ("selection=test", "output=runs/stage3/other")
    done = doors.run("stage3", *copy.arguments["stage3"], *given, cwd=copy.root)
    assert "selection must be one of labels, val" in done.sentence
    assert "epoch" not in done.err


@pytest.mark.parametrize("loss", ["ce_dice", "dense_crf"])
@pytest.mark.parametrize("segmenter", ["deeplabv3plus", "fpn"])
def test_every_loss_and_segmenter_trains(
    doors: Doors, copy: Chain, loss: str, segmenter: str
) -> None:
    given = (f"segmenter={segmenter}", "segmenter.encoder=tu-test_efficientnet", f"loss={loss}")
    more = ("fit.epochs=1", "fit.max_steps_per_epoch=1", "output=runs/stage3/other")
    doors.must("stage3", *copy.arguments["stage3"], *given, *more, cwd=copy.root)


@pytest.mark.parametrize(
    "cam", ["cam", "grad_cam", "grad_cam_pp", "hires_cam", "layer_cam", "local"]
)
def test_every_cam_goes_through(doors: Doors, copy: Chain, cam: str) -> None:
    given = (f"cam={cam}", f"classifier.local={str(cam == 'local').lower()}", "fit.epochs=1")
    out = (*given, "output=runs/stage1/other")
    doors.must("stage1", *copy.arguments["stage1"], *out, cwd=copy.root)


@pytest.mark.parametrize("rule", ["false_alarm", "fixed", "highest", "mixture", "otsu", "size"])
def test_every_threshold_goes_through(doors: Doors, copy: Chain, rule: str) -> None:
    given = (f"threshold={rule}", "output=runs/stage2/other", "refine=crf")
    doors.must("stage2", *copy.arguments["stage2"], *given, cwd=copy.root)
    run = copy.root / "runs" / "stage2" / "other"
    assert 0 < summary(run)["threshold"] <= 1
    chosen = json.loads((run / "threshold.json").read_text())
    assert chosen["rule"].split(":")[0] == rule


# ---- refusals between the stages


def test_unfinished_stage_1_is_refused(doors: Doors, copy: Chain) -> None:
    path = copy.run_of("stage1") / "manifest.json"
    manifest = json.loads(path.read_text())
    path.write_text(json.dumps(manifest | {"status": "interrupted"}))
    (copy.run_of("stage1") / "cams" / "scene0_0.npz").unlink()
    fresh = ("overwrite=true", "cams=runs/stage1/tiny")
    done = doors.run("stage2", *copy.arguments["stage2"], *fresh, cwd=copy.root)
    assert "15 of 16" in done.sentence
    assert "python -m weakseg.stage1" in done.sentence


def test_run_of_another_stage_is_refused(doors: Doors, copy: Chain) -> None:
    given = "pseudo_masks=runs/stage1/tiny"
    done = doors.run("stage3", *copy.arguments["stage3"], given, cwd=copy.root)
    assert "stage1 CAMs" in done.sentence
    assert "stage2" in done.sentence


def test_no_earlier_run_says_what_to_run(doors: Doors, tmp_path: Path) -> None:
    done = doors.run("stage2", "tracker=none", cwd=tmp_path)
    assert "python -m weakseg.stage1" in done.sentence
    assert list(tmp_path.iterdir()) == []


def test_frames_changed_since_are_refused(
    doors: Doors, chain: Chain, tiny_folder: Path, tmp_path: Path
) -> None:
    data = tmp_path / "data"
    shutil.copytree(tiny_folder, data)
    shutil.copytree(chain.run_of("stage1"), tmp_path / "runs" / "stage1" / "tiny")
    table = tmp_path / "runs" / "stage1" / "tiny" / "frames.csv"
    table.write_text(table.read_text().replace(str(tiny_folder), str(data)))
    doors.must("stage2", *chain.arguments["stage2"], cwd=tmp_path)
    with (data / "scene2_0.png").open("ab") as frame:
        frame.write(b"\0")
    done = doors.run("stage2", *chain.arguments["stage2"], "overwrite=true", cwd=tmp_path)
    assert "changed" in done.sentence
    (data / "scene2_0.png").unlink()
    done = doors.run("stage3", *chain.arguments["stage3"], cwd=tmp_path)
    assert "scene2_0.png" in done.sentence or "changed" in done.sentence


def test_labels_are_never_read_from_masks(
    doors: Doors, chain: Chain, tiny_folder: Path, tmp_path: Path
) -> None:
    """Without any mask on the disk, stages 1 to 3 make the same masks."""
    index = tmp_path / "index.csv"
    with (tiny_folder / "index.csv").open() as table:
        rows = [{**row, "path": str(tiny_folder / row["path"])} for row in csv.DictReader(table)]
    kept = [name for name in rows[0] if name != "mask_path"]
    with index.open("w") as table:
        writer = csv.DictWriter(table, kept, extrasaction="ignore")
        writer.writeheader()
        writer.writerows(rows)
    for stage in STAGES:
        given = [f"data.index={index}" if "index=" in a else a for a in chain.arguments[stage]]
        doors.must(stage, *given, cwd=tmp_path)
    blind, seeing = tmp_path / "runs" / "stage3" / "tiny", chain.run_of("stage3")
    assert "test/iou_per_image" not in summary(blind)
    assert "test/auroc" in summary(blind)
    for name in ("checkpoints/best.safetensors", "threshold.json"):
        assert (blind / name).read_bytes() == (seeing / name).read_bytes()
    assert shares_of(blind) == shares_of(seeing)


def shares_of(run: Path) -> list[str]:
    return sorted(row["smoke_share"] for row in read_frames(run / "frames.csv"))


# ---- the door itself


def test_stage_runs_from_a_terminal_in_any_folder(chain: Chain, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "weakseg.stage2", *chain.arguments["stage2"]]
    given = f"cams={chain.run_of('stage1')}"
    done = subprocess.run(
        [*command, given],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr
    assert "Warning" not in done.stderr
    mine = tmp_path / "runs" / "stage2" / "tiny"
    assert products(mine).keys() == products(chain.run_of("stage2")).keys()
    for name in ("frames.csv", "masks/scene0_0.png", "threshold.json"):
        assert (mine / name).read_bytes() == (chain.run_of("stage2") / name).read_bytes()
