"""Finished runs made by hand: a little data set, and what a stage might have made of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch

from weakseg.arrays import Mask, ScoreMap
from weakseg.artifacts import RunFolder, write_frames, write_json, write_mask, write_scores
from weakseg.data import Frame, IndexSource
from weakseg.models import Segmenter, TiledInference, save_weights
from weakseg.refine import ThresholdChoice
from weakseg.stages.scores import frame_score

HEIGHT, WIDTH = 40, 64
COLUMNS = ("path", "label", "scene", "split", "sequence", "camera", "mask_path")

ScoresOf = Callable[[Frame, Mask], ScoreMap]


def write_data(
    folder: Path,
    *,
    scenes: int = 6,
    per_scene: int = 3,
    split: str = "test",
    size: tuple[int, int] = (HEIGHT, WIDTH),
    name: str = "frame",
) -> Path:
    """Write frames, masks and `index.csv`: two scenes of three show a plume, growing and opaque.

    Scenes lie in one sequence each, two scenes belong to one camera.
    """
    folder.mkdir(parents=True, exist_ok=True)
    lines = [",".join(COLUMNS)]
    for scene in range(scenes):
        rng = np.random.default_rng((scene, size[0]))
        ground = rng.uniform(40, 120, size=3)
        label = int(scene % 3 != 2)
        for k in range(per_scene):
            mask = np.zeros(size, np.uint8)
            if label:
                cv2.circle(mask, (20 + 2 * k, 18), 3 + scene + k, 1, -1)
            opacity = (0.1 + 0.15 * scene) * mask[..., None]
            frame = (1 - opacity) * ground + opacity * 230 + rng.normal(0, 1, (*size, 3))
            stem = f"{name}{scene}_{k}"
            pixels = np.clip(frame, 0, 255).astype(np.uint8)
            cv2.imwrite(str(folder / f"{stem}.png"), pixels[..., ::-1].copy())
            cv2.imwrite(str(folder / f"{stem}_mask.png"), 255 * mask)
            cells = (f"{stem}.png", label, f"s{scene}", split, f"film{scene}", f"cam{scene // 2}")
            lines.append(",".join(map(str, (*cells, f"{stem}_mask.png"))))
    (folder / "index.csv").write_text("\n".join(lines) + "\n")
    return folder / "index.csv"


def truth_of(frame: Frame) -> Mask:
    """Read a frame's mask."""
    grey = cv2.imread(str(frame.path.with_name(f"{frame.path.stem}_mask.png")), 0)
    return (grey > 0).astype(np.uint8)


def shifted(pixels: int, *, seed: int = 0) -> ScoresOf:
    """Give scores of a plume that lies beside the truth, with noise below the threshold."""

    def scores(frame: Frame, truth: Mask) -> ScoreMap:
        noise = np.random.default_rng((seed, len(frame.id))).random(truth.shape) * 0.3
        return (0.1 + 0.55 * np.roll(truth, pixels, axis=1) + noise).astype(np.float32)

    return scores


def finish_run(
    folder: Path,
    kind: str,
    index: Path,
    scores_of: ScoresOf,
    *,
    seed: int = 0,
    threshold: float = 0.5,
    settings: Mapping[str, Any] | None = None,
    source: IndexSource | None = None,
) -> Path:
    """Write a finished stage-2 or stage-3 run with the scores given."""
    source = source or IndexSource(str(index))
    frames = source.frames()
    with RunFolder.open(
        folder,
        kind=kind,
        config={"seed": seed, "output": str(folder)},
        settings={"seed": seed, "name": folder.name, **(settings or {})},
        inputs={"frames": "of-the-test"},
        data=source.settings(),
    ) as run:
        write_frames(run.frames_csv, [_row(run, kind, frame, scores_of) for frame in frames])
        choice = ThresholdChoice(threshold, threshold, threshold, "fixed", {})
        write_json(folder / "threshold.json", choice.to_dict())
        if kind == "stage3":
            write_segmenter(run, folder)
        run.finish({"threshold": threshold})
    return folder


def write_segmenter(run: RunFolder, folder: Path) -> None:
    """Write a tiny segmenter with weights of a fixed seed."""
    torch.manual_seed(0)
    model = Segmenter(architecture="unet", encoder="tu-test_efficientnet", encoder_weights=None)
    write_json(folder / "segmenter.json", {"class": "Segmenter", "settings": model.settings()})
    write_json(folder / "inference.json", TiledInference(image_size=64, flip=False).settings())
    run.checkpoints.mkdir(exist_ok=True)
    save_weights(run.checkpoints / "best.safetensors", model)


def _row(run: RunFolder, kind: str, frame: Frame, scores_of: ScoresOf) -> dict[str, Any]:
    scores = scores_of(frame, truth_of(frame))
    write_scores(run.scores / f"{frame.id}.png", scores)
    if kind == "stage2":
        write_mask(run.masks / f"{frame.id}.png", (scores >= 0.5).astype(np.uint8))
    return {
        "id": frame.id,
        "path": str(frame.path),
        "label": frame.label,
        "scene": frame.scene,
        "split": frame.split,
        "sequence": frame.sequence,
        "probability": f"{frame_score(scores):.6f}",
    }
