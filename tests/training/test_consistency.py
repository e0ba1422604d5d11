"""A student beside its teacher: what one pass sees, what is trained and kept, and collapse."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_consistency import SIDE, Scenes, auroc_of, in_order, pair_of, small
from torch import Tensor

from weakseg.cam import CamRecipe
from weakseg.losses import ClassificationLoss, ConsistencyLoss
from weakseg.models import LocalClassifier, build_classifier
from weakseg.models.student import (
    ConsistentClassifier,
    as_logits,
    class_logits,
    has_cells,
    view,
)
from weakseg.training import FitSettings, Interrupted, StopFlag, fit
from weakseg.training.checkpoints import load_state
from weakseg.training.consistency import (
    ConsistencyStep,
    FrozenTeacher,
    collapse_of,
    feature_spread,
    flatness_of,
    lesson_of,
    map_spread,
)

LAST = "checkpoints/last.pt"


def pictures(count: int = 2) -> Tensor:
    return torch.rand(count, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(3))


# ---- one pass tells all


@pytest.mark.parametrize("name", ["test_vit", "test_resnet"])
def test_view_of_a_local_classifier_is_what_it_says_itself(name: str) -> None:
    model = small(name).eval()
    assert isinstance(model, LocalClassifier)
    with torch.no_grad():
        seen = view(model, pictures())
        for cell, own in zip(seen.cells, model.cells(pictures()), strict=True):
            torch.testing.assert_close(cell, own)
        torch.testing.assert_close(seen.logits.mean(dim=1), model(pictures())[:, 0])
        torch.testing.assert_close(model.heads[-1](seen.features)[:, 0], seen.cells[-1])


@pytest.mark.parametrize("name", ["test_vit", "test_resnet"])
def test_class_map_is_what_the_local_recipe_exports(name: str) -> None:
    model = small(name).eval()
    recipe = CamRecipe(method="local", flip=False)
    with torch.no_grad():
        own = class_logits(view(model, pictures())).sigmoid()[:, 0]
    maps, _ = recipe.raw_cam(model, pictures())
    torch.testing.assert_close(own, maps, atol=1e-5, rtol=1e-4)


def test_positions_of_a_plain_cnn_answer_by_its_head() -> None:
    model = small("test_resnet", local=False).eval()
    with torch.no_grad():
        seen = view(model, pictures())
        torch.testing.assert_close(seen.logits, model(pictures()))
    # Average pooling and a linear head: the mean of the positions is the answer.
    torch.testing.assert_close(seen.cells[0].mean(dim=(1, 2)), seen.logits[:, 0])


def test_a_plain_vit_has_tokens_but_no_class_map_of_its_own() -> None:
    model = small("test_vit", local=False).eval()
    with torch.no_grad():
        seen = view(model, pictures())
    assert not has_cells(model)
    assert seen.features.shape[2:] == (SIDE // 16, SIDE // 16)
    with pytest.raises(ValueError, match="gives no class map"):
        class_logits(seen)


def test_pixel_correlation_gives_its_refined_map() -> None:
    model = build_classifier("test_resnet", head="pcm", weights=None, image_size=SIDE).eval()
    with torch.no_grad():
        seen = view(model, pictures())
        maps = model.maps(pictures())  # type: ignore[operator]
    torch.testing.assert_close(seen.cells[0], maps.cams[:, 0])
    lesson = lesson_of(seen, "pcm")
    torch.testing.assert_close(
        lesson.target.sigmoid(), 2 * maps.refined.sigmoid() - 1, atol=2e-6, rtol=1e-4
    )
    with pytest.raises(ValueError, match="classifier=resnet50_pcm"):
        lesson_of(view(small("test_resnet"), pictures()), "pcm")


def test_logits_of_probabilities_are_finite() -> None:
    found = as_logits(torch.tensor([0.0, 0.25, 1.0]))
    torch.testing.assert_close(found[1].sigmoid(), torch.tensor(0.25))
    assert found.isfinite().all()
    assert found.abs().max() < 14


# ---- the teacher only looks


def test_teacher_stays_as_it_is_and_averages_its_views() -> None:
    model = small("test_resnet")
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    both = FrozenTeacher(model, flip=True)(pictures())
    plain = FrozenTeacher(model)(pictures())
    mirrored = FrozenTeacher(model)(pictures().flip(-1)).evidence.flip(-1)
    wanted = (plain.evidence.sigmoid() + mirrored.sigmoid()) / 2
    torch.testing.assert_close(both.evidence.sigmoid(), wanted, atol=1e-5, rtol=1e-4)
    assert not both.evidence.requires_grad
    assert not model.training
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, before[name])


def test_larger_scale_gives_the_finer_grid() -> None:
    model = small("test_resnet")
    one = FrozenTeacher(model)(pictures()).evidence
    two = FrozenTeacher(model, scales=[1.0, 2.0])(pictures()).evidence
    assert two.shape[-1] == 2 * one.shape[-1]


def test_teacher_in_half_precision_is_nearly_the_same() -> None:
    model = small("test_resnet")
    full = FrozenTeacher(model)(pictures()).evidence
    half = FrozenTeacher(model, precision="bf16")(pictures()).evidence
    assert half.dtype == torch.float32
    assert not torch.equal(half, full)
    torch.testing.assert_close(half.sigmoid(), full.sigmoid(), atol=0.02, rtol=0)


# ---- the step


def step_of(
    pair: ConsistentClassifier, *, frozen: bool = True, patience: int = 3, **loss: Any
) -> ConsistencyStep:
    teacher = FrozenTeacher(small("test_resnet"), target=loss.get("target", "cam"))
    return ConsistencyStep(
        pair,
        loss=ConsistencyLoss(**loss),
        classification=ClassificationLoss(),
        teacher=teacher if frozen else None,
        patience=patience,
    )


def batch() -> dict[str, Tensor]:
    return {"image": pictures(4), "label": torch.tensor([0.0, 1.0, 0.0, 1.0])}


@pytest.mark.parametrize(
    "loss",
    [
        {},
        {"of": "evidence", "alignment": "logits", "distance": "kl"},
        {"target": "features", "alignment": "gram"},
        {"boundary_weight": 0.5, "background_weight": 0.5, "lookalike_weight": 0.5},
    ],
)
@pytest.mark.parametrize("frozen", [True, False])
def test_the_loss_is_the_sum_of_its_terms(loss: dict[str, Any], frozen: bool) -> None:
    pair = pair_of(loss=ConsistencyLoss(**loss), peer=not frozen)
    told = step_of(pair, frozen=frozen, **loss)(pair, batch())
    signs = {"loss", "map_spread", "feature_spread", "collapsed"}
    terms = [value for name, value in told.items() if name not in signs]
    torch.testing.assert_close(told["loss"], torch.stack(terms).sum())
    told["loss"].backward()
    assert all(p.grad is not None for p in pair.student.heads.parameters())
    names = {"classification", "consistency"}
    names |= set() if frozen else {"peer_classification", "peer_consistency"}
    assert names <= set(told)


@pytest.mark.parametrize("of", ["evidence", "features"])
def test_in_cotraining_each_follows_the_other(of: str) -> None:
    loss: dict[str, Any] = {"of": of, "distance": "l2"}
    pair = pair_of(loss=ConsistencyLoss(**loss), peer=True)
    told = step_of(pair, frozen=False, **loss)(pair, batch())
    own = torch.autograd.grad(told["consistency"], list(pair.parameters()), allow_unused=True)
    other = torch.autograd.grad(
        told["peer_consistency"], list(pair.parameters()), allow_unused=True
    )
    for (name, _), mine, yours in zip(pair.named_parameters(), own, other, strict=True):
        assert (mine is None) or name.startswith(("student.", "projection."))
        assert (yours is None) or name.startswith("peer.")
    assert any(g is not None for g in own)
    assert any(g is not None for g in other)


def test_two_that_follow_each_other_compare_the_same_maps() -> None:
    """On one grid, both see the same distance: the projection beside the peer's probability."""
    loss: dict[str, Any] = {"distance": "l2", "frames": "smoke"}
    pair = pair_of(loss=ConsistencyLoss(**loss), peer=True).eval()
    told = step_of(pair, frozen=False, **loss)(pair, batch())
    seen, peer = pair(batch()["image"])
    own = seen.projected[[1, 3]]
    other = class_logits(peer)[[1, 3]].sigmoid()
    onto_peer = torch.nn.functional.interpolate(own, size=other.shape[-2:], mode="bilinear")
    onto_own = torch.nn.functional.interpolate(other, size=own.shape[-2:], mode="bilinear")
    wanted = (onto_peer - other).square().mean()
    torch.testing.assert_close(told["consistency"], wanted)
    wanted = (onto_own - own).square().mean()
    torch.testing.assert_close(told["peer_consistency"], wanted)


