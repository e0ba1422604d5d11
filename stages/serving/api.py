"""Answer HTTP requests with a finished run: one frame in, its mask out.

One frame is segmented at a time; a bounded number of requests waits or sends its picture, and more
are told to come back later. Nothing of a request is kept.
"""

from __future__ import annotations

import asyncio
import logging
import tempfile
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from weakseg import __version__
from weakseg.arrays import FrameArray
from weakseg.checks import check_at_least, check_positive
from weakseg.data import read_frame
from weakseg.errors import DataError, MissingExtraError
from weakseg.plans import ServePlan
from weakseg.stages.predictor import Prediction, Predictor, load_predictor
from weakseg.stages.serving.answers import JSON, PNG, Wanted, answer
from weakseg.stages.serving.manual import manual_page
from weakseg.stages.serving.ports import listen

try:
    import uvicorn
    from fastapi import FastAPI, File, HTTPException, Query, Request, Response, UploadFile
    from fastapi.responses import HTMLResponse, JSONResponse
    from starlette.requests import ClientDisconnect
except ImportError as error:
    raise MissingExtraError(
        "weakseg.serve needs FastAPI and uvicorn: pip install 'weakseg[serve]'"
    ) from error

log = logging.getLogger(__name__)

_RETRY_SECONDS = 5
# Pictures that may be on their way at once, beside those that wait.
_UPLOADS = 32
# Open at once. Beyond it uvicorn hangs up itself, with a bare 503 whatever is asked.
_CONNECTIONS = 512


def _told(description: str, *kinds: str) -> dict[str, Any]:
    return {"description": description, "content": {kind: {} for kind in kinds}}


_ANSWERS: dict[int | str, dict[str, Any]] = {
    200: _told("The figures and the mask, or one picture, as wanted", JSON, PNG),
    408: _told("The body did not arrive in time", JSON),
    411: _told("The body comes in chunks, or does not say its length", JSON),
    413: _told("The body is too large", JSON),
    422: _told("No picture, a damaged one, one of too many pixels, or a wrong parameter", JSON),
    503: _told("Too many requests are there already: Retry-After says when to come back", JSON),
}


@dataclass(frozen=True)
class Limits:
    """What a request may ask for.

    Args:
        max_bytes: Largest body, at least 1.
        max_pixels: Largest picture, at least 1.
        queue: Requests that may wait beside the one at work, at least 0.
        upload_seconds: In which a body must have arrived, > 0.
    """

    max_bytes: int
    max_pixels: int
    queue: int
    upload_seconds: float

    def __post_init__(self) -> None:
        """Check the ranges."""
        check_at_least(1, max_bytes=self.max_bytes, max_pixels=self.max_pixels)
        check_at_least(0, queue=self.queue)
        check_positive(upload_seconds=self.upload_seconds)


def run(plan: ServePlan, config: Mapping[str, Any]) -> None:
    """Serve the run of `plan` until the process is told to stop."""
    limits = Limits(plan.max_bytes, plan.max_pixels, plan.queue, plan.upload_seconds)
    predictor = load_predictor(plan.run, cut=plan.cut, tile=plan.tile, hardware=plan.hardware)
    listener = listen(plan.host, plan.port)
    app = make_app(predictor, limits)
    port = listener.getsockname()[1]
    log.info("serving %s at http://%s:%d, its manual at /docs", plan.run, plan.host, port)
    make_server(app).run(sockets=[listener])


