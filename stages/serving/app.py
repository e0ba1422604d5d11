"""Show a finished run in the browser: pictures, videos, two runs side by side, masks to correct."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from weakseg.arrays import FrameArray, Mask
from weakseg.checks import check_at_least, check_positive
from weakseg.data import read_frame
from weakseg.errors import MissingExtraError, WeaksegError
from weakseg.plans import AppPlan
from weakseg.report import overlay
from weakseg.stages.predictor import Prediction, Predictor, load_predictor
from weakseg.stages.serving.corrections import LabelFolder
from weakseg.stages.serving.ports import listen
from weakseg.stages.serving.viewing import (
    ADD,
    TAKE_AWAY,
    Moment,
    pictures_of,
    repainted,
    watch,
    words_of,
)

# Before gradio reads it: nothing is sent anywhere.
os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
try:
    import gradio as gr
except ImportError as error:
    raise MissingExtraError("weakseg.app needs gradio: pip install 'weakseg[app]'") from error

log = logging.getLogger(__name__)
logging.getLogger("httpx").setLevel(logging.WARNING)  # of gradio, asking itself

_HEIGHT = 340
_SHOWN_MOMENTS = 12
# How often gradio looks for files to delete, and how old those are that were sent or drawn.
_SWEEP_SECONDS, _KEPT_SECONDS = 300, 3600


def run(plan: AppPlan, config: Mapping[str, Any]) -> None:
    """Serve the app of `plan` until the process is told to stop."""
    check_positive(max_seconds=plan.max_seconds, frames_per_second=plan.frames_per_second)
    check_at_least(1, max_bytes=plan.max_bytes, max_pixels=plan.max_pixels)
    predictors = {Path(plan.run).name: load_predictor(plan.run, hardware=plan.hardware)}
    if plan.other is not None:
        name = Path(plan.other).name
        name = f"{name} (other)" if name in predictors else name
        predictors[name] = load_predictor(plan.other, hardware=plan.hardware)
    with listen(plan.host, plan.port) as found:
        port = found.getsockname()[1]
    log.info("the app of %s is at http://%s:%d", plan.run, plan.host, port)
    app = make_app(predictors, LabelFolder(plan.labels), plan)
    launch(app, plan.host, port, max_bytes=plan.max_bytes, wait=True)


def launch(app: gr.Blocks, host: str, port: int, *, max_bytes: int, wait: bool) -> None:
    """Start the server of an app; without telling or fetching anything elsewhere.

    Args:
        app: What is served.
        host: Address to listen on.
        port: To listen on.
        max_bytes: Largest file that may be sent, at least 1.
        wait: Whether to stay until the process is told to stop.
    """
    app.launch(
        server_name=host,
        server_port=port,
        share=False,
        quiet=True,
        max_file_size=max_bytes,
        show_error=True,
        prevent_thread_lock=not wait,
        footer_links=["api"],
        theme=gr.themes.Base(
            font=["system-ui", "sans-serif"], font_mono=["ui-monospace", "monospace"]
        ),
    )


def make_app(predictors: Mapping[str, Predictor], labels: LabelFolder, plan: AppPlan) -> gr.Blocks:
    """Build the app.

    Args:
        predictors: One or two runs, by name.
        labels: Where corrected masks go.
        plan: Limits of pictures and videos.
    """
    first = next(iter(predictors.values()))
    with gr.Blocks(
        title="weakseg", analytics_enabled=False, delete_cache=(_SWEEP_SECONDS, _KEPT_SECONDS)
    ) as app:
        gr.Markdown(f"# weakseg\nRuns: {', '.join(predictors)}. Nothing leaves this machine.")
        threshold = gr.Slider(
            0,
            1,
            value=first.threshold,
            step=0.01,
            label="Threshold: score from which a pixel is smoke",
        )
        with gr.Tab("Picture"):
            _picture_tab(predictors, threshold, labels, plan)
        with gr.Tab("Video"):
            _video_tab(first, threshold, plan)
    built: gr.Blocks = app
    return built


def _picture_tab(
    predictors: Mapping[str, Predictor], threshold: gr.Slider, labels: LabelFolder, plan: AppPlan
) -> None:
    """Lay out a picture, what each run says of it, and an editor for the first run's mask."""
    state = gr.State(None)
    # Without a mode, gradio hands over the very file: it would clip 16 bits, and write others anew.
    picture = gr.Image(
        label="Drop a picture here", type="filepath", image_mode=None, height=_HEIGHT
    )

    def drawn(label: str) -> gr.Image:
        # By default what is shown, and saved from there, loses some of its levels.
        return gr.Image(label=label, interactive=False, height=_HEIGHT, format="png")

    shown: list[Any] = []
    for name in predictors:
        words = gr.Markdown(f"**{name}**")
        with gr.Row():
            shown += [
                words,
                drawn(f"{name}: mask"),
                drawn(f"{name}: scores"),
            ]

    def look(path: str | None, cut: float) -> list[Any]:
        if path is None:
            return [None, *_nothing(predictors)]
        frame = _explained(lambda: _read(path, predictors, plan.max_pixels))
        scores = {name: one(frame, threshold=cut).scores for name, one in predictors.items()}
        return [(frame, scores), *_drawn(frame, scores, cut)]

    def cut_again(kept: tuple[FrameArray, dict[str, Any]] | None, cut: float) -> list[Any]:
        return _nothing(predictors) if kept is None else _drawn(*kept, cut)

    picture.change(look, [picture, threshold], [state, *shown], api_name="look")
    # The networks have spoken: only the cut is made anew.
    threshold.release(cut_again, [state, threshold], shown, api_visibility="private")
    with gr.Accordion("Correct the mask and keep it as a label", open=False):
        _correction(next(iter(predictors)), state, threshold, labels)


