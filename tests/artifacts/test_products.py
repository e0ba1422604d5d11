"""CAMs, masks, scores and frames come back as they were written, from the same bytes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from weakseg.artifacts import (
    ArtifactError,
    read_cam,
    read_frames,
    read_mask_ids,
    read_scores,
    write_cam,
    write_frames,
    write_mask,
    write_scores,
)


@pytest.mark.parametrize("magnitude", [1e-9, 1e-3, 1.0, 3e7])
def test_cam_of_any_magnitude_keeps_eleven_bits(
    tmp_path: Path, rng: np.random.Generator, magnitude: float
) -> None:
    raw = (rng.random((7, 5)) * magnitude).astype(np.float32)
    write_cam(tmp_path / "a.npz", raw, -1.25)
    cam = read_cam(tmp_path / "a.npz")
    assert cam.raw.dtype == np.float32
    assert cam.logit == -1.25
    # float16 rounds to 11 bits: half a unit in the last place of the peak.
    np.testing.assert_allclose(cam.raw, raw, atol=magnitude * 2**-11)


def test_same_cam_gives_the_same_bytes(tmp_path: Path, rng: np.random.Generator) -> None:
    raw = rng.random((4, 4))
    write_cam(tmp_path / "a.npz", raw, 1.0)
    write_cam(tmp_path / "b.npz", raw, 1.0)
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()
    assert b"\x00\x00\x21\x00" in (tmp_path / "a.npz").read_bytes()  # 1980-01-01, no clock


def test_empty_cam_is_all_zero(tmp_path: Path) -> None:
    write_cam(tmp_path / "a.npz", np.zeros((2, 3), np.float32), 0.0)
    assert read_cam(tmp_path / "a.npz").raw.tolist() == [[0, 0, 0], [0, 0, 0]]


@pytest.mark.parametrize("value", [np.nan, np.inf, -1.0])
def test_senseless_cam_is_refused(tmp_path: Path, value: float) -> None:
    with pytest.raises(ValueError, match="finite"):
        write_cam(tmp_path / "a.npz", np.full((2, 2), value), 0.0)


def test_missing_and_damaged_files_are_told(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="is missing"):
        read_cam(tmp_path / "a.npz")
    with pytest.raises(ArtifactError, match="is missing"):
        read_mask_ids(tmp_path / "a.png")
    write_cam(tmp_path / "a.npz", np.ones((8, 8)), 0.0)
    write_mask(tmp_path / "a.png", np.eye(64, dtype=np.uint8))
    for name in ("a.npz", "a.png"):
        content = (tmp_path / name).read_bytes()
        (tmp_path / name).write_bytes(content[: len(content) // 2])
    with pytest.raises(ArtifactError, match="is no whole CAM"):
        read_cam(tmp_path / "a.npz")
    with pytest.raises(ArtifactError, match="is no whole mask"):
        read_mask_ids(tmp_path / "a.png")


def test_pickled_arrays_are_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", raw=np.array([{}], dtype=object), exponent=0, logit=0.0)
    with pytest.raises(ArtifactError, match="is no whole CAM"):
        read_cam(tmp_path / "a.npz")


def test_mask_comes_back_exactly(tmp_path: Path, rng: np.random.Generator) -> None:
    mask = rng.choice(np.array([0, 1, 255], np.uint8), (9, 13))
    write_mask(tmp_path / "a.png", mask)
    np.testing.assert_array_equal(read_mask_ids(tmp_path / "a.png"), mask)


def test_other_ids_and_types_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="ids"):
        write_mask(tmp_path / "a.png", np.full((2, 2), 7, np.uint8))
    write_scores(tmp_path / "a.png", np.full((2, 2), 0.5, np.float32))
    with pytest.raises(ArtifactError, match="ids besides"):
        read_mask_ids(tmp_path / "a.png")


def test_scores_come_back_within_half_a_level(tmp_path: Path, rng: np.random.Generator) -> None:
    scores = rng.random((6, 5), dtype=np.float32)
    write_scores(tmp_path / "a.png", scores)
    np.testing.assert_allclose(read_scores(tmp_path / "a.png"), scores, atol=0.5 / 255 + 1e-6)
    with pytest.raises(ValueError, match=r"\[0, 1\]"):
        write_scores(tmp_path / "a.png", np.full((2, 2), np.nan, np.float32))


def test_frames_are_ordered_by_id_with_every_column(tmp_path: Path) -> None:
    rows: list[dict[str, Any]] = [
        {"id": "b", "label": np.int64(1), "score": np.float32(0.5)},
        {"id": "a", "label": 0, "kept": True, "note": 'a "b", c'},
    ]
    write_frames(tmp_path / "frames.csv", rows)
    first = (tmp_path / "frames.csv").read_bytes()
    write_frames(tmp_path / "frames.csv", rows[::-1])
    assert (tmp_path / "frames.csv").read_bytes() == first
    assert read_frames(tmp_path / "frames.csv") == [
        {"id": "a", "kept": "1", "label": "0", "note": 'a "b", c', "score": ""},
        {"id": "b", "kept": "", "label": "1", "note": "", "score": "0.5"},
    ]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=30)
@given(st.lists(st.text(st.characters(exclude_categories=["Cs"]), min_size=1), unique=True))
def test_any_text_survives_the_frames_file(tmp_path: Path, texts: list[str]) -> None:
    rows = [{"id": f"{index:04d}", "path": text} for index, text in enumerate(texts)]
    write_frames(tmp_path / "frames.csv", rows)
    assert read_frames(tmp_path / "frames.csv") == rows


def test_rows_need_ids_of_their_own(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="'a' twice"):
        write_frames(tmp_path / "frames.csv", [{"id": "a"}, {"id": "a"}])
    (tmp_path / "frames.csv").write_text("path\nx\n")
    with pytest.raises(ArtifactError, match="no column `id`"):
        read_frames(tmp_path / "frames.csv")
