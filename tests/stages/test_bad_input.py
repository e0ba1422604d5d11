"""Bad input at any door gives one sentence and a failure, never a traceback, and loses nothing."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from doors import STAGES, TINY, Accident, Chain, Doors
from PIL import Image
from safetensors.numpy import save_file

pytestmark = pytest.mark.slow

FIT = (*STAGES["stage1"], "fit.epochs=1", "output=run")


@pytest.fixture
def data(tiny_folder: Path, tmp_path: Path) -> Path:
    """The tiny data set, to be spoilt."""
    shutil.copytree(tiny_folder, tmp_path / "data")
    return tmp_path / "data"


def stage1(doors: Doors, data: Path, *more: str) -> str:
    given = ("data=index", f"data.index={data / 'index.csv'}", *more)
    return doors.run("stage1", *FIT, *given, cwd=data.parent).sentence


def left(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


# ---- the frames


def test_missing_folder(doors: Doors, tmp_path: Path) -> None:
    done = doors.run("stage1", *FIT, "data=folder", "data.folder=nowhere", cwd=tmp_path)
    assert "nowhere is not a folder: correct data.folder" in done.sentence
    assert left(tmp_path) == set()


def test_folder_without_pictures(doors: Doors, tmp_path: Path) -> None:
    (tmp_path / "frames" / "smoke").mkdir(parents=True)
    done = doors.run("stage1", *FIT, "data=folder", "data.folder=frames", cwd=tmp_path)
    assert "smoke and nonsmoke" in done.sentence
    assert left(tmp_path) == {"frames"}


def test_one_class_only(doors: Doors, data: Path) -> None:
    index = data / "index.csv"
    lines = index.read_text().splitlines()
    index.write_text("\n".join(line for line in lines if ",0," not in line) + "\n")
    assert "only smoke" in stage1(doors, data)
    assert left(data.parent) == {"data"}


def test_no_validation_frames(doors: Doors, data: Path) -> None:
    index = data / "index.csv"
    lines = index.read_text().splitlines()
    index.write_text("\n".join(line for line in lines if ",val," not in line) + "\n")
    assert "the val split holds no frames" in stage1(doors, data, "data.val_fraction=0")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "is empty"),
        ("path,label\n", "lists no frames"),
        ("file,label\na.png,1\n", "has no column path"),
        ("path,label\nnowhere.png,1\n", "nowhere.png"),
        ("path,label\nscene0_0.png,maybe\n", "maybe"),
        ("path,label\nscene0_0.png,1\nscene0_0.png,1\n", "scene0_0.png"),
    ],
)
def test_bad_index(doors: Doors, data: Path, text: str, words: str) -> None:
    (data / "index.csv").write_text(text)
    assert words in stage1(doors, data)
    assert left(data.parent) == {"data"}


def test_missing_index(doors: Doors, data: Path) -> None:
    (data / "index.csv").unlink()
    assert "index.csv cannot be read (No such file or directory)" in stage1(doors, data)


@pytest.mark.parametrize(
    ("keep", "words"),
    [(0, "is empty (0 bytes)"), (700, "damaged or truncated"), (5, "is not a picture")],
)
def test_damaged_picture_is_named(doors: Doors, data: Path, keep: int, words: str) -> None:
    frame = data / "scene2_1.png"
    frame.write_bytes(frame.read_bytes()[:keep])
    sentence = stage1(doors, data)
    assert str(frame) in sentence
    assert words in sentence


def test_mended_picture_lets_the_run_go_on(doors: Doors, data: Path) -> None:
    frame = data / "scene6_1.png"
    whole = frame.read_bytes()
    frame.write_bytes(whole[:700])
    assert str(frame) in stage1(doors, data)
    frame.write_bytes(whole)
    # The frames are others now, so the run says so instead of mixing the two.
    assert "inputs.frames" in stage1(doors, data)
    given = ("data=index", f"data.index={data / 'index.csv'}", "overwrite=true")
    doors.must("stage1", *FIT, *given, cwd=data.parent)


def test_damaged_picture_to_predict_leaves_the_others_done(
    doors: Doors, chain: Chain, data: Path
) -> None:
    for frame in data.glob("*_mask.png"):
        frame.unlink()
    (data / "scene1_1.png").write_bytes(b"")
    given = (f"run={chain.run_of('stage3')}", f"source={data}", "output=out")
    done = doors.run("predict", *given, cwd=data.parent)
    assert "1 of 16 images could not be read" in done.sentence
    assert "scene1_1.png" in done.sentence
    assert len(list((data.parent / "out" / "masks").glob("*.png"))) == 15
    assert len((data.parent / "out" / "predictions.csv").read_text().splitlines()) == 16


@pytest.mark.parametrize("name", ["nowhere", "empty"])
def test_nothing_to_predict(doors: Doors, chain: Chain, tmp_path: Path, name: str) -> None:
    (tmp_path / "empty").mkdir()
    given = (f"run={chain.run_of('stage3')}", f"source={name}", "output=out")
    assert "source=" in doors.run("predict", *given, cwd=tmp_path).sentence
    assert left(tmp_path) == {"empty"}


@pytest.mark.parametrize("stage", ["stage1", "stage2", "stage3"])
def test_mask_of_another_size(doors: Doors, chain: Chain, data: Path, stage: str) -> None:
    Image.fromarray(np.zeros((10, 10), np.uint8)).save(data / "scene6_0_mask.png")
    shutil.copytree(chain.run_of(stage), data.parent / "run")
    index = data / "index.csv"
    table = index.read_text().replace("\nscene", f"\n{original(chain)}/scene")
    index.write_text(table.replace(",scene", f",{data}/scene"))
    given = ("run=run", "data=index", f"data.index={index}")
    sentence = doors.run("evaluate", *given, cwd=data.parent).sentence
    assert "scene6_0_mask.png covers 10x10 pixels but its frame 48x64" in sentence
    assert not (data.parent / "run" / "evaluation").exists()


def original(chain: Chain) -> Path:
    (index,) = (item for item in chain.arguments["stage1"] if item.startswith("data.index="))
    return Path(index.removeprefix("data.index=")).parent


def test_masks_of_other_frames(doors: Doors, chain: Chain, data: Path) -> None:
    given = (f"run={chain.run_of('stage2')}", "data=index", f"data.index={data / 'index.csv'}")
    sentence = doors.run("evaluate", *given, cwd=data.parent).sentence
    assert "has seen none of these frames" in sentence


# ---- the weights


@pytest.mark.parametrize("kind", ["missing", "text", "empty", "another network"])
def test_wrong_weights_of_the_classifier(doors: Doors, data: Path, kind: str) -> None:
    weights = data.parent / "weights.safetensors"
    write_wrong_weights(weights, kind)
    sentence = stage1(doors, data, f"classifier.weights={weights}")
    assert "weights.safetensors" in sentence
    assert "run" not in left(data.parent)


@pytest.mark.parametrize("kind", ["missing", "text", "another network"])
def test_wrong_weights_of_the_encoder(
    doors: Doors, chain: Chain, tmp_path: Path, kind: str
) -> None:
    weights = tmp_path / "weights.safetensors"
    write_wrong_weights(weights, kind)
    given = [item for item in chain.arguments["stage3"] if "weights" not in item]
    given += [f"segmenter.encoder_weights={weights}", f"pseudo_masks={chain.run_of('stage2')}"]
    sentence = doors.run("stage3", *given, cwd=tmp_path).sentence
    assert "weights.safetensors" in sentence


def test_wrong_weights_of_sam(doors: Doors, chain: Chain, tmp_path: Path) -> None:
    given = [item for item in chain.arguments["stage2"] if not item.startswith("refine=")]
    given += ["refine=sam", f"cams={chain.run_of('stage1')}"]
    assert "sam_checkpoint" in doors.run("stage2", *given, cwd=tmp_path).sentence
    weights = tmp_path / "weights.safetensors"
    write_wrong_weights(weights, "another network")
    sentence = doors.run("stage2", *given, f"sam_checkpoint={weights}", cwd=tmp_path).sentence
    assert "weights.safetensors" in sentence


def write_wrong_weights(path: Path, kind: str) -> None:
    if kind == "text":
        path.write_text("these are no weights\n" * 10)
    elif kind == "empty":
        path.write_bytes(b"")
    elif kind == "another network":
        save_file({"layers.0.attention.weight": np.zeros((4, 4), np.float32)}, path)


# ---- damaged runs


@pytest.mark.parametrize(
    ("stage", "name", "after", "words"),
    [
        ("stage1", "cams/scene4_0.npz", "stage2", "stage1/tiny/cams/scene4_0.npz"),
        ("stage1", "calibration.json", "stage2", "stage1/tiny/calibration.json"),
        ("stage1", "frames.csv", "stage2", "the frames of runs/stage1/tiny were changed"),
        ("stage1", "manifest.json", "stage2", "manifest.json"),
        ("stage2", "masks/scene2_0.png", "stage3", "stage2/tiny/masks/scene2_0.png"),
        ("stage2", "frames.csv", "stage3", "the frames of runs/stage2/tiny were changed"),
        ("stage3", "checkpoints/best.safetensors", "predict", "checkpoints/best.safetensors"),
        ("stage3", "segmenter.json", "predict", "stage3/tiny/segmenter.json"),
        ("stage3", "threshold.json", "predict", "stage3/tiny/threshold.json"),
    ],
)
@pytest.mark.parametrize("damage", ["missing", "cut"])
def test_damaged_run_is_refused_by_file(
    doors: Doors,
    chain: Chain,
    tiny_folder: Path,
    tmp_path: Path,
    stage: str,
    name: str,
    after: str,
    words: str,
    damage: str,
) -> None:
    shutil.copytree(chain.run_of(stage), tmp_path / "runs" / stage / "tiny")
    path = tmp_path / "runs" / stage / "tiny" / name
    if damage == "missing":
        path.unlink()
    else:
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 3])
    if after == "predict":
        given = (f"run={tmp_path / 'runs/stage3/tiny'}", f"source={tiny_folder}", "output=out")
    else:
        key = {"stage2": "cams", "stage3": "pseudo_masks"}[after]
        given = (*chain.arguments[after], f"{key}=runs/{stage}/tiny")
    assert words in doors.run(after, *given, cwd=tmp_path).sentence


def test_damaged_checkpoint_says_what_to_delete(doors: Doors, data: Path) -> None:
    given = (*FIT, "data=index", f"data.index={data / 'index.csv'}", "fit.checkpoint_seconds=0")
    killed = Accident("SIGKILL", "after", 6)
    doors.run("stage1", *given, cwd=data.parent, accident=killed)
    last = data.parent / "run" / "checkpoints" / "last.pt"
    last.write_bytes(last.read_bytes()[:1000])
    sentence = doors.run("stage1", *given, cwd=data.parent).sentence
    assert "last.pt" in sentence
    assert "delete it" in sentence
    last.unlink()
    doors.must("stage1", *given, cwd=data.parent)


# ---- where the output goes


def outputs(chain: Chain, tiny_folder: Path) -> dict[str, tuple[str, ...]]:
    """Every command that writes where it is told to."""
    return {
        **{
            stage: tuple(item for item in given if not item.startswith("output="))
            for stage, given in {
                "stage1": chain.arguments["stage1"],
                "stage2": (*chain.arguments["stage2"], f"cams={chain.run_of('stage1')}"),
                "stage3": (*chain.arguments["stage3"], f"pseudo_masks={chain.run_of('stage2')}"),
            }.items()
        },
        "predict": (f"run={chain.run_of('stage3')}", f"source={tiny_folder / 'scene6_0.png'}"),
        "check": ("data=index", f"data.index={tiny_folder / 'index.csv'}"),
    }


COMMANDS = ("stage1", "stage2", "stage3", "predict", "check")


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("place", ["a-file", "a-file/below", "/proc/nothing/here"])
def test_output_that_cannot_be_written(
    doors: Doors, chain: Chain, tiny_folder: Path, tmp_path: Path, command: str, place: str
) -> None:
    (tmp_path / "a-file").write_text("mine")
    given = (*outputs(chain, tiny_folder)[command], f"output={place}")
    sentence = doors.run(command, *given, cwd=tmp_path).sentence
    assert place in sentence
    assert (tmp_path / "a-file").read_text() == "mine"
    assert left(tmp_path) == {"a-file"}


@pytest.mark.parametrize("command", ["stage1", "stage2", "stage3"])
def test_folder_of_somebody_else_is_left_alone(
    doors: Doors, chain: Chain, tiny_folder: Path, tmp_path: Path, command: str
) -> None:
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "holiday.jpg").write_text("sun")
    for more in ((), ("overwrite=true",)):
        given = (*outputs(chain, tiny_folder)[command], "output=photos", *more)
        assert "holiday.jpg" in doors.run(command, *given, cwd=tmp_path).sentence
        assert (tmp_path / "photos" / "holiday.jpg").read_text() == "sun"


def test_run_of_another_stage_is_not_overwritten(
    doors: Doors, chain: Chain, tmp_path: Path
) -> None:
    shutil.copytree(chain.run_of("stage1"), tmp_path / "run")
    given = (*chain.arguments["stage2"], f"cams={chain.run_of('stage1')}", "output=run")
    sentence = doors.run("stage2", *given, "overwrite=true", cwd=tmp_path).sentence
    assert "stage1" in sentence
    assert (tmp_path / "run" / "cams" / "scene0_0.npz").exists()


@pytest.mark.parametrize("command", COMMANDS[:4])
def test_file_that_grows_too_large(
    doors: Doors, chain: Chain, tiny_folder: Path, tmp_path: Path, command: str
) -> None:
    """The kernel refuses the write itself, as it does on a full disk."""
    limit = 600 if command == "predict" else 6000
    given = (*outputs(chain, tiny_folder)[command], "output=out")
    done = doors.run(command, *given, cwd=tmp_path, file_limit=limit)
    # torch swallows the kernel's reason.
    words = ("the file is larger than the system allows", "the disk is full")
    assert done.sentence.startswith("cannot write out/")
    assert any(word in done.sentence for word in words)
    assert list(tmp_path.rglob(".partial-*")) == []
    doors.must(command, *given, cwd=tmp_path)


def test_impossible_hardware(doors: Doors, data: Path) -> None:
    sentence = stage1(doors, data, "hardware.accelerator=gpu")
    assert "hardware.accelerator" in sentence


def test_training_that_explodes_is_a_sentence(doors: Doors, data: Path) -> None:
    given = [item for item in TINY if not item.startswith("optimizer")]
    sentence = stage1(doors, data, *given, "optimizer.lr=1e30", "fit.gradient_clip=null")
    assert "Lower the learning rate" in sentence
