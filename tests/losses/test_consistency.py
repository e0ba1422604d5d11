"""What a student is told beside the label: pairs by plain loops, gradients, bounds, switches."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from weakseg.losses import ConsistencyLoss
from weakseg.losses.alignment import (
    ALIGNMENTS,
    DISTANCES,
    check_comparison,
    compare_maps,
    on_grid,
)
from weakseg.losses.background import background_activation, lookalike_activation
from weakseg.losses.boundaries import boundary_misfit

Array = npt.NDArray[np.float64]

MEANINGLESS = {("gram", "kl"), ("logits", "cosine")}
PAIRS = [(a, d) for a in ALIGNMENTS for d in DISTANCES if (a, d) not in MEANINGLESS]
CHANNELS_ONLY = {("spatial", "cosine"), ("spatial", "kl"), *(("gram", d) for d in DISTANCES)}


def draw(*shape: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator, dtype=torch.float64)


# ---- alignments and distances, by loops


def sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x))


def vectors_of(maps: Array, alignment: str) -> list[list[float]]:
    channels, rows, columns = maps.shape
    places = [(y, x) for y in range(rows) for x in range(columns)]
    if alignment == "global":
        return [[maps[c, y, x] for c in range(channels) for y, x in places]]
    if alignment == "channel":
        return [[maps[c, y, x] for y, x in places] for c in range(channels)]
    if alignment == "spatial":
        return [[maps[c, y, x] for c in range(channels)] for y, x in places]
    if alignment == "spatial_map":
        return [[sum(maps[c, y, x] for c in range(channels)) / channels for y, x in places]]
    if alignment == "gram":
        return [
            [
                sum(maps[c, y, x] * maps[k, y, x] for y, x in places) / len(places)
                for c in range(channels)
                for k in range(channels)
            ]
        ]
    return [[sigmoid(maps[c, y, x]) for c in range(channels) for y, x in places]]


def softmax(values: list[float]) -> list[float]:
    total = sum(math.exp(v) for v in values)
    return [math.exp(v) / total for v in values]


def distance_of(s: list[float], t: list[float], distance: str, temperature: float) -> float:
    if distance == "cosine":
        product = sum(a * b for a, b in zip(s, t, strict=True))
        return 1 - product / math.sqrt(sum(a * a for a in s) * sum(b * b for b in t))
    if distance == "l1":
        return sum(abs(a - b) for a, b in zip(s, t, strict=True)) / len(s)
    if distance == "l2":
        return sum((a - b) ** 2 for a, b in zip(s, t, strict=True)) / len(s)
    p, q = softmax([b / temperature for b in t]), softmax([a / temperature for a in s])
    return temperature**2 * sum(u * math.log(u / v) for u, v in zip(p, q, strict=True))


def naive(s: Array, t: Array, alignment: str, distance: str, temperature: float) -> float:
    if (alignment, distance) == ("logits", "kl"):
        total = 0.0
        for a, b in zip(s.ravel() / temperature, t.ravel() / temperature, strict=True):
            p, q = sigmoid(b), sigmoid(a)
            total += p * math.log(p / q) + (1 - p) * math.log((1 - p) / (1 - q))
        return temperature**2 * total / s.size
    pairs = zip(vectors_of(s, alignment), vectors_of(t, alignment), strict=True)
    found = [distance_of(a, b, distance, temperature) for a, b in pairs]
    return sum(found) / len(found)


@pytest.mark.parametrize(
    ("alignment", "distance", "channels"),
    [(*pair, 3) for pair in PAIRS] + [(*pair, 1) for pair in PAIRS if pair not in CHANNELS_ONLY],
)
def test_every_pair_is_its_loops(alignment: str, distance: str, channels: int) -> None:
    s, t = draw(2, channels, 2, 3), draw(2, channels, 2, 3, seed=1)
    found = compare_maps(s, t, alignment=alignment, distance=distance, temperature=1.7)
    wanted = [
        naive(a.numpy(), b.numpy(), alignment, distance, 1.7) for a, b in zip(s, t, strict=True)
    ]
    # Double precision, sums of at most 18 numbers.
    np.testing.assert_allclose(found.numpy(), wanted, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize(("alignment", "distance"), PAIRS)
def test_gradients_of_both_maps_are_exact(alignment: str, distance: str) -> None:
    s, t = draw(1, 2, 2, 3).requires_grad_(), draw(1, 2, 3, 2, seed=1).requires_grad_()

    def compare(a: Tensor, b: Tensor) -> Tensor:
        return compare_maps(a, b, alignment=alignment, distance=distance)

    assert torch.autograd.gradcheck(compare, (s, t))


@pytest.mark.parametrize(("alignment", "distance"), PAIRS)
def test_a_map_is_no_distance_from_itself(alignment: str, distance: str) -> None:
    s = draw(2, 3, 4, 4)
    found = compare_maps(s, s, alignment=alignment, distance=distance)
    torch.testing.assert_close(found, torch.zeros_like(found), atol=1e-9, rtol=0)


@pytest.mark.parametrize(("alignment", "distance"), PAIRS)
@given(seed=st.integers(0, 10_000), scale=st.floats(0.01, 100))
@settings(max_examples=15, deadline=None)
def test_bounds_and_scale(alignment: str, distance: str, seed: int, scale: float) -> None:
    s, t = draw(2, 3, 2, 2, seed=seed), draw(2, 3, 2, 2, seed=seed + 1)
    found = compare_maps(s, t, alignment=alignment, distance=distance)
    assert (found >= -1e-12).all()
    if distance == "cosine":
        assert (found <= 2 + 1e-12).all()
        positive = compare_maps(s.abs(), t.abs(), alignment=alignment, distance=distance)
        assert (positive <= 1 + 1e-12).all()
        scaled = compare_maps(scale * s, t / scale, alignment=alignment, distance=distance)
        torch.testing.assert_close(scaled, found, rtol=1e-9, atol=1e-9)
    if alignment == "logits" and distance != "kl":
        assert (found <= 1).all()
    if distance == "kl" and alignment != "logits":
        moved = compare_maps(s + scale, t - scale, alignment=alignment, distance=distance)
        torch.testing.assert_close(moved, found, rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize(("alignment", "distance"), PAIRS)
def test_the_grid_of_the_student_does_not_matter_for_flat_channels(
    alignment: str, distance: str
) -> None:
    """Bilinear resizing keeps a constant, so any grid of it is the same map."""
    s, t = draw(2, 3, 1, 1), draw(2, 3, 4, 6, seed=1)
    found = compare_maps(s.expand(2, 3, 7, 5), t, alignment=alignment, distance=distance)
    wanted = compare_maps(s.expand(2, 3, 4, 6), t, alignment=alignment, distance=distance)
    torch.testing.assert_close(found, wanted)


def test_a_map_of_zeros_teaches_nothing_by_cosine() -> None:
    student = draw(1, 1, 3, 3).requires_grad_()
    found = compare_maps(student, torch.zeros_like(student))
    found.sum().backward()
    assert found.item() == 1
    assert student.grad is not None
    assert float(student.grad.abs().max()) == 0


def test_half_precision_is_widened() -> None:
    found = compare_maps(draw(1, 2, 4, 4).bfloat16(), draw(1, 2, 4, 4, seed=1).bfloat16())
    assert found.dtype == torch.float32


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (lambda: check_comparison("gram", "kl"), "gram has no distance=kl: products"),
        (lambda: check_comparison("logits", "cosine"), "logits has no distance=cosine"),
        (lambda: check_comparison("spatial", "cosine", channels=1), "a class map has one only"),
        (lambda: check_comparison("gram", "l2", channels=1), "a class map has one only"),
        (lambda: check_comparison("place", "l2"), "alignment must be one of global"),
        (lambda: check_comparison("global", "l3"), "distance must be one of cosine"),
        (lambda: compare_maps(draw(1, 2, 3, 3), draw(1, 3, 3, 3)), "teacher must have shape"),
        (lambda: compare_maps(draw(1, 2, 3, 3), draw(1, 2, 3, 3), temperature=0), "above 0"),
        (lambda: ConsistencyLoss(alignment="gram"), "target=features"),
        (lambda: ConsistencyLoss(of="evidence", target="features"), "target=cam or pcm"),
        (
            lambda: ConsistencyLoss(target="features", alignment="logits", distance="kl"),
            "features are none",
        ),
        (lambda: ConsistencyLoss(weight=-1), "weight must be at least 0"),
        (lambda: ConsistencyLoss(background_share=0), "background_share must be above 0"),
        (lambda: ConsistencyLoss(boundary_reach=0), "boundary_reach must be at least 1"),
        (lambda: ConsistencyLoss(frames="some"), "frames must be one of all, smoke"),
        (lambda: ConsistencyLoss(lookalike_margin=1.5), r"lookalike_margin must lie in \[0, 1\]"),
    ],
)
def test_what_makes_no_sense_is_refused(call: Callable[[], Any], sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        call()


# ---- the border


def naive_misfit(p: Array, image: Array, teacher: Array, reach: int) -> float:
    """By its formula, on one grid; `image` is (3, h, w)."""
    rows, columns = p.shape
    places = [(y, x) for y in range(rows) for x in range(columns)]

    def border(y: int, x: int) -> float:
        near = teacher[max(0, y - reach) : y + reach + 1, max(0, x - reach) : x + reach + 1]
        return float(near.max() - near.min())

    pairs = []
    for y, x in places:
        for v, u in places:
            if (v, u) > (y, x) and abs(v - y) <= reach and abs(u - x) <= reach:
                weight = border(y, x) * border(v, u) / math.hypot(v - y, u - x)
                contrast = float(((image[:, y, x] - image[:, v, u]) ** 2).sum())
                pairs.append((weight, contrast, (p[y, x] - p[v, u]) ** 2))
    total = sum(w for w, _, _ in pairs)
    mean = sum(w * c for w, c, _ in pairs) / total
    alike = [math.exp(-c / (2 * mean)) for _, c, _ in pairs]
    across = sum(w * a * d for (w, _, d), a in zip(pairs, alike, strict=True)) / total
    change = sum(w * d for w, _, d in pairs) / total
    mean_alike = sum(w * a for (w, _, _), a in zip(pairs, alike, strict=True)) / total
    clear = max(border(y, x) for y, x in places)
    return clear * (across + 1e-4 * mean_alike) / (change + 1e-4)


@pytest.mark.parametrize("reach", [1, 2])
def test_misfit_is_its_formula(reach: int) -> None:
    p, teacher = draw(2, 4, 5).sigmoid(), draw(2, 4, 5, seed=1).sigmoid()
    images = draw(2, 3, 4, 5, seed=2)
    found = boundary_misfit(p, images, teacher, stride=1, reach=reach)
    wanted = [
        naive_misfit(p[i].numpy(), images[i].numpy(), teacher[i].numpy(), reach) for i in (0, 1)
    ]
    np.testing.assert_allclose(found.numpy(), wanted, rtol=1e-9)


def test_misfit_gradient_is_exact() -> None:
    images, teacher = draw(1, 3, 8, 8, seed=2), draw(1, 3, 3, seed=1).sigmoid()

    def misfit(logits: Tensor) -> Tensor:
        return boundary_misfit(logits.sigmoid(), images, teacher, stride=2, reach=1)

    assert torch.autograd.gradcheck(misfit, (draw(1, 3, 3).requires_grad_(),))


@given(seed=st.integers(0, 10_000), scale=st.floats(0.1, 1000))
@settings(max_examples=25, deadline=None)
def test_misfit_lies_in_the_unit_and_is_blind_to_the_scale_of_colours(
    seed: int, scale: float
) -> None:
    p, teacher = draw(2, 4, 4, seed=seed).sigmoid(), draw(2, 5, 5, seed=seed + 1).sigmoid()
    images = draw(2, 3, 12, 12, seed=seed + 2)
    found = boundary_misfit(p, images, teacher, stride=3)
    assert ((found >= 0) & (found <= 1)).all()
    scaled = boundary_misfit(p, scale * images, teacher, stride=3)
    torch.testing.assert_close(scaled, found, rtol=1e-8, atol=1e-10)


def step_frame(edge: int) -> Tensor:
    frame = torch.zeros(1, 3, 16, 16, dtype=torch.float64)
    frame[..., edge:] = 1
    return frame


def ramp_map(edge: int) -> Tensor:
    """A map that changes at `edge`, on a grid of 16."""
    return torch.sigmoid(torch.arange(16.0).double() - edge + 0.5).expand(1, 16, 16)


def test_a_border_where_the_picture_changes_fits_best() -> None:
    teacher = ramp_map(7)
    found = [
        float(boundary_misfit(ramp_map(edge), step_frame(8), teacher, stride=1))
        for edge in (5, 6, 7, 8)
    ]
    assert found == sorted(found, reverse=True)
    assert found[0] > 1.5 * found[-1]


def test_being_flat_is_no_way_out() -> None:
    """The energy of a random field prefers a map without border; this does not."""
    teacher, flat = ramp_map(7), torch.full((1, 16, 16), 0.5, dtype=torch.float64)
    frame = step_frame(8)
    fitting = boundary_misfit(ramp_map(8), frame, teacher, stride=1)
    assert float(fitting) < float(boundary_misfit(flat, frame, teacher, stride=1))


def test_a_teacher_without_border_asks_for_none() -> None:
    p = draw(1, 4, 4).sigmoid().requires_grad_()
    found = boundary_misfit(p, draw(1, 3, 8, 8), torch.full((1, 4, 4), 0.3), stride=2)
    found.sum().backward()
    assert found.item() == pytest.approx(0, abs=1e-6)
    assert p.grad is not None
    assert float(p.grad.abs().max()) < 1e-6


@pytest.mark.parametrize("scale", [1e-1, 1e-3, 0.0])
def test_a_faint_teacher_asks_for_little(scale: float) -> None:
    p = draw(1, 8, 8).sigmoid().requires_grad_()
    images, teacher = draw(1, 3, 8, 8, seed=1), draw(1, 8, 8, seed=2).sigmoid()
    clear, faint = (
        boundary_misfit(p, images, seen, stride=1) for seen in (teacher, scale * teacher)
    )
    torch.testing.assert_close(faint, scale * clear, rtol=1e-3, atol=1e-12)
    (steep,) = torch.autograd.grad(clear.sum(), p)
    (shallow,) = torch.autograd.grad(faint.sum(), p)
    torch.testing.assert_close(shallow, scale * steep, rtol=1e-3, atol=1e-12)


# ---- what is known to be wrong


def test_background_activation_is_the_loudest_softplus_of_smoke_free_frames() -> None:
    cells = [draw(3, 2, 2), draw(3, 2, 4, seed=1)]
    labels = torch.tensor([0.0, 1.0, 0.0])
    wanted = []
    for cell, count in zip(cells, (2, 4), strict=True):
        for frame in (0, 2):
            loudest = sorted(cell[frame].flatten().tolist(), reverse=True)[:count]
            wanted.append(sum(math.log1p(math.exp(v)) for v in loudest) / count)
    found = background_activation(cells, labels, share=0.5)
    assert found.item() == pytest.approx(sum(wanted) / len(wanted), rel=1e-12)


def test_background_activation_gradient_is_exact_and_reaches_every_position() -> None:
    labels = torch.tensor([0.0, 1.0])
    cell = draw(2, 2, 3).requires_grad_()
    assert torch.autograd.gradcheck(lambda x: background_activation([x], labels), (cell,))
    background_activation([cell], labels).backward()
    assert cell.grad is not None
    assert (cell.grad[0] > 0).all()
    assert (cell.grad[1] == 0).all()


def test_no_smoke_free_frame_means_no_loss() -> None:
    cell = draw(2, 2, 2).requires_grad_()
    found = background_activation([cell], torch.ones(2))
    found.backward()
    assert found.item() == 0


def test_lookalikes_are_silenced_where_the_teacher_sees_nothing() -> None:
    chimney, sky = torch.tensor([1.0, 0.0]).double(), torch.tensor([0.0, 1.0]).double()
    features = sky[None, :, None, None].repeat(1, 1, 2, 2)
    features[0, :, 0, 0] = features[0, :, 1, 1] = chimney
    teacher = torch.zeros(1, 2, 2, dtype=torch.float64)
    teacher[0, 1, 1] = 1  # there it is smoke that looks like a chimney
    cell = draw(1, 2, 2).requires_grad_()
    found = lookalike_activation(cell, features, chimney[None], teacher, torch.ones(1), margin=0.5)
    found.backward()
    # One position of four looks the same as a false alarm, which is 0.5 above the margin.
    wanted = 0.5 * math.log1p(math.exp(cell[0, 0, 0].item())) / 4
    assert found.item() == pytest.approx(wanted)
    assert cell.grad is not None
    silenced = cell.grad[0].abs() > 1e-12
    assert silenced.tolist() == [[True, False], [False, False]]


def test_a_frame_unlike_all_known_false_alarms_costs_nothing() -> None:
    known = torch.tensor([[1.0, 0.0, 0.0]]).double()
    features = torch.tensor([0.1, 1.0, 0.0]).double()[None, :, None, None].repeat(1, 1, 4, 4)
    features[0, 2, 1, 1] = 5  # less alike than the rest, which must not make that alike
    cell = draw(1, 4, 4).requires_grad_()
    args = (cell, features, known, torch.zeros(1, 4, 4), torch.ones(1))
    found = lookalike_activation(*args)
    found.backward()
    assert found.item() == 0
    assert cell.grad is not None
    assert not cell.grad.any()
    assert lookalike_activation(*args, margin=0.05).item() > 0


@given(seed=st.integers(0, 10_000), margin=st.floats(0, 0.9))
@settings(max_examples=25, deadline=None)
def test_lookalikes_never_cost_more_than_silence_everywhere(seed: int, margin: float) -> None:
    features, known = draw(2, 4, 3, 3, seed=seed), draw(3, 4, seed=seed + 1)
    cell, labels = draw(2, 3, 3, seed=seed + 2), torch.ones(2)
    teacher = draw(2, 2, 2, seed=seed + 3).sigmoid()
    found = lookalike_activation(cell, features, known, teacher, labels, margin=margin)
    assert 0 <= found <= (1 - margin) * background_activation([cell], torch.zeros(2))


def test_lookalike_gradient_is_exact_and_spares_smoke_free_frames() -> None:
    features, known, teacher = draw(2, 4, 2, 2), draw(3, 4, seed=1), draw(2, 2, 2).sigmoid()
    labels = torch.tensor([1.0, 0.0])
    cell = draw(2, 3, 3, seed=2).requires_grad_()

    def loud(x: Tensor) -> Tensor:
        return lookalike_activation(x, features, known, teacher, labels)

    assert torch.autograd.gradcheck(loud, (cell,))
    loud(cell).backward()
    assert cell.grad is not None
    assert float(cell.grad[1].abs().max()) == 0
    assert lookalike_activation(cell, features, known[:0], teacher, labels).item() == 0


# ---- the whole


def lesson(channels: int = 1) -> dict[str, Any]:
    return {
        "cells": [draw(4, 3, 3), draw(4, 2, 2, seed=1)],
        "features": draw(4, 5, 2, 2, seed=2),
        "projected": draw(4, channels, 2, 2, seed=3),
        "target": draw(4, channels, 4, 4, seed=4),
        "evidence": draw(4, 1, 4, 4, seed=4),
        "images": draw(4, 3, 32, 32, seed=5).sigmoid(),
        "labels": torch.tensor([1.0, 0.0, 1.0, 0.0], dtype=torch.float64),
        "lookalikes": draw(3, 5, seed=6),
    }


def test_evidence_follows_the_teacher_at_every_level() -> None:
    given_ = lesson()
    found = ConsistencyLoss(of="evidence", distance="l2", weight=2.0, fused=False)(**given_)
    teacher = given_["target"].sigmoid()
    each = [
        compare_maps(c[:, None].sigmoid(), teacher, distance="l2").mean() for c in given_["cells"]
    ]
    torch.testing.assert_close(found["consistency"], 2 * torch.stack(each).mean())
    assert set(found) == {"consistency"}


@pytest.mark.parametrize("distance", ["l2", "kl"])
def test_fused_evidence_is_the_geometric_mean_of_the_levels(distance: str) -> None:
    given_ = lesson()
    size = given_["target"].shape[-2:]
    levels = torch.stack([on_grid(cell[:, None], size) for cell in given_["cells"]]).sigmoid()
    mean = levels.pow(1 / len(levels)).prod(dim=0)
    student, teacher = mean, given_["target"].sigmoid()
    if distance == "kl":
        student, teacher = torch.logit(mean), given_["target"]
    wanted = compare_maps(student, teacher, distance=distance).mean()
    found = ConsistencyLoss(of="evidence", distance=distance)(**given_)["consistency"]
    torch.testing.assert_close(found, wanted)


def test_fused_evidence_has_gradients_however_sure_the_levels_are() -> None:
    given_ = lesson()
    cells = [torch.full_like(cell, 60.0).requires_grad_() for cell in given_["cells"]]
    loss = ConsistencyLoss(of="evidence", alignment="logits", distance="kl")
    loss(**{**given_, "cells": cells})["consistency"].backward()
    assert all(cell.grad is not None and cell.grad.isfinite().all() for cell in cells)


def test_features_are_compared_by_their_projection() -> None:
    given_ = lesson(channels=3)
    loss = ConsistencyLoss(target="features", alignment="channel")
    wanted = compare_maps(given_["projected"], given_["target"], alignment="channel").mean()
    torch.testing.assert_close(loss(**given_)["consistency"], wanted)


@pytest.mark.parametrize(
    ("alignment", "distance"), [("logits", "kl"), ("global", "kl"), ("logits", "l1")]
)
def test_divergences_are_of_logits(alignment: str, distance: str) -> None:
    given_ = lesson()
    loss = ConsistencyLoss(of="evidence", alignment=alignment, distance=distance, fused=False)
    each = [
        compare_maps(c[:, None], given_["target"], alignment=alignment, distance=distance).mean()
        for c in given_["cells"]
    ]
    torch.testing.assert_close(loss(**given_)["consistency"], torch.stack(each).mean())


def test_only_smoke_frames_follow_if_so_asked() -> None:
    given_ = lesson()
    projected = given_["projected"].requires_grad_()
    ConsistencyLoss(frames="smoke")(**given_)["consistency"].backward()
    reached = projected.grad.abs().flatten(1).sum(dim=1) > 0
    assert reached.tolist() == [True, False, True, False]


def test_by_confidence_a_frame_weighs_as_the_teachers_peak() -> None:
    given_ = lesson()
    given_["evidence"] = draw(4, 1, 4, 4, seed=7)  # need not be what is compared
    peaks = given_["evidence"].sigmoid().amax(dim=(1, 2, 3))
    apart = compare_maps(given_["projected"], given_["target"].sigmoid())
    found = ConsistencyLoss(teacher_confidence=True, weight=2.0)(**given_)
    torch.testing.assert_close(found["consistency"], 2 * (peaks * apart).mean())
    plain = ConsistencyLoss(weight=2.0)(**given_)
    torch.testing.assert_close(plain["consistency"], 2 * apart.mean())


def test_a_teacher_that_sees_nothing_asks_for_nothing_by_confidence() -> None:
    given_ = lesson()
    given_["target"] = given_["evidence"] = given_["evidence"] - 60
    for of in ("features", "evidence"):
        told = ConsistencyLoss(of=of, teacher_confidence=True, boundary_weight=1.0)(**given_)
        assert set(told) == {"consistency", "boundary"}
        assert all(0 <= float(value) < 1e-9 for value in told.values())


def test_nothing_flows_back_to_the_teacher() -> None:
    given_ = lesson()
    for name in ("target", "evidence", "images", "lookalikes"):
        given_[name].requires_grad_()
    for cell in given_["cells"]:
        cell.requires_grad_()
    loss = ConsistencyLoss(
        of="evidence", boundary_weight=1, background_weight=1, lookalike_weight=1
    )
    torch.stack(list(loss(**given_).values())).sum().backward()
    for name in ("target", "evidence", "images", "lookalikes"):
        assert given_[name].grad is None
    assert all(float(cell.grad.abs().sum()) > 0 for cell in given_["cells"])


@pytest.mark.parametrize("teacher_learns", [False, True])
def test_one_of_the_two_learns(teacher_learns: bool) -> None:
    given_ = lesson()
    student, teacher = given_["projected"].requires_grad_(), given_["target"].requires_grad_()
    ConsistencyLoss().apart(student, teacher, teacher_learns=teacher_learns).sum().backward()
    assert (student.grad is None) is teacher_learns
    assert (teacher.grad is None) is not teacher_learns


def test_every_term_has_its_switch_and_its_weight() -> None:
    terms = {"boundary", "background", "lookalike"}
    assert ConsistencyLoss(weight=0)(**lesson()) == {}
    for term in terms:
        one = ConsistencyLoss(weight=0, **{f"{term}_weight": 1.0})(**lesson())
        three = ConsistencyLoss(weight=0, **{f"{term}_weight": 3.0})(**lesson())
        assert set(one) == {term}
        torch.testing.assert_close(three[term], 3 * one[term])
        assert float(one[term]) > 0