def _correction(name: str, state: gr.State, threshold: gr.Slider, labels: LabelFolder) -> None:
    gr.Markdown(
        "Paint missing smoke in red, and what is no smoke in blue; the eraser takes strokes back. "
        f"Saved into `{labels.folder}`."
    )
    base = gr.State(None)
    take = gr.Button(f"Take the mask of {name}")
    editor = gr.ImageEditor(
        label="Mask",
        type="numpy",
        image_mode="RGBA",
        sources=(),
        transforms=(),
        brush=gr.Brush(
            default_size=12, colors=[ADD, TAKE_AWAY], default_color=ADD, color_mode="fixed"
        ),
        height=600,
    )
    save = gr.Button("Save as a label", variant="primary")
    told = gr.Markdown()

    def begin(kept: tuple[FrameArray, dict[str, Any]] | None, cut: float) -> tuple[Any, Any]:
        if kept is None:
            raise gr.Error("Drop a picture first.")
        frame, scores = kept
        prediction = Prediction(scores[name], cut)
        drawn = {"background": overlay(frame, prediction.mask), "layers": [], "composite": None}
        return drawn, (frame, prediction.mask)

    def keep(taken: tuple[FrameArray, Mask] | None, painted: dict[str, Any] | None) -> str:
        if taken is None or painted is None:
            raise gr.Error("Take the mask of a picture first.")
        frame, mask = taken
        corrected = repainted(mask, painted.get("layers") or [])
        saved = _explained(lambda: labels.save(frame, corrected, source="app"))
        return f"Saved `{saved.mask}`; {saved.count} labels in `{labels.folder}/index.csv`."

    take.click(begin, [state, threshold], [editor, base], api_visibility="private")
    save.click(keep, [base, editor], told, api_visibility="private")


def _video_tab(predictor: Predictor, threshold: gr.Slider, plan: AppPlan) -> None:
    """Lay out a video, its smoke over time and its moments of most smoke."""
    import pandas as pd  # noqa: PLC0415 - gradio brings it along, nothing else needs it

    video = gr.Video(label=f"Drop a short video here: {plan.max_seconds:g} s are looked at")
    go = gr.Button("Segment", variant="primary")
    told = gr.Markdown()
    plot = gr.LinePlot(
        x="seconds", y="smoke share", label="Smoke over time, share of the frame", height=260
    )
    gallery = gr.Gallery(label="Moments of most smoke", columns=4, height="auto")

    def segment(
        path: str | None,
        cut: float,
        progress: gr.Progress = gr.Progress(),  # noqa: B008
    ) -> tuple[str, Any, list[Any]]:
        if path is None:
            raise gr.Error("Drop a video first.")

        def told_of(seconds: float) -> None:
            progress(min(1.0, seconds / plan.max_seconds), desc=f"{seconds:.0f} s of the video")

        rows: list[dict[str, float]] = []
        most: list[Moment] = []
        moments = watch(
            predictor,
            path,
            frames_per_second=plan.frames_per_second,
            max_seconds=plan.max_seconds,
            max_pixels=plan.max_pixels,
            threshold=cut,
            on_progress=told_of,
        )
        warning = ""
        try:
            for one in moments:
                rows.append({"seconds": one.seconds, "smoke share": one.share})
                most = sorted([*most, one], key=lambda m: -m.share)[:_SHOWN_MOMENTS]
        except WeaksegError as error:
            if not rows:
                raise gr.Error(str(error)) from error
            warning = f" {error}"
        smoky = sum(row["smoke share"] > 0 for row in rows)
        words = f"{len(rows)} frames looked at, {smoky} with smoke.{warning}"
        pictures = [(one.picture, f"{one.seconds:.1f} s: {one.share:.2%}") for one in most]
        return words, pd.DataFrame(rows, columns=["seconds", "smoke share"]), pictures

    go.click(segment, [video, threshold], [told, plot, gallery], api_name="segment")


def _read(path: str, predictors: Mapping[str, Predictor], max_pixels: int) -> FrameArray:
    """Read a picture that none of the networks needs too much memory for."""
    frame = read_frame(path, max_pixels=max_pixels)
    for predictor in predictors.values():
        predictor.check_size(frame, name=Path(path).name, max_pixels=max_pixels)
    return frame


def _drawn(frame: FrameArray, scores: Mapping[str, Any], cut: float) -> list[Any]:
    """List words, mask and scores of each run, as the page holds them."""
    drawn: list[Any] = []
    for name, one in scores.items():
        prediction = Prediction(one, cut)
        drawn += [words_of(name, prediction), *pictures_of(frame, prediction)]
    return drawn


def _nothing(predictors: Mapping[str, Predictor]) -> list[Any]:
    return [value for name in predictors for value in (f"**{name}**", None, None)]


def _explained(call: Callable[[], Any]) -> Any:
    """Call, and show a foreseen failure in the page."""
    try:
        return call()
    except WeaksegError as error:
        raise gr.Error(str(error)) from error
