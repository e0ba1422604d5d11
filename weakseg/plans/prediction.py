"""Type what is asked of a trained segmenter: to segment new frames, to be exported."""

from __future__ import annotations

from dataclasses import dataclass, field

from weakseg.checks import check_at_least, check_in_unit, check_positive
from weakseg.plans.common import MISSING, HardwarePlan


@dataclass
class SmoothingPlan:
    """How the scores of a video are averaged over time; pictures are left as they are.

    Args:
        seconds: Time constant of an exponential average of each pixel's score, at least 0: what
            was seen so long ago weighs 1/e. 0 switches it off.
    """

    seconds: float = 1.0

    def __post_init__(self) -> None:
        """Check the range, naming the setting."""
        check_at_least(0, **{"smoothing.seconds": self.seconds})


@dataclass
class AlarmPlan:
    """When smoke in a video is an alarm, and when it is over.

    Args:
        on_share: Share of the frame in smoke from which an alarm may begin, in [0, 1].
        off_share: Share below which it may end, in [0, 1], at most `on_share`.
        min_seconds: How long the share must stay at `on_share` or above, at least 0.
        hold_seconds: How long it must stay below `off_share`, at least 0.
        gap_seconds: A longer time without a frame ends what was going on, > 0.
    """

    on_share: float = 0.003
    off_share: float = 0.001
    min_seconds: float = 2.0
    hold_seconds: float = 5.0
    gap_seconds: float = 60.0

    def __post_init__(self) -> None:
        """Check the ranges, naming the settings."""
        shares = {"alarm.on_share": self.on_share, "alarm.off_share": self.off_share}
        check_in_unit(**shares)
        lengths = {"alarm.min_seconds": self.min_seconds, "alarm.hold_seconds": self.hold_seconds}
        check_at_least(0, **lengths)
        check_positive(**{"alarm.gap_seconds": self.gap_seconds})
        if self.off_share > self.on_share:
            raise ValueError(
                f"alarm.off_share must be at most alarm.on_share ({self.on_share:g}), got "
                f"{self.off_share:g}: an alarm would end as it begins"
            )


@dataclass
class StreamPlan:
    """How a camera stream is listened to.

    Args:
        timeout_seconds: Longest wait for the camera's answer or next frame, > 0.
        patience_seconds: How long to try to connect again before giving up, at least 0.
    """

    timeout_seconds: float = 20.0
    patience_seconds: float = 600.0

    def __post_init__(self) -> None:
        """Check the ranges, naming the settings."""
        check_positive(**{"stream.timeout_seconds": self.timeout_seconds})
        check_at_least(0, **{"stream.patience_seconds": self.patience_seconds})


@dataclass
class PredictPlan:
    """Segment new frames with a finished stage-3 run.

    Args:
        source: A picture, a video, a folder of them, or the URL of a camera stream.
        cut: Score from which a pixel is smoke, instead of the run's own threshold. (Hydra takes
            the word `threshold` for the group of that name.)
        tile: Side of the tiles in which larger frames are read, instead of the run's own.
        overlap: Share of its side by which a tile overlaps the next, instead of one half.
        flip: Whether to read each frame mirrored too, instead of the run's own choice.
        every_seconds: Read a frame of a video every so many seconds; None reads all.
        frame_step: Read every so many frames of a video, at least 1.
        max_seconds: Stop a video or stream after so many seconds, > 0; None reads to the end.
        pictures: Write a mask, soft scores and an overlay per frame; None writes them of pictures
            and not of videos.
        video: Write the overlays of each video or stream as a video.
    """

    run: str = MISSING
    source: str = MISSING
    output: str = MISSING
    overwrite: bool = False
    cut: float | None = None
    tile: int | None = None
    overlap: float | None = None
    flip: bool | None = None
    max_pixels: int = 100_000_000
    every_seconds: float | None = None
    frame_step: int = 1
    max_seconds: float | None = None
    pictures: bool | None = None
    video: bool = False
    smoothing: SmoothingPlan = field(default_factory=SmoothingPlan)
    alarm: AlarmPlan = field(default_factory=AlarmPlan)
    stream: StreamPlan = field(default_factory=StreamPlan)
    hardware: HardwarePlan = field(default_factory=HardwarePlan)

    def __post_init__(self) -> None:
        """Check what no component checks."""
        check_at_least(1, frame_step=self.frame_step)
        for name in ("every_seconds", "max_seconds"):
            value = getattr(self, name)
            if value is not None:
                check_positive(**{name: value})
        if self.every_seconds is not None and self.frame_step != 1:
            raise ValueError("give every_seconds or frame_step, not both")
        if self.cut is not None:
            check_in_unit(cut=self.cut)


@dataclass
class ExportPlan:
    """Export the segmenter of a finished stage-3 run as ONNX.

    Args:
        output: The file; ends in `.onnx`.
        tolerance: Largest difference of a probability between ONNX Runtime and torch, > 0.
        sizes: Pictures in the batch, height and width: where the two are compared.
    """

    run: str = MISSING
    output: str = MISSING
    tolerance: float = 1e-4
    sizes: list[list[int]] = field(default_factory=lambda: [[1, 64, 64]])
    hardware: HardwarePlan = field(default_factory=HardwarePlan)

    def __post_init__(self) -> None:
        """Check what no component checks."""
        check_positive(tolerance=self.tolerance)
        for size in self.sizes:
            if len(size) != 3 or size[0] < 1 or min(size[1:]) < 32:
                raise ValueError(
                    f"sizes must be lists of batch (1 or more), height and width (32 or more), "
                    f"got {size}"
                )
