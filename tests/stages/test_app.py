"""The app: asked by gradio's own client, and used in a real browser."""

from __future__ import annotations

import gc
import importlib
import io
import warnings
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from browser import page
from doors import Chain
from PIL import Image

from weakseg.arrays import FrameArray
from weakseg.data import IndexSource, read_frame
from weakseg.data.truth import load_masks, read_mask
from weakseg.errors import DataError
from weakseg.plans import AppPlan
from weakseg.report import heatmap, overlay
from weakseg.stages.predictor import Prediction, Predictor, load_predictor
from weakseg.stages.serving.corrections import LabelFolder
from weakseg.stages.serving.ports import listen
from weakseg.stages.serving.viewing import watch

pytest.importorskip("gradio", reason="needs the extra [app]")
client = pytest.importorskip("gradio_client", reason="needs the extra [app]")
app = importlib.import_module("weakseg.stages.serving.app")

# gradio leaves the files that it serves to the collector.
pytestmark = pytest.mark.filterwarnings(
    "ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning"
)


@pytest.fixture(autouse=True)
def collected() -> Iterator[None]:
    """Let what gradio left open go here, not in a test that has nothing to do with it."""
    yield
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        gc.collect()


class Running:
    """The app of a run, started once."""

    def __init__(self, run: Path, labels: Path) -> None:
        self.predictor = load_predictor(run)
        self.labels = LabelFolder(labels)
        plan = AppPlan(run=str(run), frames_per_second=2.0, max_seconds=2.0, max_bytes=2_000_000)
        both = {"first": self.predictor, "second": load_predictor(run, cut=0.9)}
        self.blocks = app.make_app(both, self.labels, plan)
        self.address = f"http://127.0.0.1:{launched(self.blocks, plan.max_bytes)}"


def launched(blocks: Any, max_bytes: int) -> int:
    """Start an app on a free port, which another process may take before gradio does."""
    for _ in range(5):
        with listen("127.0.0.1", 0) as found:
            port: int = found.getsockname()[1]
        with suppress(OSError):
            app.launch(blocks, "127.0.0.1", port, max_bytes=max_bytes, wait=False)
            return port
    raise AssertionError("every port was taken meanwhile")


@pytest.fixture(scope="module")
def running(chain: Chain, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    started = Running(
        chain.root / "runs" / "stage3" / "tiny", tmp_path_factory.mktemp("app") / "labels"
    )
    yield started
    started.blocks.close()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        gc.collect()


@pytest.fixture
def recording(tmp_path: Path, plume: FrameArray) -> Path:
    video = pytest.importorskip("weakseg.data.video")
    path: Path = tmp_path / "plume.mp4"
    video.write_video(path, (video.VideoFrame(k, k / 10, plume) for k in range(30)))
    return path


def test_a_client_gets_figures_and_pictures(running: Running, tiny_folder: Path) -> None:
    asked = client.Client(running.address, verbose=False)
    path = tiny_folder / "scene0_0.png"
    words, mask, scores, other_words, *_ = asked.predict(
        client.handle_file(path), 0.25, api_name="/look"
    )
    frame = read_frame(path)
    expected = running.predictor(frame, threshold=0.25)
    assert 0 < expected.share < 1
    assert f"probability of smoke {expected.probability:.2f}" in words
    assert f"{expected.share:.2%}" in words and "threshold 0.25" in words
    assert words.startswith("**first**") and other_words.startswith("**second**")
    np.testing.assert_array_equal(read_frame(mask), overlay(frame, expected.mask))
    np.testing.assert_array_equal(read_frame(scores), heatmap(expected.scores))


def test_a_picture_that_is_none_is_told(running: Running, tmp_path: Path) -> None:
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"no picture")
    asked = client.Client(running.address, verbose=False)
    with pytest.raises(Exception, match=r"broken\.png"):
        asked.predict(client.handle_file(broken), 0.5, api_name="/look")


@pytest.fixture
def deep_picture(tmp_path: Path) -> Path:
    """A grey picture of 16 bits, all of it above the 8 that would be clipped to white."""
    ramp = np.linspace(300, 65535, 64 * 48).reshape(48, 64).astype(np.uint16)
    Image.fromarray(ramp).save(tmp_path / "deep.png")
    return tmp_path / "deep.png"


@pytest.fixture
def grey_picture(tmp_path: Path) -> Path:
    noise = np.random.default_rng(0).integers(0, 256, (48, 64), dtype=np.uint8)
    Image.fromarray(noise).save(tmp_path / "grey.jpg", quality=60)
    return tmp_path / "grey.jpg"


def test_pictures_are_read_as_they_were_sent(
    running: Running, deep_picture: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[FrameArray, Prediction]] = []
    predict = Predictor.__call__

    def seeing(self: Predictor, frame: FrameArray, **how: Any) -> Prediction:
        seen.append((frame, predict(self, frame, **how)))
        return seen[-1][1]

    monkeypatch.setattr(Predictor, "__call__", seeing)
    asked = client.Client(running.address, verbose=False)
    asked.predict(client.handle_file(deep_picture), 0.25, api_name="/look")
    frame = read_frame(deep_picture)
    assert frame.mean() < 200, "not white"
    np.testing.assert_array_equal(seen[0][0], frame)
    np.testing.assert_array_equal(seen[0][1].scores, running.predictor.scores(frame))


