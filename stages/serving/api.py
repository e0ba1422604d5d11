"""Answer HTTP requests with a finished run: one frame in, its mask out.

One frame is segmented at a time; a bounded number of requests waits, and more are told to come
back later. Nothing of a request is kept.
"""

from __future__ import annotations

import asyncio
import base64
import io
import logging
import math
import tempfile
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from PIL import Image

from weakseg import __version__
from weakseg.arrays import FrameArray
from weakseg.checks import check_at_least
from weakseg.data import read_frame
from weakseg.errors import DataError, MissingExtraError
from weakseg.plans import ServePlan
from weakseg.report import overlay
from weakseg.stages.predictor import Prediction, Predictor, load_predictor
from weakseg.stages.serving.ports import listen

try:
    import uvicorn
    from fastapi import FastAPI, File, HTTPException, Query, Request, Response, UploadFile
    from fastapi.responses import JSONResponse
except ImportError as error:
    raise MissingExtraError(
        "weakseg.serve needs FastAPI and uvicorn: pip install 'weakseg[serve]'"
    ) from error

log = logging.getLogger(__name__)

_RETRY_SECONDS = 5
_LEVELS = 255
# Connections that may send at once, beside those that wait.
_UPLOADS = 32


class Wanted(str, Enum):  # noqa: UP042 - FastAPI shows a str's members as choices
    """What a client gets back."""

    json = "json"
    mask = "mask"
    scores = "scores"
    overlay = "overlay"


@dataclass(frozen=True)
class Limits:
    """What a request may ask for.

    Args:
        max_bytes: Largest body, at least 1.
        max_pixels: Largest picture, at least 1.
        queue: Requests that may wait beside the one at work, at least 0.
    """

    max_bytes: int
    max_pixels: int
    queue: int

    def __post_init__(self) -> None:
        """Check the ranges."""
        check_at_least(1, max_bytes=self.max_bytes, max_pixels=self.max_pixels)
        check_at_least(0, queue=self.queue)


def run(plan: ServePlan, config: Mapping[str, Any]) -> None:
    """Serve the run of `plan` until the process is told to stop."""
    limits = Limits(plan.max_bytes, plan.max_pixels, plan.queue)
    predictor = load_predictor(plan.run, cut=plan.cut, tile=plan.tile, hardware=plan.hardware)
    listener = listen(plan.host, plan.port)
    app = make_app(predictor, limits)
    server = uvicorn.Server(
        uvicorn.Config(
            app, log_level="warning", lifespan="off", limit_concurrency=_UPLOADS + limits.queue
        )
    )
    port = listener.getsockname()[1]
    log.info("serving %s at http://%s:%d, its manual at /docs", plan.run, plan.host, port)
    server.run(sockets=[listener])


class Desk:
    """Let one request work and a bounded number wait.

    Args:
        predictor: Called in a thread of its own, one frame at a time.
        queue: Requests that may wait beside the one at work.
    """

    def __init__(self, predictor: Predictor, queue: int) -> None:
        self._predictor = predictor
        self._places = queue + 1
        self._turn = asyncio.Lock()
        self.taken = 0

    @asynccontextmanager
    async def place(self) -> AsyncIterator[None]:
        """Hold a place in the queue.

        Raises:
            HTTPException: 503 if all are taken.
        """
        if self.taken >= self._places:
            raise HTTPException(
                503,
                f"{self.taken} requests wait already: try again later",
                headers={"Retry-After": str(_RETRY_SECONDS)},
            )
        self.taken += 1
        try:
            yield
        finally:
            self.taken -= 1

    async def predict(self, frame: FrameArray, threshold: float | None) -> Prediction:
        """Segment a frame when its turn has come."""
        async with self._turn:
            return await asyncio.to_thread(self._predictor, frame, threshold=threshold)


