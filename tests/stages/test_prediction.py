"""Videos and streams are segmented as they come, can be stopped, and go on to the same bytes."""

from __future__ import annotations

import csv
import json
import shutil
import weakref
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from doors import Chain, Doors
from PIL import Image
from torch import Tensor, nn

from weakseg.arrays import FrameArray
from weakseg.data.video import VideoFrame, read_video, write_video
from weakseg.errors import ArtifactError, DataError
from weakseg.models import TiledInference
from weakseg.plans import AlarmPlan, PredictPlan, SmoothingPlan
from weakseg.stages.prediction import video as stage
from weakseg.stages.prediction.alarms import AlarmList
from weakseg.stages.prediction.command import check_names, find_sources, predict_pictures
from weakseg.stages.prediction.rows import RowFiles
from weakseg.stages.prediction.settings import claim, settings_of
from weakseg.stages.prediction.video_record import Smoother
from weakseg.stages.predictor import Predictor
from weakseg.training import StopFlag

pytest.importorskip("av")

COUNT, STEP = 24, 0.25


class Brightness(nn.Module):
    """What is brighter than 60 % is smoke."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(40.0))

    def forward(self, images: Tensor) -> Tensor:
        smoke = self.scale * (images.mean(dim=1, keepdim=True) - 0.6)
        return torch.cat([torch.zeros_like(smoke), smoke], dim=1)


def sky(rows_of_smoke: int) -> FrameArray:
    pixels = np.full((64, 64, 3), 80, np.uint8)
    pixels[:rows_of_smoke] = 230
    return pixels


def footage() -> Iterator[VideoFrame]:
    """6 seconds: smoke comes after 2 and goes after 4."""
    for i in range(COUNT):
        yield VideoFrame(i, STEP * i, sky(32 if 8 <= i < 16 else 0))


@pytest.fixture
def video(tmp_path: Path) -> Path:
    write_video(tmp_path / "camera" / "a.mp4", footage())
    return tmp_path / "camera" / "a.mp4"


@pytest.fixture
def predictor() -> Predictor:
    inference = TiledInference(image_size=64, flip=False)
    return Predictor(Brightness().eval(), inference, threshold=0.5, fingerprint="f")


def make_work(output: Path, predictor: Predictor, *, is_same: bool = False, **options: Any) -> Any:
    plan = PredictPlan(
        run="run",
        source="camera",
        output=str(output),
        alarm=AlarmPlan(on_share=0.3, off_share=0.1, min_seconds=0.5, hold_seconds=0.5),
        **{"smoothing": SmoothingPlan(0.5), **options},
    )
    return stage.VideoWork(plan, predictor, output, AlarmList(output), StopFlag(), is_same)


def contents(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def table(path: Path) -> list[dict[str, str]]:
    with path.open() as file:
        return list(csv.DictReader(file))


def test_rows_masks_alarms_and_overlay(video: Path, predictor: Predictor, tmp_path: Path) -> None:
    out = tmp_path / "out"
    work = make_work(out, predictor, smoothing=SmoothingPlan(0), video=True)
    assert stage.predict_video(video, "a.mp4", work) == ""
    rows = table(out / "a.mp4" / "predictions.csv")
    assert [int(row["frame"]) for row in rows] == list(range(COUNT))
    shares = np.array([float(row["smoke_share"]) for row in rows])
    np.testing.assert_allclose(shares, [0.5 if 8 <= i < 16 else 0 for i in range(COUNT)], atol=0.02)
    lines = (out / "a.mp4" / "predictions.jsonl").read_text().splitlines()
    for line, row in zip(map(json.loads, lines), rows, strict=True):
        assert line["seconds"] == float(row["seconds"])
        assert line["smoke_share"] == float(row["smoke_share"])
        assert line["alarm"] == row["alarm"]
    (alarm,) = table(out / "alarms.csv")
    assert (alarm["source"], alarm["state"]) == ("a.mp4", "ended")
    assert float(alarm["start_seconds"]) == pytest.approx(2, abs=0.01)
    assert float(alarm["end_seconds"]) == pytest.approx(3.75, abs=0.01)
    assert len(list((out / "a.mp4" / "masks").iterdir())) == COUNT
    masks = (Image.open(out / "a.mp4" / "masks" / f"{i:06d}.png") for i in (3, 12))
    clear, smoky = (np.array(mask) for mask in masks)
    assert not clear.any()
    # But for a blurred edge, smoke is above.
    assert (smoky[:30] == 255).all() and not smoky[34:].any()
    drawn = list(read_video(out / "a.mp4" / "overlay.mp4"))
    assert len(drawn) == COUNT
    # The edge is red while there is an alarm, and grey before.
    red, green, _ = drawn[12].pixels[40, 0].astype(int)
    assert red - green > 60
    red, green, _ = drawn[3].pixels[40, 0].astype(int)
    assert abs(red - green) < 20


@pytest.mark.parametrize("smoothing", [0.0, 0.5])
@pytest.mark.parametrize("ending", ["asked", "killed"])
def test_stopped_video_goes_on_to_the_same_bytes(
    video: Path, predictor: Predictor, tmp_path: Path, smoothing: float, ending: str
) -> None:
    options: dict[str, Any] = {"smoothing": SmoothingPlan(smoothing), "video": True}
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    stage.predict_video(video, "a.mp4", make_work(whole, predictor, **options))
    work = make_work(parts, predictor, **options)
    if ending == "killed":
        with pytest.raises(KeyboardInterrupt):
            stop_at(11, video, work, predictor, is_killed=True)
        with (parts / "a.mp4" / "predictions.jsonl").open("a") as file:
            file.write('{"frame": 1')
    else:
        stop_at(11, video, work, predictor)
        assert len(table(parts / "a.mp4" / "predictions.csv")) == 11
    assert not (parts / "a.mp4" / "overlay.mp4").exists()
    reads = count_reads(predictor)
    stage.predict_video(video, "a.mp4", make_work(parts, reads, is_same=True, **options))
    # A killed command has not saved the average over time: with it, the video starts again.
    left = COUNT if ending == "killed" and smoothing else COUNT - (10 if ending == "killed" else 11)
    assert reads.model.calls == left
    assert contents(parts) == contents(whole)


@pytest.mark.parametrize("is_fewer", [False, True])
def test_average_of_other_frames_is_not_taken_up(
    video: Path, predictor: Predictor, tmp_path: Path, is_fewer: bool
) -> None:
    out = tmp_path / "out"
    stop_at(11, video, make_work(out, predictor), predictor)
    assert (out / "a.mp4" / "smoothing.npz").exists()
    if is_fewer:
        path = out / "a.mp4" / "predictions.jsonl"
        path.write_text("".join(path.read_text().splitlines(keepends=True)[:5]))
    else:
        write_video(video, (VideoFrame(i, STEP * i, sky(64 - i)) for i in range(COUNT)))
        with pytest.raises(KeyboardInterrupt):
            stop_at(15, video, make_work(out, predictor), predictor, is_killed=True)
    stage.predict_video(video, "a.mp4", make_work(out, predictor, is_same=True))
    stage.predict_video(video, "a.mp4", make_work(tmp_path / "whole", predictor))
    assert contents(out) == contents(tmp_path / "whole")


def stop_at(
    count: int, video: Path, work: Any, predictor: Predictor, *, is_killed: bool = False
) -> None:
    """Segment so many frames of a video, and be asked to stop or killed in the last."""
    seen = 0

    def scores(self: Predictor, frame: FrameArray) -> Any:
        nonlocal seen
        seen += 1
        if seen == count:
            if is_killed:
                raise KeyboardInterrupt
            work.stop.set()
        return predictor.scores(frame)

    impatient = type("Impatient", (Predictor,), {"scores": scores})
    held = impatient(
        predictor.model, predictor.inference, predictor.threshold, predictor.fingerprint
    )
    object.__setattr__(work, "predictor", held)
    stage.predict_video(video, "a.mp4", work)


def count_reads(predictor: Predictor) -> Any:
    class Counting(nn.Module):
        calls = 0

        def __init__(self) -> None:
            super().__init__()
            self.inner = predictor.model

        def forward(self, images: Tensor) -> Tensor:
            self.calls += 1
            found: Tensor = self.inner(images)
            return found

    return Predictor(Counting(), predictor.inference, predictor.threshold, predictor.fingerprint)


def test_finished_video_is_left_alone_but_for_its_alarms(
    video: Path, predictor: Predictor, tmp_path: Path
) -> None:
    stage.predict_video(video, "a.mp4", make_work(tmp_path / "out", predictor))
    before = contents(tmp_path / "out")
    reads = count_reads(predictor)
    stage.predict_video(video, "a.mp4", make_work(tmp_path / "out", reads, is_same=True))
    assert contents(tmp_path / "out") == before
    other = make_work(tmp_path / "out", reads, is_same=True)
    other.plan.alarm.on_share = other.plan.alarm.off_share = 0.9
    stage.predict_video(video, "a.mp4", other)
    assert table(tmp_path / "out" / "alarms.csv") == []
    assert {row["alarm"] for row in table(tmp_path / "out" / "a.mp4" / "predictions.csv")} == {
        "quiet"
    }
    assert reads.model.calls == 0
    write_video(video, (VideoFrame(i, i, sky(0)) for i in range(3)))
    stage.predict_video(video, "a.mp4", make_work(tmp_path / "out", reads, is_same=True))
    assert reads.model.calls == 3


def test_video_of_other_settings_is_not_taken_for_done(
    video: Path, predictor: Predictor, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    stage.predict_video(video, "a.mp4", make_work(out, predictor))
    # Somebody asked for other settings, and stopped before this video's turn.
    options = {"smoothing": SmoothingPlan(0)}
    stage.predict_video(video, "a.mp4", make_work(out, predictor, is_same=True, **options))
    stage.predict_video(video, "a.mp4", make_work(tmp_path / "whole", predictor, **options))
    assert contents(out) == contents(tmp_path / "whole")


def test_overwriting_drops_the_tables(tmp_path: Path) -> None:
    tables = ("alarms.csv", "predictions.csv", "predictions.jsonl")
    for is_wanted in (False, True):
        claim(tmp_path, {"cut": 0.5}, overwrite=is_wanted)
        assert [(tmp_path / name).exists() for name in tables] == [False] * 3
        for name in tables:
            (tmp_path / name).write_text("")
    assert claim(tmp_path, {"cut": 0.5}, overwrite=False)
    assert all((tmp_path / name).exists() for name in tables)


def test_source_belongs_to_the_settings(predictor: Predictor, tmp_path: Path) -> None:
    def settings(source: str) -> Any:
        return settings_of(PredictPlan(run="run", source=source, output="out"), predictor)

    claim(tmp_path, settings("one"), overwrite=False)
    assert claim(tmp_path, settings("two/../one"), overwrite=False)
    with pytest.raises(ArtifactError, match=r"source: was .*one, now .*two"):
        claim(tmp_path, settings("two"), overwrite=False)
    # Streams do not touch each other.
    assert settings("rtsp://one/live") == settings("rtsp://two/live")


def test_output_in_the_source_is_not_segmented(tmp_path: Path) -> None:
    for name in ("a.png", "b/c.mp4", "out/masks/a.png", "out/a.mp4/overlay.mp4"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    found = find_sources(tmp_path, tmp_path / "b" / ".." / "out")
    assert found == ([tmp_path / "a.png"], [tmp_path / "b" / "c.mp4"])
    assert find_sources(tmp_path / "b", tmp_path) == ([], [tmp_path / "b" / "c.mp4"])
    with pytest.raises(DataError, match="choose another output"):
        find_sources(tmp_path, tmp_path)


def test_pictures_of_one_stem_are_refused() -> None:
    check_names([Path("a/x.png"), Path("b/x.png"), Path("x.1.png"), Path("x.2.png")])
    with pytest.raises(DataError, match=r"x\.jpg and x\.png would have one mask"):
        check_names([Path("a/x.jpg"), Path("a/x.png")])


def test_overlay_that_was_not_finished_is_drawn_again(
    video: Path, predictor: Predictor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def drawn() -> Any:
        return json.loads((tmp_path / "out" / "a.mp4" / "video.json").read_text())["drawn"]

    def killed(*_: Any) -> None:
        assert drawn() is False
        raise KeyboardInterrupt

    stage.predict_video(video, "a.mp4", make_work(tmp_path / "out", predictor, video=True))
    assert drawn() is True
    old = (tmp_path / "out" / "a.mp4" / "overlay.mp4").read_bytes()
    work = make_work(tmp_path / "out", predictor, is_same=True, video=True)
    work.plan.alarm.on_share = work.plan.alarm.off_share = 0.9
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(stage, "write_overlays", killed)
        stage.predict_video(video, "a.mp4", work)
    stage.predict_video(video, "a.mp4", work)
    assert drawn() is True
    assert (tmp_path / "out" / "a.mp4" / "overlay.mp4").read_bytes() != old


def test_frames_far_apart_raise_alarms(video: Path, predictor: Predictor, tmp_path: Path) -> None:
    work = make_work(tmp_path / "out", predictor, smoothing=SmoothingPlan(0), frame_step=2)
    # Less than the half second between the frames that are read.
    work.plan.alarm.gap_seconds = 0.3
    stage.predict_video(video, "a.mp4", work)
    assert len(table(tmp_path / "out" / "alarms.csv")) == 1


def test_refused_video_is_read_when_the_limit_is_raised(
    video: Path, predictor: Predictor, tmp_path: Path
) -> None:
    for is_same in (False, True):
        work = make_work(tmp_path / "out", predictor, is_same=is_same, max_pixels=100)
        assert "max_pixels" in stage.predict_video(video, "a.mp4", work)
    work = make_work(tmp_path / "out", predictor, is_same=True)
    assert stage.predict_video(video, "a.mp4", work) == ""
    assert len(table(tmp_path / "out" / "a.mp4" / "predictions.csv")) == COUNT


def test_length_may_be_limited_and_extended(
    video: Path, predictor: Predictor, tmp_path: Path
) -> None:
    for seconds, rows in ((2, 4), (2, 4), (5, 10), (None, 12)):
        options: dict[str, Any] = {"max_seconds": seconds, "frame_step": 2}
        work = make_work(tmp_path / "out", predictor, is_same=rows > 4, **options)
        stage.predict_video(video, "a.mp4", work)
        assert len(table(tmp_path / "out" / "a.mp4" / "predictions.csv")) == rows


def test_truncated_video_is_named_each_time(
    video: Path, predictor: Predictor, tmp_path: Path
) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (COUNT, 64, 64, 3), np.uint8)
    write_video(video, (VideoFrame(i, STEP * i, noise[i]) for i in range(COUNT)))
    content = video.read_bytes()
    video.write_bytes(content[: len(content) * 8 // 10])
    for is_same in (False, True):
        work = make_work(tmp_path / "out", predictor, is_same=is_same)
        complaint = stage.predict_video(video, "a.mp4", work)
        assert "a.mp4" in complaint
    assert 0 < len(table(tmp_path / "out" / "a.mp4" / "predictions.csv")) < COUNT


def test_frames_are_not_kept(video: Path, predictor: Predictor, tmp_path: Path) -> None:
    kept: list[weakref.ref[Any]] = []
    most = 0

    class Watching(Predictor):
        def scores(self, frame: FrameArray) -> Any:
            nonlocal most
            kept.append(weakref.ref(frame))
            most = max(most, sum(ref() is not None for ref in kept))
            return super().scores(frame)

    watching = Watching(
        predictor.model, predictor.inference, predictor.threshold, predictor.fingerprint
    )
    stage.predict_video(video, "a.mp4", make_work(tmp_path / "out", watching, pictures=True))
    assert len(kept) == COUNT
    # The one that is read, and the one before, which the loop's variable still holds.
    assert most <= 2


def test_average_over_time_follows_the_clock() -> None:
    smoother = Smoother(2.0)
    first, second = np.zeros((2, 2), np.float32), np.ones((2, 2), np.float32)
    assert (smoother(first, 0.0) == 0).all()
    np.testing.assert_allclose(smoother(second, 1.0), 1 - np.exp(-0.5), rtol=1e-5)
    # A step in two halves is the same as in one.
    halves = Smoother(2.0)
    for scores, seconds in ((first, 0.0), (second, 0.5), (second, 1.0)):
        found = halves(scores, seconds)
    np.testing.assert_allclose(found, 1 - np.exp(-0.5), rtol=1e-5)
    assert (smoother(np.ones((3, 3), np.float32), 1.1) == 1).all()
    assert Smoother(0)(second, 5.0) is second


def test_half_written_rows_are_dropped(tmp_path: Path) -> None:
    with closing(RowFiles(tmp_path, ("image", "smoke_share"))) as files:
        files.start()
        for name in ("a,b.png", "ü.png"):
            files.append({"image": name, "smoke_share": 0.25, "bytes": 3})
        # Flushed: another program can read along.
        assert len(table(tmp_path / "predictions.csv")) == 2
    with (tmp_path / "predictions.jsonl").open("a") as file:
        file.write('{"image": "c.png", "smo')
    rows = RowFiles(tmp_path, ("image", "smoke_share")).read()
    assert [row["image"] for row in rows] == ["a,b.png", "ü.png"]


def test_thin_pictures_that_take_much_memory_are_left_out(
    predictor: Predictor, tmp_path: Path
) -> None:
    work = make_work(tmp_path / "out", predictor, max_pixels=100_000)
    work.plan.source = str(tmp_path)
    work.output.mkdir()
    pictures = [tmp_path / "good.png", tmp_path / "thin.png"]
    for picture, size in zip(pictures, ((200, 200), (5000, 1)), strict=True):
        Image.new("L", size).save(picture)
    assert predict_pictures(pictures, work) == [tmp_path / "thin.png"]
    assert [row["image"] for row in table(work.output / "predictions.csv")] == ["good.png"]


# ---- by the command


def test_folder_of_pictures_and_videos(
    doors: Doors, chain: Chain, tiny_folder: Path, video: Path, tmp_path: Path
) -> None:
    shutil.copy(tiny_folder / "scene6_0.png", video.parent / "p.png")
    (video.parent / "broken.mp4").write_bytes(b"no video")
    given = (f"run={chain.run_of('stage3')}", "source=camera", "output=out", "hardware.threads=1")
    for _ in range(2):
        done = doors.run("predict", *given, "every_seconds=1", cwd=tmp_path)
        assert "1 of 2 videos could not be read to the end" in done.sentence
        assert "broken.mp4" in done.sentence
    out = tmp_path / "out"
    assert [row["image"] for row in table(out / "predictions.csv")] == ["p.png"]
    rows = table(out / "a.mp4" / "predictions.csv")
    assert [float(row["seconds"]) for row in rows] == [0, 1, 2, 3, 4, 5]
    assert (out / "alarms.csv").exists()
    assert not (out / "a.mp4" / "masks").exists()
    assert not (out / "broken.mp4").exists()
    sentence = doors.run("predict", *given, "cut=0.123", cwd=tmp_path).sentence
    assert "cut: was" in sentence
    assert "every_seconds" in sentence
    assert "overwrite=true" in sentence
    assert table(out / "a.mp4" / "predictions.csv") == rows


def test_pictures_that_are_done_are_not_done_again(
    doors: Doors, chain: Chain, tiny_folder: Path, tmp_path: Path
) -> None:
    source = tmp_path / "new"
    source.mkdir()
    for name in ("scene6_0.png", "scene7_0.png"):
        shutil.copy(tiny_folder / name, source / name)
    given = (f"run={chain.run_of('stage3')}", "source=new", "output=out")
    doors.must("predict", *given, cwd=tmp_path)
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "out" / "masks").iterdir()}
    shutil.copy(tiny_folder / "scene6_1.png", source / "scene6_1.png")
    doors.must("predict", *given, cwd=tmp_path)
    rows = table(tmp_path / "out" / "predictions.csv")
    assert [row["image"] for row in rows] == ["scene6_0.png", "scene6_1.png", "scene7_0.png"]
    assert {path: path.stat().st_mtime_ns for path in before} == before