def test_label_keeps_the_pixels_that_were_sent(
    running: Running, grey_picture: Path, tmp_path: Path
) -> None:
    labels = LabelFolder(tmp_path / "labels")
    blocks = app.make_app({"first": running.predictor}, labels, AppPlan(run="run"))
    called = {one.name: one.fn for one in blocks.fns.values()}
    picture = next(
        one for one in blocks.blocks.values() if getattr(one, "label", "") == "Drop a picture here"
    )
    sent = picture.data_model(path=str(grey_picture), orig_name=grey_picture.name)
    kept = called["look"](picture.preprocess(sent), 0.5)[0]
    _, taken = called["begin"](kept, 0.5)
    called["keep"](taken, {"layers": []})
    index = str(labels.folder / "index.csv")
    (frame,) = IndexSource(index, scenes="frame", val_fraction=0).frames()
    np.testing.assert_array_equal(read_frame(frame.path), read_frame(grey_picture))


def test_thin_pictures_that_take_much_memory_are_told(running: Running, tmp_path: Path) -> None:
    plan = AppPlan(run="run", max_pixels=100_000)
    blocks = app.make_app({"first": running.predictor}, LabelFolder(tmp_path / "labels"), plan)
    look = next(one.fn for one in blocks.fns.values() if one.name == "look")
    Image.new("L", (5000, 1)).save(tmp_path / "thin.png")
    with pytest.raises(app.gr.Error, match=r"thin\.png has 5000x1 pixels.*limit of 100000"):
        look(str(tmp_path / "thin.png"), 0.5)


def test_files_beyond_the_limit_are_refused_and_the_others_do_not_stay(
    running: Running, tmp_path: Path
) -> None:
    large = tmp_path / "large.png"
    large.write_bytes(bytes(2_000_001))
    answer = httpx.post(
        f"{running.address}/gradio_api/upload", files={"files": large.read_bytes()}, timeout=60
    )
    assert answer.status_code == 413
    assert running.blocks.delete_cache == (300, 3600), "an hour, and five minutes at most"


def test_a_client_gets_a_videos_smoke_over_time(running: Running, recording: Path) -> None:
    asked = client.Client(running.address, verbose=False)
    words, plot, moments = asked.predict(client.handle_file(recording), 0.25, api_name="/segment")
    assert words.startswith("5 frames looked at")  # at 0, 0.5, ... 2 seconds of 3
    assert len(moments) == 5
    assert plot is not None


def test_watching_stops_where_it_should(running: Running, recording: Path) -> None:
    told: list[float] = []
    moments = list(
        watch(
            running.predictor,
            recording,
            frames_per_second=2,
            max_seconds=1,
            on_progress=told.append,
        )
    )
    with pytest.raises(DataError, match="limit of 100"):
        next(
            watch(running.predictor, recording, frames_per_second=2, max_seconds=1, max_pixels=100)
        )
    assert [round(one.seconds, 1) for one in moments] == [0.0, 0.5, 1.0]
    assert told == [one.seconds for one in moments]
    assert moments[0].picture.shape == (48, 64, 3)


def middle_at_rest(canvas: Any) -> tuple[float, float, bytes]:
    """Wait until a canvas shows a picture that stays; give its middle and what is seen below it."""
    earlier = None
    for _ in range(100):
        canvas.page.mouse.move(0, 0)
        canvas.scroll_into_view_if_needed()
        box = canvas.bounding_box()
        x, y = (box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
        # Below the words that an empty canvas has in its middle.
        strip = {"x": x - 30, "y": y + 40, "width": 60, "height": 4}
        now = (x, y, canvas.page.screenshot(clip=strip))
        is_empty = len(Image.open(io.BytesIO(now[2])).getcolors()) == 1
        if now == earlier and not is_empty:
            return now
        earlier = now
        canvas.page.wait_for_timeout(200)
    raise AssertionError("the canvas does not come to rest")


@pytest.mark.timeout(180)
def test_a_mask_is_corrected_in_the_browser(running: Running, tiny_folder: Path) -> None:
    path = tiny_folder / "scene0_1.png"
    with page() as shown:
        outside: list[str] = []
        shown.on("request", lambda one: outside.append(one.url))
        shown.goto(running.address)
        shown.set_input_files("input[type=file] >> nth=0", path, timeout=60_000)
        shown.wait_for_selector("text=probability of smoke", timeout=60_000)
        shown.click("text=Correct the mask and keep it")
        shown.click("text=Take the mask of first")
        canvas = shown.locator("canvas").first
        canvas.wait_for(timeout=60_000)
        x, y, before = middle_at_rest(canvas)
        for _ in range(5):
            shown.mouse.move(x - 30, y)
            shown.mouse.down()
            shown.mouse.move(x + 30, y, steps=6)
            shown.mouse.up()
            x, y, after = middle_at_rest(canvas)
            if after != before:
                break
        shown.click("text=Save as a label")
        shown.wait_for_selector("text=1 labels in", timeout=60_000)
    index = str(running.labels.folder / "index.csv")
    frames = IndexSource(index, scenes="frame", val_fraction=0).frames()
    saved = next(iter(load_masks(running.labels.folder / "index.csv").values()))
    frame = read_frame(path)
    mask = read_mask(saved, height=frame.shape[0], width=frame.shape[1])
    np.testing.assert_array_equal(read_frame(frames[0].path), frame)
    assert mask[24, 32] == 1, "the middle was painted"
    before = running.predictor(frame).mask
    assert (mask >= before).all() and mask.sum() > before.sum()
    strangers = [url for url in outside if not url.startswith((running.address, "data:", "blob:"))]
    assert strangers == []
