"""Type what the commands that serve a model are asked to do."""

from __future__ import annotations

from dataclasses import dataclass, field

from weakseg.plans.common import MISSING, HardwarePlan


@dataclass
class ServePlan:
    """Answer HTTP requests with a finished stage-3 run.

    Args:
        run: The folder of a finished stage-3 run.
        host: Address to listen on; 0.0.0.0 is every network of this machine.
        port: To listen on, in [0, 65535]; 0 takes a free one.
        cut: Score from which a pixel is smoke, in [0, 1], instead of the run's own threshold.
        tile: Side in pixels of the tiles in which larger frames are read, a multiple of 32.
        max_bytes: Largest body of a request.
        max_pixels: Largest picture.
        queue: Requests that may wait beside the one at work, at least 0; more are told to come
            back later.
        upload_seconds: In which a request's body must have arrived, > 0.
    """

    run: str = MISSING
    host: str = "127.0.0.1"
    port: int = 8000
    cut: float | None = None
    tile: int | None = None
    max_bytes: int = 20_000_000
    max_pixels: int = 50_000_000
    queue: int = 8
    upload_seconds: float = 60.0
    hardware: HardwarePlan = field(default_factory=HardwarePlan)


@dataclass
class AppPlan:
    """Show a finished stage-3 run in the browser, and correct its masks by hand.

    Args:
        run: The folder of a finished stage-3 run.
        other: Another one, to look at beside the first.
        labels: Folder that corrected masks are saved into, with an index of them.
        host: Address to listen on; 0.0.0.0 is every network of this machine.
        port: To listen on, in [0, 65535]; 0 takes a free one.
        max_bytes: Largest picture or video that is taken.
        max_pixels: Largest picture.
        max_seconds: Of a video that are looked at, > 0.
        frames_per_second: Of a video that are looked at, > 0.
    """

    run: str = MISSING
    other: str | None = None
    labels: str = "corrected"
    host: str = "127.0.0.1"
    port: int = 7860
    max_bytes: int = 200_000_000
    max_pixels: int = 50_000_000
    max_seconds: float = 60.0
    frames_per_second: float = 1.0
    hardware: HardwarePlan = field(default_factory=HardwarePlan)
