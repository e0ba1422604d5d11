"""SAM loads strictly, MobileSAM on timm's TinyViT among them."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from weakseg.arrays import FrameArray, Mask
from weakseg.errors import MissingExtraError, WeightsError
from weakseg.models import load_sam
from weakseg.models.sam import TinyViTEncoder


def test_a_missing_extra_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "segment_anything", None)
    with pytest.raises(MissingExtraError, match=r"pip install weakseg\[sam\]"):
        load_sam("vit_t")


def test_unknown_kinds_are_refused() -> None:
    with pytest.raises(ValueError, match="kind must be one of vit_t, vit_b"):
        load_sam("vit_s")


def test_the_encoder_works_at_stride_16() -> None:
    pytest.importorskip("segment_anything")
    with torch.no_grad():
        assert TinyViTEncoder().eval()(torch.rand(1, 3, 128, 128)).shape == (1, 256, 8, 8)


def test_weights_of_something_else_are_refused(tmp_path: Path) -> None:
    pytest.importorskip("segment_anything")
    save_file({"x": torch.ones(1)}, tmp_path / "a.safetensors")
    with pytest.raises(WeightsError, match=r"a\.safetensors does not fit"):
        load_sam("vit_t", tmp_path / "a.safetensors")
    (tmp_path / "b.pth").write_bytes(b"no weights")
    with pytest.raises(WeightsError, match=r"b\.pth"):
        load_sam("vit_t", tmp_path / "b.pth")


def test_plain_pth_files_are_read_without_running_code(tmp_path: Path) -> None:
    pytest.importorskip("segment_anything")
    sam = load_sam("vit_t")
    torch.save(sam.state_dict(), tmp_path / "a.pth")
    again = load_sam("vit_t", tmp_path / "a.pth")
    name = "mask_decoder.iou_token.weight"
    assert torch.equal(sam.state_dict()[name], again.state_dict()[name])


@pytest.mark.slow
def test_real_mobile_sam_finds_a_disc_from_one_box(weights_dir: Path) -> None:
    predictor = pytest.importorskip("segment_anything").SamPredictor
    frame, disc = _disc()
    sam = predictor(load_sam("vit_t", weights_dir / "mobile_sam_vit_t.safetensors"))
    sam.set_image(frame)
    masks, _, _ = sam.predict(box=np.array([38, 28, 90, 80]), multimask_output=False)
    union = np.logical_or(masks[0], disc).sum()
    assert np.logical_and(masks[0], disc).sum() / union > 0.9


def _disc() -> tuple[FrameArray, Mask]:
    y, x = np.mgrid[:96, :128]
    disc = ((y - 54) ** 2 + (x - 64) ** 2 < 24**2).astype(np.uint8)
    frame = np.where(disc[..., None] == 1, [230, 120, 60], [60, 110, 90]).astype(np.uint8)
    return frame, disc