def test_a_student_follows_one_and_one_only() -> None:
    with pytest.raises(ValueError, match="either a frozen teacher or a peer"):
        step_of(pair_of(peer=True))


def test_memory_holds_the_loudest_of_smoke_free_frames_newest_first() -> None:
    pair = ConsistentClassifier(small("test_vit"), memory=3)
    width = pair.lookalikes.shape[1]
    features = torch.randn(2, width, 2, 2)
    cell = torch.zeros(2, 2, 2)
    cell[0, 1, 0] = 5
    pair.remember(features, cell, torch.tensor([0.0, 1.0]))
    assert pair.recall().shape == (1, width)
    torch.testing.assert_close(
        pair.recall()[0], torch.nn.functional.normalize(features[0, :, 1, 0], dim=0)
    )
    cell[1, 0, 0] = 0.1
    for _ in range(2):
        pair.remember(-features, cell, torch.zeros(2))
    assert pair.recall().shape == (3, width)
    newest = torch.nn.functional.normalize(-features[0, :, 1, 0], dim=0)
    torch.testing.assert_close(pair.recall()[0], newest)


def test_a_frame_without_alarm_is_not_remembered() -> None:
    pair = ConsistentClassifier(small("test_vit"), memory=3)
    features = torch.randn(2, pair.lookalikes.shape[1], 2, 2)
    cell = torch.full((2, 2, 2), -9.0)
    cell[0, 0, 1] = -0.1
    pair.remember(features, cell, torch.zeros(2))
    assert len(pair.recall()) == 0
    cell[1, 1, 1] = 0.1
    pair.remember(features, cell, torch.zeros(2))
    wanted = torch.nn.functional.normalize(features[1, :, 1, 1], dim=0)
    torch.testing.assert_close(pair.recall(), wanted[None])


