"""Videos give their frames upright and in time; what is damaged is named; streams come back."""

from __future__ import annotations

import gc
import itertools
import sys
import threading
import time
from collections.abc import Iterator
from fractions import Fraction
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar

import cv2
import numpy as np
import pytest

from weakseg.arrays import FrameArray
from weakseg.data import streams
from weakseg.data.containers import shown, video_facts, videos_in
from weakseg.data.video import VideoFrame, VideoWriter, read_video, write_video
from weakseg.errors import ArtifactError, DataError, MissingExtraError

av: Any = pytest.importorskip("av")

H, W = 48, 64


def shade(level: int) -> FrameArray:
    """A grey frame with a red upper left corner."""
    pixels = np.full((H, W, 3), level, np.uint8)
    pixels[: H // 3, : W // 3] = (255, 0, 0)
    return pixels


def frames(count: int, *, seconds: float = 0.1) -> Iterator[VideoFrame]:
    return (VideoFrame(i, i * seconds, shade(20 + 5 * i % 200)) for i in range(count))


def encode(path: Path, *, count: int = 40, rotation: int = 0, options: Any = None) -> Path:
    """Write a video with settings that `write_video` does not offer; every 5th frame is whole."""
    with av.open(str(path), "w", options=options or {}) as container:
        stream = container.add_stream("libx264", rate=10)
        stream.width, stream.height, stream.pix_fmt = W, H, "yuv420p"
        stream.codec_context.gop_size = 5
        if rotation:
            stream.set_display_rotation(rotation)
        noise = np.random.default_rng(0)
        for i in range(count):
            pixels = shade(20 + 4 * i) ^ noise.integers(0, 16, (H, W, 3), np.uint8)
            picture = av.VideoFrame.from_ndarray(pixels, format="rgb24")
            picture.pts, picture.time_base = i, Fraction(1, 10)
            container.mux(stream.encode(picture))
        container.mux(stream.encode())
    return path


def read_all(path: Path, **options: Any) -> tuple[list[VideoFrame], str]:
    """Read what can be read, and give it with the complaint at the end."""
    found: list[VideoFrame] = []
    try:
        found.extend(read_video(path, **options))
    except DataError as error:
        return found, str(error)
    return found, ""


def test_what_is_written_is_read(tmp_path: Path) -> None:
    assert write_video(tmp_path / "a.mp4", frames(20)) == 20
    found = list(read_video(tmp_path / "a.mp4"))
    assert [frame.index for frame in found] == list(range(20))
    np.testing.assert_allclose([frame.seconds for frame in found], np.arange(20) / 10, atol=1e-4)
    for frame, given in zip(found, frames(20), strict=True):
        # H.264 loses something of every picture.
        assert np.abs(frame.pixels.astype(int) - given.pixels).mean() < 6
    facts = video_facts(tmp_path / "a.mp4")
    assert (facts.width, facts.height, facts.frames) == (W, H, 20)
    assert facts.seconds == pytest.approx(2, abs=0.1)


def test_varying_rate_keeps_its_times(tmp_path: Path) -> None:
    times = [0.0, 0.1, 0.15, 1.0, 3.5]
    given = [VideoFrame(i, time, shade(100)) for i, time in enumerate(times)]
    write_video(tmp_path / "a.mp4", given)
    found, complaint = read_all(tmp_path / "a.mp4")
    assert complaint == ""
    np.testing.assert_allclose([frame.seconds for frame in found], times, atol=1e-3)
    assert [f.index for f in read_video(tmp_path / "a.mp4", every_seconds=1)] == [0, 3, 4]


@pytest.mark.parametrize(
    ("choice", "indices"),
    [
        ({"frame_step": 4}, [0, 4, 8]),
        ({"frame_step": 4, "first": 1}, [4, 8]),
        ({"every_seconds": 0.3}, [0, 3, 6, 9]),
        ({"every_seconds": 0.25}, [0, 3, 5, 8]),
        ({"every_seconds": 0.3, "first": 4}, [6, 9]),
    ],
)
def test_only_wanted_frames_come(tmp_path: Path, choice: Any, indices: list[int]) -> None:
    write_video(tmp_path / "a.mp4", frames(10))
    assert [frame.index for frame in read_video(tmp_path / "a.mp4", **choice)] == indices


@pytest.mark.parametrize(
    ("rotation", "corner"), [(0, (0, 0)), (90, (-1, 0)), (180, (-1, -1)), (-90, (0, -1))]
)
def test_frames_are_turned_upright(tmp_path: Path, rotation: int, corner: Any) -> None:
    path = encode(tmp_path / "a.mp4", count=3, rotation=rotation)
    pixels = next(iter(read_video(path))).pixels
    assert pixels.shape == ((W, H, 3) if rotation % 180 else (H, W, 3))
    red, green, _ = pixels[corner].astype(int)
    assert red > 150
    assert green < 60


def test_mirrored_frames_are_turned_back(tmp_path: Path) -> None:
    with av.open(str(tmp_path / "a.mp4"), "w") as container:
        stream = container.add_stream("libx264", rate=10)
        stream.width, stream.height, stream.pix_fmt = W, H, "yuv420p"
        stream.set_display_rotation(0, hflip=True)
        picture = av.VideoFrame.from_ndarray(shade(90), format="rgb24")
        container.mux(stream.encode(picture))
        container.mux(stream.encode())
    pixels = next(iter(read_video(tmp_path / "a.mp4"))).pixels
    assert pixels[0, -1, 0] > 150
    assert pixels[0, 0, 0] < 150


@pytest.mark.parametrize("kind", ["mp4", "mkv", "avi"])
def test_truncated_file_gives_what_is_there_and_a_complaint(tmp_path: Path, kind: str) -> None:
    path = encode(
        tmp_path / f"a.{kind}", options={"movflags": "faststart"} if kind == "mp4" else {}
    )
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) * 6 // 10])
    found, complaint = read_all(path)
    assert 10 <= len(found) < 35
    assert path.name in complaint
    assert "truncated" in complaint or "damaged" in complaint


