"""FoSp: sizes and encoders, what its parts mean, that it learns, starts and comes back."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional

from weakseg.arrays import FrameArray, Mask
from weakseg.artifacts import RunPaths
from weakseg.errors import WeightsError
from weakseg.losses import segmentation_loss
from weakseg.models import Classifier, FoSp, TiledInference, load_weights, save_weights
from weakseg.models.fosp_inpainting import Inpainter
from weakseg.models.fosp_parts import DomainFusion, Focus, Separation
from weakseg.stages.segmenters import read_segmenter, write_segmenter

FOCUS_SIDES = {"quarter", "eighth", "sixteenth", "thirty_second", "focus"}
LEARNT_SIDES = {"foreground", "judge", "background"}


def build(**settings: object) -> FoSp:
    torch.manual_seed(0)
    small = {"encoder": "tu-test_efficientnet", "encoder_weights": None, "channels": 16}
    return FoSp(**{**small, **settings})


def some_levels(channels: int = 8, side: int = 64) -> list[Tensor]:
    """Give features of strides 4 to 32 of a picture of `side` pixels."""
    rng = torch.Generator().manual_seed(0)
    return [torch.rand(2, channels, side // s, side // s, generator=rng) for s in (4, 8, 16, 32)]


# ---- the whole network


@pytest.mark.parametrize(
    "encoder",
    [
        "tu-test_efficientnet",  # strides 2 to 32
        "tu-test_convnext",  # strides 4 to 32
        "mit_b0",  # a transformer of segmentation_models_pytorch
        "tu-swin_s3_tiny_224",  # (B, H, W, D), made for one size
    ],
)
def test_any_pyramid_gives_logits_at_any_size(encoder: str) -> None:
    model = build(encoder=encoder).eval()
    logits = model(torch.rand(1, 3, 45, 70))
    assert logits.shape == (1, 2, 45, 70)
    assert not logits[:, 0].any()
    assert logits[:, 1].std() > 0


@pytest.mark.parametrize("size", [(32, 32), (33, 95), (96, 64)])
@pytest.mark.parametrize("inpainter", ["none", "telea"])
def test_sides_have_the_size_of_the_picture(size: tuple[int, int], inpainter: str) -> None:
    model = build(inpainter=inpainter).eval()
    pictures = torch.rand(2, 3, *size)
    logits, sides = model(pictures, with_sides=True)
    assert torch.equal(logits, model(pictures))
    assert sides.keys() == FOCUS_SIDES | (LEARNT_SIDES if inpainter == "none" else {"foreground"})
    assert {side.shape for side in sides.values()} == {(2, *size)}


@pytest.mark.parametrize("settings", [{}, {"inpainter": "navier_stokes", "inpaint_above": 0.5}])
def test_every_parameter_learns(settings: dict[str, object]) -> None:
    model = build(**settings)
    rng = torch.Generator().manual_seed(1)
    # Noise no smaller than a cell of the deepest level, or the attention sees one thing only.
    coarse = torch.rand(2, 3, 4, 4, generator=rng)
    pictures = functional.interpolate(coarse, size=(128, 128))
    mask = functional.interpolate(coarse[:, :1], size=(128, 128))[:, 0].gt(0.5).long()
    logits, sides = model(pictures, with_sides=True)
    losses = model.side_loss(sides, mask)
    (segmentation_loss(logits, mask) + torch.stack(list(losses.values())).sum()).backward()
    still = [n for n, p in model.named_parameters() if p.grad is None or not p.grad.any()]
    assert still == []


@pytest.mark.parametrize("inpainter", ["none", "telea"])
def test_it_learns_a_plume_by_heart(inpainter: str, plume: FrameArray, plume_mask: Mask) -> None:
    model = build(inpainter=inpainter, dropout=0.0)
    picture = torch.from_numpy(plume).permute(2, 0, 1)[None].float().repeat(2, 1, 1, 1) / 255
    mask = torch.from_numpy(plume_mask)[None].long().repeat(2, 1, 1)

    def iou() -> float:
        found = model(picture)[0].argmax(dim=0) == 1
        truth = mask[0] == 1
        return float((found & truth).sum() / (found | truth).sum())

    assert iou() < 0.5
    optimiser = torch.optim.Adam(model.parameters(), lr=0.01)
    for _ in range(40):
        logits, sides = model(picture, with_sides=True)
        parts = [segmentation_loss(logits, mask), *model.side_loss(sides, mask).values()]
        optimiser.zero_grad()
        torch.stack(parts).sum().backward()
        optimiser.step()
    assert iou() > 0.85
    _, sides = model(picture, with_sides=True)
    smoky, clear = sides["focus"][0][mask[0] == 1], sides["focus"][0][mask[0] == 0]
    assert smoky.mean() > 0 > clear.mean()
    if inpainter == "none":
        # The judge sees the smoke in the frame, and none in what was separated from it.
        assert sides["judge"][0][mask[0] == 1].mean() > 0
        assert sides["background"][0][mask[0] == 1].mean() < 0


def test_settings_and_weights_rebuild_the_network(tmp_path: Path) -> None:
    model = build(inpainter="telea", inpaint_above=0.4, channels=8, side_weight=0.3).eval()
    write_segmenter(RunPaths(tmp_path), model)
    save_weights(tmp_path / "a.safetensors", model)
    again = read_segmenter(RunPaths(tmp_path)).eval()
    load_weights(tmp_path / "a.safetensors", again)
    assert isinstance(again, FoSp)
    assert again.settings() == model.settings()
    picture = torch.rand(1, 3, 40, 40)
    assert torch.equal(model(picture), again(picture))


def test_the_encoder_starts_from_a_classifier(tmp_path: Path) -> None:
    torch.manual_seed(1)
    classifier = Classifier("test_efficientnet", weights=None)
    save_weights(tmp_path / "a.safetensors", classifier)
    model = build(encoder_weights=str(tmp_path / "a.safetensors"))
    assert model.matched is not None
    assert model.matched.matched == model.matched.total
    assert model.weights_sha256 is not None
    theirs = classifier.backbone.state_dict()
    for name, tensor in model.encoder.state_dict().items():
        assert torch.equal(tensor, theirs[name.removeprefix("model.")]), name


def test_real_weights_fill_the_encoder(weights_dir: Path) -> None:
    path = str(weights_dir / "tf_efficientnet_lite0.safetensors")
    model = build(encoder="tu-tf_efficientnet_lite0", encoder_weights=path)
    assert model.matched is not None
    assert model.matched.missing == ()


def test_weights_of_another_network_are_refused(tmp_path: Path) -> None:
    save_weights(tmp_path / "a.safetensors", Classifier("test_resnet", weights=None))
    with pytest.raises(WeightsError, match=r"a\.safetensors"):
        build(encoder_weights=str(tmp_path / "a.safetensors"))


def test_encoder_and_new_parameters_are_all_there_are() -> None:
    model = build()
    new = {id(p) for p in model.new_parameters()}
    encoder = {id(p) for p in model.encoder.parameters()}
    assert not new & encoder
    assert new | encoder == {id(p) for p in model.parameters()}


def test_side_losses_are_weighted_by_group() -> None:
    mask = torch.zeros(1, 4, 4, dtype=torch.int64)
    sides = {name: torch.zeros(1, 4, 4) for name in FOCUS_SIDES | LEARNT_SIDES}
    losses = build(side_weight=0.5, separation_weight=2.0).side_loss(sides, mask)
    one = float(np.log(2))
    for name in FOCUS_SIDES:
        assert float(losses[f"side_{name}"]) == pytest.approx(0.5 * one)
    for name in LEARNT_SIDES:
        assert float(losses[f"side_{name}"]) == pytest.approx(2 * one)


def test_it_reads_whole_frames(plume: FrameArray) -> None:
    scores = TiledInference(image_size=32, tile_above=1.0)(build().eval(), plume)
    assert scores.shape == plume.shape[:2]
    assert 0 <= scores.min() <= scores.max() <= 1


def test_it_runs_in_half_precision() -> None:
    model = build()
    pictures = torch.rand(2, 3, 64, 64)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        logits, sides = model(pictures, with_sides=True)
    losses = model.side_loss(sides, torch.ones(2, 64, 64, dtype=torch.int64))
    assert torch.isfinite(torch.stack(list(losses.values()))).all()
    assert torch.isfinite(logits).all()


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"encoder": "tu-test_efficientnt"}, "did you mean tu-test_efficientnet"),
        ({"encoder": "tu-test_vit"}, "encoder tu-test_vit has no levels of stride 4 to 32"),
        ({"inpainter": "mat"}, "inpainter must be one of none, telea, navier_stokes, got 'mat'"),
        ({"inpaint_above": 1.5}, r"inpaint_above must lie in \[0, 1\]"),
        ({"channels": 0}, "channels must be at least 1"),
        ({"dropout": -0.1}, r"dropout must lie in \[0, 1\]"),
        ({"side_weight": -1}, "side_weight must be at least 0"),
        ({"stride_in_1x1": True}, "stride_in_1x1 needs a ResNet"),
    ],
)
def test_what_cannot_be_is_refused_in_words(settings: dict[str, object], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        build(**settings)


def test_too_small_pictures_are_refused() -> None:
    with pytest.raises(ValueError, match="width must be at least 32"):
        build()(torch.rand(1, 3, 40, 31))


# ---- its parts


def test_both_ends_of_the_pyramid_move_the_focus() -> None:
    torch.manual_seed(0)
    part, levels = Focus(8), [level.requires_grad_() for level in some_levels()]
    focus, sides = part(levels)
    assert focus.shape == (2, 1, 4, 4)
    assert [tuple(sides[n].shape[-2:]) for n in ("quarter", "eighth", "thirty_second")] == [
        (16, 16),
        (8, 8),
        (2, 2),
    ]
    inwards = functional.interpolate(sides["eighth"], size=(4, 4), mode="bilinear")
    torch.testing.assert_close(focus, (inwards + sides["sixteenth"]) / 2)  # as it starts
    focus.square().sum().backward()
    assert all(level.grad is not None and level.grad.any() for level in levels)


def test_without_focus_nothing_is_foreground() -> None:
    torch.manual_seed(0)
    part, levels = Separation(8), some_levels()
    nowhere = torch.full((2, 1, 4, 4), -40.0)
    foregrounds, sides = part(levels, nowhere)
    assert all(float(one.detach().abs().max()) < 1e-6 for one in foregrounds)
    torch.testing.assert_close(sides["judge"], sides["background"])


def test_behind_the_focus_lies_what_is_most_alike_outside() -> None:
    torch.manual_seed(0)
    part, level = Separation(8), some_levels()[3]
    known = torch.ones(2, 1, 2, 2)
    known[:, :, 0, 0] = 0
    found = part._looked_up(level, known).flatten(2)
    cells = level.flatten(2)
    wanted, offered = part.wanted(level).flatten(2), part.offered(level).flatten(2)
    for frame in range(2):
        for cell in range(4):
            likeness = torch.stack(
                [wanted[frame, :, cell] @ offered[frame, :, other] / 8**0.5 for other in range(4)]
            )
            share = likeness.exp() * torch.tensor([1e-4, 1, 1, 1])
            expected = (cells[frame] * share / share.sum()).sum(dim=1)
            torch.testing.assert_close(found[frame, :, cell], expected)


def test_the_judge_does_not_learn_from_the_background() -> None:
    torch.manual_seed(0)
    part, levels = Separation(8), some_levels()
    focus = torch.zeros(2, 1, 4, 4, requires_grad=True)
    part(levels, focus)[1]["background"].sum().backward()
    assert part.smoke.weight.grad is None
    assert focus.grad is not None
    assert focus.grad.any()
    assert part.wanted.weight.grad is not None


def test_fusion_listens_to_the_foreground_of_every_level() -> None:
    torch.manual_seed(0)
    part = DomainFusion(8, dropout=0.0)
    foregrounds = [level.requires_grad_() for level in some_levels()]
    logits = part(some_levels(), foregrounds, torch.zeros(2, 1, 4, 4))
    assert logits.shape == (2, 1, 16, 16)
    logits.square().sum().backward()
    assert all(one.grad is not None and one.grad.any() for one in foregrounds)


# ---- painting smoke out


@pytest.mark.parametrize("method", ["telea", "navier_stokes"])
def test_a_hole_is_filled_from_around(method: str) -> None:
    picture = torch.full((2, 3, 32, 32), 0.2)
    picture[0, :, 10:20, 10:20] = 0.9
    focus = torch.zeros(2, 1, 32, 32)
    focus[0, :, 9:21, 9:21] = 1
    painted = Inpainter(method)(picture, focus)
    assert float((painted[0] - 0.2).abs().max()) < 0.01
    assert torch.equal(painted[1], picture[1])


def test_outside_the_hole_no_pixel_changes() -> None:
    picture = torch.rand(1, 3, 32, 48, generator=torch.Generator().manual_seed(0))
    focus = torch.zeros(1, 1, 32, 48)
    focus[..., 4:9, 30:40] = 0.16
    painted = Inpainter()(picture, focus)
    outside = (focus <= 0.15).expand_as(picture)
    assert torch.equal(painted[outside], picture[outside])
    assert not torch.equal(painted, picture)


def test_a_frame_that_may_be_smoke_all_over_stays_as_it_is() -> None:
    picture = torch.rand(1, 3, 32, 32)
    assert torch.equal(Inpainter()(picture, torch.ones(1, 1, 32, 32)), picture)


def test_what_would_be_lost_in_an_export_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    picture = torch.rand(1, 3, 32, 32)
    monkeypatch.setattr(torch.compiler, "is_exporting", lambda: True)
    with pytest.raises(ValueError, match=r"segmenter\.inpainter=telea .* cannot be exported"):
        Inpainter("telea")(picture, picture[:, :1])