def test_by_confidence_the_peer_follows_as_much_as_the_student_sees() -> None:
    loss: dict[str, Any] = {"of": "evidence", "distance": "l2"}
    pair = pair_of(loss=ConsistencyLoss(**loss), peer=True).eval()
    plain = step_of(pair, frozen=False, **loss)
    told = step_of(pair, frozen=False, teacher_confidence=True, **loss)(pair, batch())
    with torch.no_grad():
        seen, peer = pair(batch()["image"])
        own, other = class_logits(seen), class_logits(peer)
    apart = plain.loss.apart(own, other, teacher_learns=True)
    wanted = (own.sigmoid().amax(dim=(1, 2, 3)) * apart).mean()
    torch.testing.assert_close(told["peer_consistency"], wanted)


# ---- trained, kept, resumed


def train(
    folder: Path, *, stop: StopFlag | None = None, stop_at: int = 0
) -> tuple[ConsistentClassifier, str]:
    loss: dict[str, Any] = {"target": "features", "lookalike_weight": 0.3, "boundary_weight": 0.3}
    pair = pair_of(loss=ConsistencyLoss(**loss), memory=3)
    with torch.no_grad():
        pair.student.heads[-1][-1].bias.fill_(1)  # type: ignore[index,union-attr]
    step = step_of(pair, **loss)
    flag = StopFlag() if stop is None else stop

    def on_log(row: dict[str, float | int | str], at: int) -> None:
        if at == stop_at:
            flag.set("the test")

    fit(
        pair,
        optimizer_factory=lambda groups: torch.optim.AdamW(groups, lr=0.01),
        dataset=Scenes(),
        sampler=in_order(Scenes()),
        step_loss=step,
        validate=functools.partial(auroc_of, Scenes()),
        monitor="auroc",
        settings=FitSettings(epochs=2, batch_size=4, log_every=1, accelerator="cpu"),
        checkpoints=folder / "checkpoints",
        on_log=on_log,
        stop=flag,
        log_path=folder / "metrics.jsonl",
    )
    rows = (folder / "metrics.jsonl").read_text().splitlines()
    return pair, "\n".join(row.split('"seconds"')[0] for row in rows)