def test_damaged_frames_are_left_out_and_named(tmp_path: Path) -> None:
    path = encode(tmp_path / "a.mkv")
    content = bytearray(path.read_bytes())
    for place in np.random.default_rng(1).integers(len(content) // 3, len(content) // 2, 20):
        content[place] ^= 0xFF
    path.write_bytes(bytes(content))
    found, complaint = read_all(path)
    assert 15 < len(found) < 40
    assert found[-1].seconds == pytest.approx(3.9, abs=0.11)
    assert "a.mkv is damaged in" in complaint
    for frame in found[-10:]:
        grey = frame.pixels[H // 2 :, W // 2 :].mean()
        assert abs(grey - (20 + 4 * round(frame.seconds * 10))) < 15


@pytest.mark.parametrize(
    ("content", "words"),
    [(None, "is not a file"), (b"", "no readable video"), (b"no video" * 99, "no readable video")],
)
def test_what_is_no_video_is_named(tmp_path: Path, content: bytes | None, words: str) -> None:
    if content is not None:
        (tmp_path / "a.mp4").write_bytes(content)
    with pytest.raises(DataError, match=f"a.mp4 .*{words}|a.mp4 {words}"):
        next(iter(read_video(tmp_path / "a.mp4")))


def test_play_list_that_calls_itself_a_video_may_not_reach_the_network(tmp_path: Path) -> None:
    asked = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_error(404)

    with serving(Handler) as base:
        text = f"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\n{base}/a.ts\n#EXT-X-ENDLIST\n"
        (tmp_path / "a.mp4").write_text(text)
        with pytest.raises(DataError, match=r"a\.mp4"):
            list(read_video(tmp_path / "a.mp4"))
    assert asked == []


def test_large_frames_are_refused(tmp_path: Path) -> None:
    write_video(tmp_path / "a.mp4", frames(2))
    with pytest.raises(DataError, match="above the limit of 100"):
        list(read_video(tmp_path / "a.mp4", max_pixels=100))


def test_missing_library_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a.mp4").write_bytes(b"")
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(MissingExtraError, match=r"pip install weakseg\[video\]"):
        read_video(tmp_path / "a.mp4")


def test_videos_are_listed_by_name(tmp_path: Path) -> None:
    for name in ("b.mp4", "a/c.MKV", "a.png", ".hidden.mp4"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    assert [path.name for path in videos_in(tmp_path)] == ["c.MKV", "b.mp4"]


def test_password_of_a_camera_is_not_shown() -> None:
    address = "rtsp://me:secret@camera.example:554/live?token=secret"
    assert shown(address) == "rtsp://camera.example:554/live"
    with pytest.raises(DataError) as refusal:
        read_video("tcp://me:secret@127.0.0.1:9/live?token=secret", timeout_seconds=2)
    assert "secret" not in str(refusal.value)
    assert "127.0.0.1:9" in str(refusal.value)


# ---- writing


def test_odd_sizes_and_other_sizes_are_fitted(tmp_path: Path) -> None:
    with VideoWriter(tmp_path / "a.mp4") as writer:
        writer.write(np.full((31, 45, 3), 90, np.uint8), 0.0)
        writer.write(np.full((62, 90, 3), 90, np.uint8), 0.1)
    shapes = [frame.pixels.shape for frame in read_video(tmp_path / "a.mp4")]
    assert shapes == [(32, 46, 3)] * 2


def test_live_video_is_readable_before_it_is_closed(tmp_path: Path) -> None:
    writer = VideoWriter(tmp_path / "a.mp4", is_live=True)
    for frame in frames(300):
        writer.write(frame.pixels, frame.seconds)
    found, _ = read_all(tmp_path / "a.mp4")
    # x264 looks 10 frames ahead, and a group is 30.
    assert len(found) >= 240
    writer.close()


def test_failed_video_leaves_nothing(tmp_path: Path) -> None:
    def broken() -> Iterator[VideoFrame]:
        yield VideoFrame(0, 0.0, shade(9))
        raise DataError("the source broke")

    with pytest.raises(DataError, match="the source broke"):
        write_video(tmp_path / "a.mp4", broken())
    with pytest.raises(ValueError, match="no frames"):
        write_video(tmp_path / "a.mp4", [])
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "file").write_text("")
    with pytest.raises(ArtifactError, match="cannot write"):
        write_video(tmp_path / "file" / "a.mp4", frames(1))


# ---- streams


class serving:
    """Serve on a free port of this machine while the block runs; give the base URL."""

    def __init__(self, handler: type[BaseHTTPRequestHandler]) -> None:
        handler.log_message = lambda *_: None  # type: ignore[method-assign]
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self._server.daemon_threads = True

    def __enter__(self) -> str:
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()


class Camera(BaseHTTPRequestHandler):
    """Motion JPEG; each connection breaks off after `sends` pictures."""

    sends = 30
    connections: ClassVar[list[str]] = []

    def do_GET(self) -> None:
        self.connections.append(self.path)
        self.send_response(200)
        self.send_header("Content-Type", "multipart/x-mixed-replace; boundary=frame")
        self.end_headers()
        for i in range(self.sends):
            _, jpeg = cv2.imencode(".jpg", shade(20 + i))
            head = f"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: {len(jpeg)}\r\n\r\n"
            self.wfile.write(head.encode() + jpeg.tobytes() + b"\r\n")
            threading.Event().wait(0.01)


def test_stream_is_connected_to_again() -> None:
    Camera.connections.clear()
    with serving(Camera) as base:
        stream = read_video(f"{base}/live", timeout_seconds=5)
        found = list(itertools.takewhile(lambda _: len(Camera.connections) < 3, stream))
        stream.close()  # type: ignore[attr-defined]
    assert len(found) > 2
    times = [frame.seconds for frame in found]
    assert times == sorted(times)
    assert times[-1] > 0.4
    assert found[0].pixels.shape == (H, W, 3)


def test_stream_ends_when_it_is_told_to() -> None:
    with serving(Camera) as base:
        seen: list[VideoFrame] = []
        stream = read_video(
            f"{base}/live", timeout_seconds=5, every_seconds=0.1, is_stopped=lambda: len(seen) > 1
        )
        seen.extend(stream)
    assert len(seen) <= 2


def test_whatever_ends_a_stream_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: Any, **__: Any) -> FrameArray:
        raise ValueError("no such format")

    monkeypatch.setattr(streams.Upright, "__call__", broken)
    with serving(Camera) as base:
        end = time.monotonic() + 5
        stream = read_video(
            f"{base}/live", timeout_seconds=5, is_stopped=lambda: time.monotonic() > end
        )
        with pytest.raises(DataError, match=r"127\.0\.0\.1.* cannot be read .*no such format"):
            list(stream)


def test_decoded_frames_do_not_wait_for_the_garbage_collector(tmp_path: Path) -> None:
    video = tmp_path / "a.mp4"
    write_video(video, (VideoFrame(i, i / 30, np.zeros((H, W, 3), np.uint8)) for i in range(30)))
    gc.collect()
    gc.disable()
    try:
        for _ in read_video(video):
            held = sum(type(one) is av.VideoFrame for one in gc.get_objects())
            assert held < 10, "those that a packet gave at once, and the one that was looked at"
    finally:
        gc.enable()


def test_silent_stream_is_given_up() -> None:
    with serving(Camera) as base:
        stream = read_video(f"{base}/live", timeout_seconds=1, patience_seconds=0.3)
        next(stream)
    with pytest.raises(DataError, match="has sent no picture for"):
        list(stream)
