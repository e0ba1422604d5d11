"""Measure whether memory stays flat while a video is segmented.

`python benchmarks/video_memory.py` makes a minute of 1920 x 1280 at 30 frames a second, segments
every frame of it with a network of one layer, so that what is measured is all that surrounds a
network, and writes its overlays. With a run's own network: `--run RUN --every-seconds 1`.
"""

from __future__ import annotations

import argparse
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from bench.figures import table
from bench.frames import draw_frame
from bench.memory import _status_bytes
from torch import Tensor, nn

from weakseg.data.video import VideoFrame, write_video
from weakseg.models import TiledInference
from weakseg.plans import PredictPlan
from weakseg.stages.prediction.alarms import AlarmList
from weakseg.stages.prediction.video import VideoWork, predict_video
from weakseg.stages.predictor import Predictor, load_predictor
from weakseg.training import StopFlag

RATE = 30


class OneLayer(nn.Module):
    """What is bright is smoke."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(20.0))

    def forward(self, images: Tensor) -> Tensor:
        smoke = self.scale * (images.mean(dim=1, keepdim=True) - 0.7)
        return torch.cat([torch.zeros_like(smoke), smoke], dim=1)


def footage(frames: int, width: int, height: int) -> Iterator[VideoFrame]:
    """A drawn frame that slowly moves sideways."""
    drawn = draw_frame(0, (height, width))
    for i in range(frames):
        yield VideoFrame(i, i / RATE, np.roll(drawn, 2 * (i // 10), axis=1))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--width", type=int, default=1920)
    parser.add_argument("--height", type=int, default=1280)
    parser.add_argument("--every-seconds", type=float)
    parser.add_argument("--run", help="a finished stage-3 run")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        video = Path(folder) / "a.mp4"
        frames = round(options.seconds * RATE)
        write_video(video, footage(frames, options.width, options.height))
        print(f"{frames} frames of {options.width} x {options.height}", flush=True)
        plan = PredictPlan(
            run=options.run or "none",
            source=str(video),
            output=f"{folder}/out",
            every_seconds=options.every_seconds,
            video=True,
        )
        if options.run:
            predictor = load_predictor(options.run)
        else:
            predictor = Predictor(OneLayer(), TiledInference(image_size=512, flip=False), 0.5, "")
        output = Path(plan.output)
        work = VideoWork(plan, predictor, output, AlarmList(output), StopFlag(), is_same=False)
        samples, is_over = [], threading.Event()

        def sample() -> None:
            rows = output / "a.mp4" / "predictions.jsonl"
            while not is_over.wait(0.5):
                done = rows.read_bytes().count(b"\n") if rows.exists() else 0
                samples.append((time.monotonic(), done, _status_bytes("VmRSS") or 0))

        watcher = threading.Thread(target=sample)
        watcher.start()
        predict_video(video, "a.mp4", work)
        is_over.set()
        watcher.join()
    picked = samples[:: max(1, len(samples) // 20)]
    start = samples[0][0]
    rows = [[f"{t - start:.0f} s", str(done), f"{rss / 1e6:.0f}"] for t, done, rss in picked]
    print(table("Resident memory", ["time", "frames done", "MB"], rows))


if __name__ == "__main__":
    main()
