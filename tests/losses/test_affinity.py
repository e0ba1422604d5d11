"""The affinity loss equals a naive double loop, and leaves out what is not sure."""

from __future__ import annotations

import math

import pytest
import torch

from weakseg.labels import IGNORE
from weakseg.losses.affinity import (
    PAIR_KINDS,
    affinity_loss,
    balanced_costs,
    both_ends,
    grid_seeds,
    half_disc,
    pair_costs,
)


def naive_costs(
    embedding: torch.Tensor, seeds: torch.Tensor, radius: int
) -> dict[str, list[float]]:
    """Visit every pair of cells once, in plain Python."""
    found: dict[str, list[float]] = {name: [] for name in PAIR_KINDS}
    batch, _, height, width = embedding.shape
    cells = [(y, x) for y in range(height) for x in range(width)]
    for b in range(batch):
        for i, (y, x) in enumerate(cells):
            for v, u in cells[i + 1 :]:
                ends = {int(seeds[b, y, x]), int(seeds[b, v, u])}
                if math.hypot(v - y, u - x) >= radius or IGNORE in ends:
                    continue
                apart = float((embedding[b, :, y, x] - embedding[b, :, v, u]).abs().mean())
                if len(ends) == 2:
                    found["between"].append(-math.log(1 - math.exp(-apart) + 1e-5))
                else:
                    found["smoke" if ends == {1} else "background"].append(apart)
    return found


def random_seeds(*shape: int) -> torch.Tensor:
    choice = torch.randint(0, 3, shape, generator=torch.Generator().manual_seed(1))
    return torch.tensor([0, 1, IGNORE])[choice]


def random_embedding(*shape: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(*shape, generator=generator, dtype=torch.float64)


@pytest.mark.parametrize(
    ("height", "width", "radius"), [(5, 7, 3), (3, 2, 5), (6, 5, 2), (1, 1, 2)]
)
def test_costs_equal_a_double_loop(height: int, width: int, radius: int) -> None:
    embedding, seeds = random_embedding(2, 4, height, width), random_seeds(2, height, width)
    naive = naive_costs(embedding, seeds, radius)
    sums, counts = pair_costs(embedding, seeds, radius=radius)
    assert counts.tolist() == [len(naive[kind]) for kind in PAIR_KINDS]
    wanted = torch.tensor([sum(naive[kind]) for kind in PAIR_KINDS], dtype=torch.float64)
    torch.testing.assert_close(sums, wanted)
    means = [sum(naive[kind]) / max(1, len(naive[kind])) for kind in PAIR_KINDS]
    loss = affinity_loss(embedding, seeds, radius=radius)
    assert float(loss["loss"]) == pytest.approx(means[0] / 4 + means[1] / 4 + means[2] / 2)
    assert [float(loss[kind]) for kind in PAIR_KINDS] == pytest.approx(means)


def test_no_pair_costs_less_than_nothing() -> None:
    """However far apart unlike cells are."""
    embedding = torch.tensor([[[[0.0, 1e3]]]])
    sums, counts = pair_costs(embedding, torch.tensor([[[0, 1]]]), radius=2)
    assert counts.tolist() == [0, 0, 1]
    assert sums[2] == 0


def test_gradient_is_exact() -> None:
    embedding, seeds = random_embedding(1, 3, 4, 5).requires_grad_(), random_seeds(1, 4, 5)
    assert torch.autograd.gradcheck(
        lambda x: affinity_loss(x, seeds, radius=3)["loss"], (embedding,)
    )


def test_ignored_cells_do_not_count() -> None:
    embedding, seeds = random_embedding(1, 3, 6, 6), random_seeds(1, 6, 6)
    changed = torch.where((seeds == IGNORE)[:, None], embedding + 9, embedding)
    assert torch.equal(
        affinity_loss(embedding, seeds)["loss"], affinity_loss(changed, seeds)["loss"]
    )


def test_kinds_without_pairs_cost_nothing() -> None:
    embedding = random_embedding(1, 3, 4, 4).requires_grad_()
    smoke_free = affinity_loss(embedding, torch.zeros(1, 4, 4, dtype=torch.int64))
    assert smoke_free["smoke"] == 0
    assert smoke_free["between"] == 0
    torch.testing.assert_close(smoke_free["loss"], smoke_free["background"] / 4)
    unsure = affinity_loss(embedding, torch.full((1, 4, 4), IGNORE))["loss"]
    unsure.backward()  # type: ignore[no-untyped-call]
    assert unsure == 0
    assert embedding.grad is not None
    assert torch.equal(embedding.grad, torch.zeros_like(embedding))


def test_like_cells_across_classes_cost_much_but_not_infinitely() -> None:
    seeds = torch.tensor([[[0, 1]]])
    loss = affinity_loss(torch.ones(1, 3, 1, 2, requires_grad=True), seeds)["loss"]
    loss.backward()  # type: ignore[no-untyped-call]
    assert loss.item() == pytest.approx(-math.log(1e-5) / 2, rel=1e-5)


def test_sums_of_batches_add_up() -> None:
    embedding, seeds = random_embedding(4, 3, 5, 5), random_seeds(4, 5, 5)
    whole = affinity_loss(embedding, seeds)
    first, second = (pair_costs(embedding[k], seeds[k], radius=5) for k in (slice(1), slice(1, 4)))
    joined = balanced_costs(first[0] + second[0], first[1] + second[1])
    for name, cost in whole.items():
        torch.testing.assert_close(joined[name], cost)


def test_half_precision_is_widened() -> None:
    embedding, seeds = random_embedding(1, 3, 4, 4), random_seeds(1, 4, 4)
    assert affinity_loss(embedding.half(), seeds)["loss"].dtype == torch.float32


def test_the_half_disc_and_its_opposite_make_the_disc() -> None:
    ways = half_disc(5)
    assert len(ways) == 34
    both = {*ways, *((-dy, -dx) for dy, dx in ways)}
    assert both == {
        (dy, dx) for dy in range(-5, 6) for dx in range(-5, 6) if 0 < math.hypot(dy, dx) < 5
    }


def test_both_ends_lie_the_way_apart() -> None:
    rows, columns = torch.meshgrid(torch.arange(4), torch.arange(5), indexing="ij")
    for dy, dx in [(0, 1), (2, -3), (1, 4)]:
        here, there = both_ends(4, 5, dy, dx)
        assert torch.equal(rows[there], rows[here] + dy)
        assert torch.equal(columns[there], columns[here] + dx)
        assert rows[here].numel() == (4 - abs(dy)) * (5 - abs(dx))
    for end in both_ends(4, 5, 4, 0):
        assert rows[end].numel() == 0


def test_a_cell_takes_what_most_of_its_pixels_say() -> None:
    mask = torch.tensor(
        [
            [1, 1, 0, 0, 1],
            [1, 0, 1, 0, 1],
            [1, 1, 255, 255, 1],
            [1, 0, 255, 0, 1],
        ]
    )[None]
    # The last column has but half of its cells' pixels.
    assert grid_seeds(mask, 2).tolist() == [[[1, 0, 255], [1, 255, 255]]]


def test_misfits_are_refused() -> None:
    with pytest.raises(ValueError, match=r"seeds must have shape \(1, 4, 4\)"):
        affinity_loss(torch.zeros(1, 2, 4, 4), torch.zeros(1, 2, 4, dtype=torch.int64))
    with pytest.raises(ValueError, match="radius must be at least 2"):
        half_disc(1)