def make_server(app: FastAPI) -> uvicorn.Server:
    """Build what serves the service."""
    # uvicorn counts the connection that asks, too.
    return uvicorn.Server(
        uvicorn.Config(app, log_level="warning", lifespan="off", limit_concurrency=_CONNECTIONS + 1)
    )


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
        self._arriving = 0

    @asynccontextmanager
    async def arrival(self) -> AsyncIterator[None]:
        """Let a request send its body, until it is answered.

        Raises:
            HTTPException: 503 if too many do.
        """
        if self._arriving >= self._places + _UPLOADS:
            raise _busy(f"{self._arriving} requests are on their way already")
        self._arriving += 1
        try:
            yield
        finally:
            self._arriving -= 1

    @asynccontextmanager
    async def place(self) -> AsyncIterator[None]:
        """Hold a place in the queue.

        Raises:
            HTTPException: 503 if all are taken.
        """
        if self.taken >= self._places:
            raise _busy(f"{self.taken} requests wait already")
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
        # FastAPI's own pages run scripts of other hosts.
        docs_url=None,
        redoc_url=None,
    )
    desk = Desk(predictor, limits.queue)

    @app.get("/health", response_description="It is up")
    async def health() -> dict[str, Any]:
        """Say that the service is up, and how many requests it holds."""
        return {"status": "ok", "requests": desk.taken, "places": limits.queue + 1}

    @app.get("/version", response_description="What answers")
    async def version() -> dict[str, Any]:
        """Say what answers: the software, the run, its network and its threshold."""
        return about(predictor)

    @app.get("/docs", include_in_schema=False)
    async def docs(request: Request) -> HTMLResponse:
        """Show the manual."""
        return HTMLResponse(manual_page(app.openapi(), address=str(request.base_url)))

    @app.post("/predict", response_model=None, responses=_ANSWERS)
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
            content = await image.read()
            frame = await asyncio.to_thread(decode, content, predictor, limits.max_pixels)
            prediction = await desk.predict(frame, threshold)
            seconds = time.monotonic() - started
            packed, kind = await asyncio.to_thread(answer, wanted, frame, prediction, seconds)
            return Response(packed, media_type=kind)

    @app.middleware("http")
    async def refuse_unread(request: Request, call_next: Any) -> Response:
        """Refuse what is too large by what it says of itself, too much, or too slow."""
        answered: Response
        if request.method != "POST":
            answered = await call_next(request)
            return answered
        try:
            check_body(request, limits.max_bytes)
            async with desk.arrival():
                await receive_body(request, limits.upload_seconds)
                answered = await call_next(request)
        except HTTPException as error:
            refused = {"detail": error.detail}
            answered = JSONResponse(refused, status_code=error.status_code, headers=error.headers)
        return answered

    return app


def check_body(request: Request, max_bytes: int) -> None:
    """Refuse a body by what its request says of it.

    Raises:
        HTTPException: 411 if its length is open, 413 if it is too large.
    """
    length = request.headers.get("content-length")
    # Where a body comes in chunks, the server takes them whatever length is said.
    is_chunked = "transfer-encoding" in request.headers
    if is_chunked or length is None or not length.isdigit():
        raise HTTPException(411, "send the body whole, with its Content-Length")
    if int(length) > max_bytes:
        said = f"{length} bytes, but at most {max_bytes} are taken"
        raise HTTPException(413, f"the body has {said}: send a smaller picture")


async def receive_body(request: Request, seconds: float) -> None:
    """Wait for a body; who stops sending would keep others out for ever.

    Raises:
        HTTPException: 408 if it is not there after so many seconds, 400 if it breaks off.
    """
    try:
        async with asyncio.timeout(seconds):
            await request.body()
    except ClientDisconnect:
        raise HTTPException(400, "the body breaks off") from None
    except TimeoutError:
        raise HTTPException(
            408,
            f"the body did not arrive within {seconds:g} s (upload_seconds): send it again",
            headers={"Connection": "close"},
        ) from None


def decode(content: bytes, predictor: Predictor, max_pixels: int) -> FrameArray:
    """Read a picture by the one reader of all stages.

    Raises:
        HTTPException: 422 if it is none, is damaged or has too many pixels, as it is or where it
            is stretched to what the network reads.
    """
    with tempfile.TemporaryDirectory(prefix="weakseg-") as folder:
        path = Path(folder) / "image"
        path.write_bytes(content)
        try:
            frame = read_frame(path, max_pixels=max_pixels)
            predictor.check_size(frame, name="the image", max_pixels=max_pixels)
            return frame
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


def _busy(words: str) -> HTTPException:
    headers = {"Retry-After": str(_RETRY_SECONDS)}
    return HTTPException(503, f"{words}: try again later", headers=headers)