def test_projection_memory_and_counters_are_trained_kept_and_resumed_bit_by_bit(
    tmp_path: Path,
) -> None:
    start = pair_of(loss=ConsistencyLoss(target="features"), memory=3)
    whole, told = train(tmp_path / "whole")
    with pytest.raises(Interrupted):
        train(tmp_path / "parts", stop_at=3)
    parts, told_again = train(tmp_path / "parts", stop_at=-1)
    assert told_again == told
    assert whole.projection is not None
    assert start.projection is not None
    assert not torch.equal(whole.projection.weight, start.projection.weight)
    assert int(whole.known) == 3
    wanted = whole.state_dict()
    assert any(name.startswith("projection.") for name in wanted)
    for name, tensor in parts.state_dict().items():
        assert torch.equal(tensor, wanted[name]), name
    last, again = (load_state(tmp_path / part / LAST) for part in ("whole", "parts"))
    for kind in ("model", "optimizer"):
        torch.testing.assert_close(last[kind], again[kind], rtol=0, atol=0)


# ---- collapse


def silence(pair: ConsistentClassifier) -> None:
    """Make every position give the same answer, and every feature the same projection."""
    with torch.no_grad():
        for head in pair.student.heads:  # type: ignore[union-attr]
            head[-1].weight.zero_()
        if pair.projection is not None:
            pair.projection.weight.zero_()


def test_flat_maps_are_told_after_so_many_steps() -> None:
    pair = pair_of()
    step = step_of(pair, patience=3)
    assert float(step(pair, batch())["collapsed"]) == 0
    silence(pair)
    told = [float(step(pair, batch())["collapsed"]) for _ in range(4)]
    assert told == [0, 0, 1, 1]
    # The counters are saved with the pair, so that a resumed training counts on.
    assert pair.state_dict()["flat_steps"].tolist() == [4, 4]


def test_one_lively_step_ends_the_count() -> None:
    pair = pair_of()
    step = step_of(pair, patience=2)
    alive = {name: tensor.clone() for name, tensor in pair.state_dict().items()}
    silence(pair)
    step(pair, batch())
    pair.load_state_dict({**alive, "flat_steps": pair.flat_steps})
    assert float(step(pair, batch())["collapsed"]) == 0
    assert pair.flat_steps.tolist() == [0, 0]


def test_spreads_measure_what_they_say() -> None:
    same = torch.ones(2, 3, 4, 4)
    assert float(feature_spread(same)) == pytest.approx(0, abs=1e-4)
    assert float(feature_spread(torch.zeros(2, 3, 4, 4))) == 0
    noise = torch.randn(4, 8, 16, 16, generator=torch.Generator().manual_seed(0))
    assert float(feature_spread(noise)) == pytest.approx(1, abs=0.01)
    assert float(feature_spread(100 * noise)) == pytest.approx(float(feature_spread(noise)))
    flat = map_spread(torch.full((2, 1, 3, 3), 0.7))
    torch.testing.assert_close(flat, torch.zeros(2), atol=1e-6, rtol=0)
    two = torch.tensor([-100.0, 100.0]).view(1, 1, 1, 2)
    assert float(map_spread(two)) == pytest.approx(0.5)


@pytest.mark.parametrize(
    ("figures", "flat_epochs", "sign"),
    [
        ({"auroc": 0.5}, [], "no better than chance"),
        ({"auroc": 0.9, "map_auroc": 0.4}, [], "peaks of its maps"),
        ({"auroc": 0.9, "map_spread": 1e-6}, [], "maps of val are flat"),
        ({"auroc": 0.9, "feature_spread": 0.0}, [], "alike everywhere"),
        ({"auroc": 0.9}, [2, 3], "in epoch 3, which is kept"),
    ],
)
def test_each_sign_of_collapse_is_named(
    figures: dict[str, float], flat_epochs: list[int], sign: str
) -> None:
    found = collapse_of(figures, epoch=3, flat_epochs=flat_epochs, floor=1e-3)
    assert len(found) == 1
    assert sign in found[0]


def test_a_sound_student_has_not_collapsed() -> None:
    sound = {"auroc": 0.9, "map_auroc": 0.8, "map_spread": 0.1, "feature_spread": 0.5}
    assert collapse_of(sound, epoch=3, flat_epochs=[], floor=1e-3) == ()


def test_flat_epochs_before_a_sound_one_are_told_but_are_no_collapse() -> None:
    sound = {"auroc": 0.9, "map_auroc": 0.8, "map_spread": 0.1, "feature_spread": 0.5}
    assert collapse_of(sound, epoch=3, flat_epochs=[1, 2], floor=1e-3) == ()
    assert "in epoch 1, 2" in flatness_of(epoch=3, flat_epochs=[1, 2, 3])
    assert flatness_of(epoch=3, flat_epochs=[3]) == ""