def make_app(predictor: Predictor, limits: Limits) -> FastAPI:
    """Build the service.

    Args:
        predictor: What segments the frames.
        limits: Of every request.
    """
    app = FastAPI(
        title="weakseg",
        version=__version__,
        description="Send a frame, get the mask of its smoke.",
    )
    desk = Desk(predictor, limits.queue)

    @app.get("/health")
    async def health() -> dict[str, Any]:
        """Say that the service is up, and how many requests it holds."""
        return {"status": "ok", "requests": desk.taken, "places": limits.queue + 1}

    @app.get("/version")
    async def version() -> dict[str, Any]:
        """Say what answers: the software, the run, its network and its threshold."""
        return about(predictor)

    @app.post("/predict", response_model=None)
    async def predict(
        image: Annotated[UploadFile, File(description="A picture: JPEG, PNG, TIFF, WebP")],
        threshold: Annotated[
            float | None, Query(ge=0, le=1, description="Instead of the run's own")
        ] = None,
        wanted: Annotated[Wanted, Query(description="What comes back")] = Wanted.json,
    ) -> Response:
        """Segment one picture."""
        async with desk.place():
            started = time.monotonic()
            frame = await asyncio.to_thread(decode, await image.read(), limits.max_pixels)
            prediction = await desk.predict(frame, threshold)
            return await asyncio.to_thread(
                answer, wanted, frame, prediction, time.monotonic() - started
            )

    @app.middleware("http")
    async def refuse_large_bodies(request: Request, call_next: Any) -> Response:
        """Refuse what is too large by what it says of itself, before reading it."""
        if request.method == "POST":
            length = request.headers.get("content-length")
            # Where a body comes in chunks, the server takes them whatever length is said.
            is_chunked = "transfer-encoding" in request.headers
            if is_chunked or length is None or not length.isdigit():
                return _refused(411, "send the body whole, with its Content-Length")
            if int(length) > limits.max_bytes:
                said = f"{length} bytes, but at most {limits.max_bytes} are taken"
                return _refused(413, f"the body has {said}: send a smaller picture")
        return await call_next(request)  # type: ignore[no-any-return]

    return app


def decode(content: bytes, max_pixels: int) -> FrameArray:
    """Read a picture by the one reader of all stages.

    Raises:
        HTTPException: 422 if it is none, is damaged or has too many pixels.
    """
    with tempfile.TemporaryDirectory(prefix="weakseg-") as folder:
        path = Path(folder) / "image"
        path.write_bytes(content)
        try:
            return read_frame(path, max_pixels=max_pixels)
        except DataError as error:
            raise HTTPException(422, str(error).replace(str(path), "the image")) from error


def about(predictor: Predictor) -> dict[str, Any]:
    """Say what answers."""
    return {
        "weakseg": __version__,
        "run": predictor.name,
        "fingerprint": predictor.fingerprint,
        "made_by": predictor.made_by,
        "threshold": predictor.threshold,
        "inference": predictor.inference.settings(),
        "device": str(predictor.device),
    }


def answer(wanted: Wanted, frame: FrameArray, prediction: Prediction, seconds: float) -> Response:
    """Pack a prediction as the client wants it: figures and mask in JSON, or one PNG."""
    if wanted is Wanted.mask:
        return _png(prediction.mask * np.uint8(_LEVELS))
    if wanted is Wanted.scores:
        return _png(np.rint(prediction.scores * _LEVELS).astype(np.uint8))
    if wanted is Wanted.overlay:
        return _png(overlay(frame, prediction.mask))
    height, width = prediction.scores.shape
    mask = _packed(prediction.mask * np.uint8(_LEVELS))
    return JSONResponse(
        {
            "width": width,
            "height": height,
            "smoke_probability": round(prediction.probability, 6),
            "smoke_share": round(prediction.share, 6),
            "threshold": prediction.threshold,
            "seconds": round(seconds, 3) if math.isfinite(seconds) else None,
            "mask_png_base64": base64.b64encode(mask).decode("ascii"),
        }
    )


def _packed(pixels: FrameArray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, format="PNG")
    return buffer.getvalue()


def _png(pixels: FrameArray) -> Response:
    return Response(_packed(pixels), media_type="image/png")


def _refused(status: int, words: str) -> JSONResponse:
    return JSONResponse({"detail": words}, status_code=status)
