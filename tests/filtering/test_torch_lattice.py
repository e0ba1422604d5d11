"""The lattice in torch: the operator of the C++, on whatever device, without a way back."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from watch import READS_A_NUMBER, READS_A_SIZE, Watch

from weakseg.arrays import FrameArray
from weakseg.filtering import QUALITIES, Lattice, Quality, lattice
from weakseg.filtering.exact import exact_filter
from weakseg.filtering.key_table import KeyTable, Packing

TIGHT = 1e-5
SIGMAS = [(50, 15), (80, 10), (100, 5), (10, 3)]


def relative_error(found: Any, exact: Any) -> float:
    return float(np.linalg.norm(found - exact) / np.linalg.norm(exact))


def sky(side: int, rng: np.random.Generator) -> FrameArray:
    """(side, side, 3): a graded sky, a soft plume, camera noise and a burnt-out corner."""
    y, x = np.mgrid[:side, :side] / side
    plume = np.exp(-0.5 * (((x - 0.5) / 0.1) ** 2 + ((y - 0.5) / 0.3) ** 2))[..., None]
    blue = np.array([90, 140, 210]) * (0.7 + 0.3 * y[..., None])
    levels = (1 - plume) * blue + plume * 205 + rng.normal(0, 4, (side, side, 3))
    levels[: side // 4, : side // 4] = 255
    return np.clip(levels, 0, 255).astype(np.uint8)


def both(make: Callable[..., Lattice], values: Any, **settings: Any) -> tuple[Any, Any]:
    """Filter by both lattices, after checking that they have the same vertices."""
    native, in_torch = make(backend="native", **settings), make(backend="torch", **settings)
    assert in_torch.vertices == native.vertices
    return in_torch.filter(values), native.filter(values)


@pytest.mark.parametrize(
    ("quality", "symmetric"), [("standard", True), ("standard", False), ("high", True)]
)
@pytest.mark.parametrize("spread", [0.5, 3.0])
@pytest.mark.parametrize("dims", range(1, 9))
def test_random_points_agree_with_the_native_lattice(
    dims: int, spread: float, quality: Quality, symmetric: bool, rng: np.random.Generator
) -> None:
    features = (spread * rng.normal(size=(1500, dims))).astype(np.float32)
    values = rng.random((1500, 3), dtype=np.float32)
    found, native = both(
        lambda **s: Lattice(features, **s), values, quality=quality, symmetric=symmetric
    )
    # Measured: 5e-7 at most.
    assert relative_error(found, native) < TIGHT


@pytest.mark.parametrize("quality", QUALITIES)
@pytest.mark.parametrize(("sigma_xy", "sigma_rgb"), SIGMAS)
@pytest.mark.parametrize(
    "scene", ["plume", "sky", "noise", "flat", "blocks", "grey", "floats", "beyond"]
)
def test_frames_agree_with_the_native_lattice(
    scene: str,
    sigma_xy: float,
    sigma_rgb: float,
    quality: Quality,
    plume: FrameArray,
    rng: np.random.Generator,
) -> None:
    frame = {
        "plume": lambda: plume,
        "sky": lambda: sky(96, rng),
        "noise": lambda: rng.integers(0, 256, (40, 50, 3)).astype(np.uint8),
        "flat": lambda: np.full((40, 50, 3), 100, np.uint8),
        "blocks": lambda: np.kron(rng.integers(0, 256, (8, 8, 3)), np.ones((8, 8, 1))),
        "grey": lambda: np.repeat(sky(96, rng)[..., :1], 3, axis=2),
        "floats": lambda: rng.uniform(0, 255, (40, 50, 3)).astype(np.float32),
        "beyond": lambda: rng.uniform(-300, 600, (40, 50, 3)),
    }[scene]()
    values = rng.random((2, *frame.shape[:2]), dtype=np.float32)
    found, native = both(
        lambda **s: Lattice.from_image(
            frame, sigma_xy_pixels=sigma_xy, sigma_rgb_levels=sigma_rgb, **s
        ),
        values,
        quality=quality,
    )
    # Measured: 5e-6 at most, where torch sums many alike pixels one after the other.
    assert relative_error(found, native) < TIGHT


def test_bytes_and_floats_are_the_same_frame(plume: FrameArray) -> None:
    values = np.ones((1, 48, 64), np.float32)
    settings: dict[str, Any] = {"sigma_xy_pixels": 20, "sigma_rgb_levels": 9, "backend": "torch"}
    found = [
        Lattice.from_image(frame, **settings).filter(values)
        for frame in (plume, plume.astype(np.float32))
    ]
    np.testing.assert_array_equal(*found)


def test_float64_values_are_summed_in_float64() -> None:
    generator = torch.Generator().manual_seed(0)
    points = torch.randn(1, 900, 3, generator=generator)
    values = torch.rand(1, 900, 1, generator=generator, dtype=torch.float64)
    made = Lattice(points, backend="torch")
    fine, coarse = made.filter(values), made.filter(values.float())
    assert fine.dtype == torch.float64
    assert 1e-9 < (fine - coarse).norm() / fine.norm() < 1e-6
    # The lattice's own error at d = 3: 3.7 % measured.
    exact = exact_filter(values, points.double())
    assert (fine - exact).norm() < 0.07 * exact.norm()
    # A tenth of a float32's last digit gets through: sums, degree and weights keep it.
    nudged = made.filter(values * (1 + 1e-8), normalisation="row")
    torch.testing.assert_close(
        nudged / made.filter(values, normalisation="row") - 1,
        torch.full_like(nudged, 1e-8),
        rtol=1e-4,
        atol=0,
    )


def test_ring_has_what_neighbours_two() -> None:
    # A point on a vertex has weight there alone, but its simplex has three corners. Of the missing
    # around a triangle, those opposite its sides lie beside two.
    corner = np.zeros((1, 2), np.float32)
    standard, high = (Lattice(corner, quality=q, backend="torch") for q in QUALITIES)
    assert standard.vertices == 3
    assert high.vertices == 6


@pytest.mark.parametrize("quality", QUALITIES)
def test_frame_of_a_batch_has_its_own_vertices(quality: Quality, rng: np.random.Generator) -> None:
    features = rng.normal(size=(3, 80, 4)).astype(np.float32)
    batch = Lattice(features, quality=quality, backend="torch")
    each = [Lattice(points, quality=quality, backend="torch") for points in features]
    assert batch.vertices == sum(one.vertices for one in each)


def test_same_input_gives_the_same_bits(plume: FrameArray) -> None:
    frame = torch.from_numpy(plume).permute(2, 0, 1)
    values = torch.rand(5, 48, 64, generator=torch.Generator().manual_seed(0))

    def once() -> Tensor:
        made = Lattice.from_image(frame, sigma_xy_pixels=9, sigma_rgb_levels=9, backend="torch")
        return made.filter(values)

    assert torch.equal(once(), once())


def test_many_channels_are_as_good_as_few(rng: np.random.Generator) -> None:
    made = Lattice(rng.normal(size=(300, 5)), backend="torch")
    values = rng.random((300, 21), dtype=np.float32)
    apart = np.concatenate([made.filter(values[:, c : c + 1]) for c in range(21)], axis=1)
    np.testing.assert_allclose(made.filter(values), apart, rtol=1e-5)


@pytest.mark.parametrize("quality", QUALITIES)
@pytest.mark.parametrize("points", [1, 2, 3])
def test_few_points_agree(points: int, quality: Quality, rng: np.random.Generator) -> None:
    features = rng.normal(size=(points, 16)).astype(np.float32)
    found, native = both(
        lambda **s: Lattice(features, **s), np.ones((points, 1), np.float32), quality=quality
    )
    np.testing.assert_allclose(found, native, rtol=1e-5)


def test_huge_features_do_not_crash(rng: np.random.Generator) -> None:
    features = (1e6 * rng.uniform(-1, 1, size=(200, 16))).astype(np.float32)
    for quality in QUALITIES:
        made = Lattice(features, quality=quality, backend="torch")
        means = made.filter(np.ones((200, 1)), normalisation="row")
        np.testing.assert_allclose(means, 1, rtol=1e-5)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, 3e6])
def test_unsound_frame_is_nan_and_leaves_the_others_alone(
    bad: float, rng: np.random.Generator
) -> None:
    features = rng.normal(size=(3, 80, 4)).astype(np.float32)
    values = rng.random((3, 80, 2), dtype=np.float32)
    sound = Lattice(features, backend="torch").filter(values)
    features[1, 7, 2] = bad
    found = Lattice(features, backend="torch").filter(values)
    assert np.isnan(found[1]).all()
    np.testing.assert_array_equal(found[::2], sound[::2])


@pytest.mark.parametrize("bad", [np.nan, np.inf, 1e5])
def test_unsound_colour_is_nan_and_leaves_the_others_alone(
    bad: float, rng: np.random.Generator
) -> None:
    frames = torch.from_numpy(rng.uniform(0, 255, (2, 3, 9, 8)).astype(np.float32))
    settings: dict[str, Any] = {"sigma_xy_pixels": 5, "sigma_rgb_levels": 50, "backend": "torch"}
    sound = Lattice.from_image(frames, **settings).degree
    frames[0, 2, 3, 4] = bad
    found = Lattice.from_image(frames, **settings).degree
    assert found[0].isnan().all()
    assert torch.equal(found[1], sound[1])


@pytest.fixture
def no_way_back(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> Any:
        raise AssertionError("a tensor was read back to the CPU")

    for name in (
        *("cpu", "numpy", "tolist", "item", "is_nonzero", "__array__"),
        *("__bool__", "__int__", "__float__", "__index__"),
    ):
        monkeypatch.setattr(Tensor, name, refuse)


@pytest.mark.usefixtures("no_way_back")
@pytest.mark.parametrize("normalisation", ["none", "row", "symmetric"])
@pytest.mark.parametrize(
    ("quality", "sizes"),
    [
        ("standard", {"aten::_unique2", "aten::unique_consecutive"}),
        ("high", {"aten::_unique2", "aten::unique_consecutive", "aten::nonzero"}),
    ],
)
def test_nothing_but_sizes_is_read_back(
    normalisation: Any, quality: Quality, sizes: set[str]
) -> None:
    generator = torch.Generator().manual_seed(0)
    frames = 255 * torch.rand(2, 3, 12, 14, generator=generator)
    values = torch.rand(2, 3, 12, 14, generator=generator, requires_grad=True)
    points = torch.randn(2, 50, 9, generator=generator)
    with Watch() as watch:
        for given in (frames, frames.byte()):
            made = Lattice.from_image(
                given, sigma_xy_pixels=9, sigma_rgb_levels=9, quality=quality, backend="torch"
            )
            made.filter(values, normalisation=normalisation).sum().backward()
        made = Lattice(points, quality=quality, backend="torch")
        made.filter(torch.ones(2, 50, 1), normalisation=normalisation)
    assert "aten::segment_reduce" in watch.names
    assert not watch.names & READS_A_NUMBER
    assert watch.names & READS_A_SIZE == sizes
    assert watch.targets == {None}


def test_watch_sees_what_is_read_back() -> None:
    numbers = torch.arange(3.0)
    with Watch() as watch:
        float(numbers.sum())
        numbers[numbers > 1].to("meta")
    assert watch.names >= {"aten::_local_scalar_dense", "aten::_to_copy"}
    assert watch.targets == {torch.device("meta")}


def test_tensors_of_another_device_go_through_torch() -> None:
    assert lattice._is_native("auto", torch.zeros(2))
    assert not lattice._is_native("torch", torch.zeros(2))
    elsewhere = torch.zeros(2, device="meta")
    assert not lattice._is_native("auto", elsewhere)
    with pytest.raises(ValueError, match=r"native backend runs on the CPU, .* on meta"):
        lattice._is_native("native", elsewhere)


@pytest.mark.parametrize(
    "radices", [[3, 5, 7], [2**20, 2**20, 2**20, 7], [2**31, 2**31, 2**31, 2**31, 6]]
)
def test_packed_keys_are_found_again(radices: list[int], rng: np.random.Generator) -> None:
    digits = torch.from_numpy(np.stack([rng.integers(1, min(r - 1, 4), 400) for r in radices]))
    packing = Packing(radices)
    table = KeyTable(packing.pack(list(digits)), packing)
    distinct = digits.unique(dim=1)
    assert len(table) == distinct.shape[1]
    # In order, as radices were given most significant first.
    assert torch.equal(digits[:, table.firsts], distinct)
    assert torch.equal(table.find(packing.pack(list(distinct))), torch.arange(len(table)))
    shifted = distinct.clone()
    shifted[-1] += 1
    moved = [
        word + change
        for word, change in zip(
            packing.pack(list(distinct)),
            packing.shift([0] * (len(radices) - 1) + [1]),
            strict=True,
        )
    ]
    there = {tuple(column): place for place, column in enumerate(distinct.T.tolist())}
    wanted = [there.get(tuple(column), len(table)) for column in shifted.T.tolist()]
    assert table.find(moved).tolist() == wanted


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.usefixtures("deterministic")
@pytest.mark.parametrize("quality", QUALITIES)
@pytest.mark.parametrize(("sigma_xy", "sigma_rgb"), SIGMAS)
def test_cuda_agrees_with_the_cpu(
    sigma_xy: float, sigma_rgb: float, quality: Quality, rng: np.random.Generator
) -> None:
    frames = torch.from_numpy(np.stack([sky(96, rng), sky(96, rng)])).permute(0, 3, 1, 2)
    values = torch.rand(2, 2, 96, 96, generator=torch.Generator().manual_seed(0))

    def once(device: str) -> Tensor:
        made = Lattice.from_image(
            frames.to(device),
            sigma_xy_pixels=sigma_xy,
            sigma_rgb_levels=sigma_rgb,
            quality=quality,
        )
        sums = made.filter(values.to(device))
        assert sums.device.type == device
        return sums

    there = once("cuda")
    assert torch.equal(there, once("cuda"))
    here = once("cpu")
    assert (there.cpu() - here).norm() < TIGHT * here.norm()


@pytest.fixture
def deterministic() -> Any:
    torch.use_deterministic_algorithms(True)
    yield
    torch.use_deterministic_algorithms(False)
