"""Scripts for pydensecrf run by one changed import line, and say what pydensecrf says."""

from __future__ import annotations

import importlib
import pickle
from pathlib import Path
from textwrap import dedent
from types import ModuleType
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

import weakseg.densecrf as dcrf
from weakseg.arrays import FrameArray
from weakseg.data import read_frame

Floats = npt.NDArray[Any]

PHOTOS = Path(__file__).parents[1].parent / "shared" / "data" / "smoke_bench" / "val" / "images"

# What pydensecrf documents: `im` is a frame of H x W, `py` the probabilities of 3 labels.
USAGE = {
    "two dimensions, step by step options": """
        d = dcrf.DenseCRF2D(W, H, 3)
        U = -np.log(py)
        U = U.reshape((3, -1))
        d.setUnaryEnergy(U)
        d.addPairwiseGaussian(sxy=(3, 3), compat=3, kernel=dcrf.DIAG_KERNEL,
                              normalization=dcrf.NORMALIZE_SYMMETRIC)
        d.addPairwiseBilateral(sxy=(80, 80), srgb=(13, 13, 13), rgbim=im, compat=4,
                               kernel=dcrf.DIAG_KERNEL, normalization=dcrf.NORMALIZE_SYMMETRIC)
        Q = d.inference(5)
    """,
    "shortcuts": """
        d = dcrf.DenseCRF2D(W, H, 3)
        d.setUnaryEnergy(unary_from_softmax(py))
        d.addPairwiseGaussian(sxy=3, compat=3)
        d.addPairwiseBilateral(sxy=40, srgb=13, rgbim=im, compat=4)
        Q = d.inference(5)
    """,
    "unary object": """
        d = dcrf.DenseCRF2D(W, H, 3)
        d.setUnary(dcrf.ConstUnary(unary_from_softmax(py, scale=0.7)))
        d.addPairwiseGaussian(sxy=3, compat=3, kernel=dcrf.CONST_KERNEL,
                              normalization=dcrf.NORMALIZE_BEFORE)
        Q = d.inference(5)
    """,
    "logistic unary": """
        d = dcrf.DenseCRF2D(W, H, 3)
        L = np.array([[1, -1], [0, 2], [-1, 1]], dtype=np.float32)
        f = np.ascontiguousarray(py.reshape((3, -1))[:2])
        d.setUnary(dcrf.LogisticUnary(L, f))
        d.addPairwiseGaussian(sxy=(5, 2), compat=3, kernel=dcrf.FULL_KERNEL,
                              normalization=dcrf.NORMALIZE_AFTER)
        Q = d.inference(5)
    """,
    "labels, some of them unsure": """
        labels = py.argmax(0) + 1
        labels[py.max(0) < 0.5] = 0
        d = dcrf.DenseCRF2D(W, H, 3)
        d.setUnaryEnergy(unary_from_labels(labels, 3, gt_prob=0.7, zero_unsure=True))
        d.addPairwiseBilateral(sxy=(30, 20), srgb=(13, 20, 9), rgbim=im, compat=5)
        Q = d.inference(3)
    """,
    "features of any kind": """
        d = dcrf.DenseCRF(H * W, 3)
        d.setUnaryEnergy(unary_from_labels(py.argmax(0), 3, gt_prob=0.7, zero_unsure=False))
        feats = create_pairwise_gaussian(sdims=(3, 3), shape=(H, W))
        d.addPairwiseEnergy(feats, compat=3, kernel=dcrf.DIAG_KERNEL,
                            normalization=dcrf.NORMALIZE_SYMMETRIC)
        feats = create_pairwise_bilateral(sdims=(30, 30), schan=(13, 13, 13), img=im, chdim=2)
        d.addPairwiseEnergy(feats, compat=5)
        Q = d.inference(5)
    """,
    "a grey volume": """
        volume = im.astype(np.float32).transpose(2, 0, 1)
        d = dcrf.DenseCRF(volume.size, 2)
        grey = np.clip(volume / 255, 0.1, 0.9)
        d.setUnaryEnergy(unary_from_softmax(np.stack([grey, 1 - grey])))
        feats = create_pairwise_gaussian(sdims=(1, 3, 3), shape=volume.shape)
        d.addPairwiseEnergy(feats, compat=1)
        feats = create_pairwise_bilateral(sdims=(1, 9, 9), schan=(20,), img=volume)
        d.addPairwiseEnergy(feats, compat=2)
        Q = d.inference(5)
    """,
    "costs of any two labels": """
        d = dcrf.DenseCRF2D(W, H, 3)
        d.setUnaryEnergy(unary_from_softmax(py))
        # Not symmetric: half the sum with the transpose is what counts.
        costs = np.array([[0, 1, 4], [3, 0, 1], [2, 3, 0.5]], dtype=np.float32)
        d.addPairwiseGaussian(sxy=3, compat=costs)
        Q = d.inference(5)
    """,
    "costs of like labels": """
        d = dcrf.DenseCRF2D(W, H, 3)
        d.setUnaryEnergy(unary_from_softmax(py))
        d.addPairwiseGaussian(sxy=3, compat=np.array([-3, 1, -2], dtype=np.float32))
        Q = d.inference(5)
    """,
    "no normalisation": """
        d = dcrf.DenseCRF2D(W, H, 3)
        d.setUnaryEnergy(unary_from_softmax(py))
        d.addPairwiseGaussian(sxy=3, compat=0.05, normalization=dcrf.NO_NORMALIZATION)
        Q = d.inference(5)
    """,
    "one step at a time": """
        d = dcrf.DenseCRF2D(W, H, 3)
        d.setUnaryEnergy(unary_from_softmax(py))
        d.addPairwiseGaussian(sxy=3, compat=3)
        Q, tmp1, tmp2 = d.startInference()
        for i in range(5):
            print("KL-divergence at {}: {}".format(i, d.klDivergence(Q)))
            d.stepInference(Q, tmp1, tmp2)
        kl = d.klDivergence(Q)
    """,
    "no unary, no kernel": """
        d = dcrf.DenseCRF(7, 2)
        Q = d.inference(2)
    """,
}


@pytest.fixture
def py(rng: np.random.Generator, plume: FrameArray) -> Floats:
    """(3, 48, 64) float32: three labels told by colour, uncertain and noisy."""
    grey = plume.mean(2) / 255
    noisy = grey + rng.normal(0, 0.1, grey.shape)
    evidence = np.stack([-((noisy - level) ** 2) * 20 for level in (0.55, 0.65, 0.75)])
    powers = np.exp(evidence)
    return np.asarray(powers / powers.sum(0), np.float32)


def run(usage: str, package: str, im: FrameArray, py: Floats) -> dict[str, Any]:
    """Run a script with the imports of one package or of the other."""
    imports = {
        "weakseg": "import weakseg.densecrf as dcrf\nfrom weakseg.densecrf import",
        "pydensecrf": "import pydensecrf.densecrf as dcrf\nfrom pydensecrf.utils import",
    }[package]
    names = "unary_from_softmax, unary_from_labels, create_pairwise_gaussian, "
    names += "create_pairwise_bilateral"
    height, width = im.shape[:2]
    found: dict[str, Any] = {"np": np, "im": im.copy(), "py": py.copy(), "H": height, "W": width}
    exec(f"{imports} {names}\n{dedent(usage)}", found)
    return found


@pytest.mark.parametrize("usage", USAGE.values(), ids=USAGE)
def test_documented_usage_runs(usage: str, plume: FrameArray, py: Floats) -> None:
    found = run(usage, "weakseg", plume, py)
    q = found["Q"]
    assert q.dtype == np.float32
    assert q.flags.writeable
    assert q.min() >= 0
    np.testing.assert_allclose(q.sum(0), 1, atol=1e-5)
    assert np.array(q).argmax(axis=0).shape == (found["d"]._nvar,)


@pytest.mark.parametrize("usage", USAGE.values(), ids=USAGE)
def test_documented_usage_says_what_pydensecrf_says(
    usage: str, plume: FrameArray, py: Floats
) -> None:
    pytest.importorskip("pydensecrf.densecrf")
    ours = run(usage, "weakseg", plume, py)
    theirs = run(usage, "pydensecrf", plume, py)
    expected = np.array(theirs["Q"])
    assert ours["Q"].shape == expected.shape
    assert ours["Q"].strides == expected.strides
    assert np.abs(ours["Q"] - expected).max() <= 1e-3
    assert (ours["Q"].argmax(0) == expected.argmax(0)).mean() >= 0.9999
    if "kl" in theirs:
        # pydensecrf sums products in single precision: measured 9e-8 of the sum.
        assert ours["kl"] == pytest.approx(theirs["kl"], rel=1e-5)


@pytest.mark.skipif(not PHOTOS.is_dir(), reason="needs the photos of smoke_bench")
@pytest.mark.parametrize("classes", [2, 5, 21])
def test_photos_come_out_as_by_pydensecrf(classes: int, rng: np.random.Generator) -> None:
    theirs = pytest.importorskip("pydensecrf.densecrf")
    for path in sorted(PHOTOS.glob("*.jpg"))[::40][:2]:
        frame = read_frame(path)[:, :-3].copy()  # a number of pixels that 4 does not divide
        height, width = frame.shape[:2]
        coarse = rng.dirichlet(np.ones(classes), (height // 16 + 1, width // 16 + 1))
        fine = coarse.repeat(16, 0).repeat(16, 1)[:height, :width].transpose(2, 0, 1)

        def infer(module: Any, frame: FrameArray = frame, fine: Floats = fine) -> Floats:
            crf = module.DenseCRF2D(frame.shape[1], frame.shape[0], classes)
            crf.setUnaryEnergy(dcrf.unary_from_softmax(fine))
            crf.addPairwiseGaussian(sxy=3, compat=3)
            crf.addPairwiseBilateral(sxy=80, srgb=13, rgbim=frame, compat=10)
            return np.array(crf.inference(5))

        expected, found = infer(theirs), infer(dcrf)
        assert np.abs(expected - fine.reshape(classes, -1)).mean() > 0.01
        assert np.abs(found - expected).max() <= 1e-3
        assert (found.argmax(0) == expected.argmax(0)).mean() >= 0.9999


@pytest.mark.parametrize("seed", range(20))
def test_small_dark_frames_come_out_as_by_pydensecrf(seed: int) -> None:
    # Where 4 does not divide the pixels, pydensecrf fills up with black ones at the origin, which
    # weigh nothing but pass on what their neighbours on the lattice hold.
    theirs = pytest.importorskip("pydensecrf.densecrf")
    rng = np.random.default_rng(seed)
    height, width = (int(size) for size in rng.integers(1, 24, 2))
    frame = rng.integers(0, 40, (height, width, 3)).astype(np.uint8)
    energies = rng.exponential(1, (3, height * width)).astype(np.float32)
    sxy, srgb = tuple(rng.uniform(1, 9, 2)), float(rng.uniform(3, 40))

    def infer(module: Any) -> Floats:
        crf = module.DenseCRF2D(width, height, 3)
        crf.setUnaryEnergy(energies)
        crf.addPairwiseGaussian(sxy, 1, normalization=seed % 3 + 1)
        crf.addPairwiseBilateral(sxy, srgb, frame, 3, normalization=seed % 3 + 1)
        return np.array(crf.inference(4))

    expected = infer(theirs)
    np.testing.assert_allclose(infer(dcrf), expected, atol=1e-3)


def test_names_are_those_of_pydensecrf() -> None:
    pytest.importorskip("pydensecrf.densecrf")
    for name in ("densecrf", "utils"):
        theirs: ModuleType = importlib.import_module(f"pydensecrf.{name}")
        words = {word for word in vars(theirs) if not word.startswith("_")}
        words -= {"Number", "eigen", "np", "warning"}
        assert words <= set(vars(dcrf))
        for word in words:
            if isinstance(getattr(theirs, word), int):
                assert getattr(dcrf, word) == getattr(theirs, word)


# ---- unaries and features


def test_unaries_equal_pydensecrfs(py: Floats) -> None:
    theirs = pytest.importorskip("pydensecrf.utils")
    labels = py.argmax(0)
    for given in (py, py.astype(np.float64)):
        for how in ({}, {"scale": 0.6}, {"clip": 0.2}, {"scale": 1.0, "clip": None}):
            expected = theirs.unary_from_softmax(given, **how)
            # One rounding more or less of the mixture: measured 2.4e-7.
            np.testing.assert_allclose(dcrf.unary_from_softmax(given, **how), expected, atol=1e-6)
    for zero_unsure in (False, True):
        expected = theirs.unary_from_labels(labels, 3, 0.8, zero_unsure)
        np.testing.assert_array_equal(dcrf.unary_from_labels(labels, 3, 0.8, zero_unsure), expected)


def test_features_equal_pydensecrfs(rng: np.random.Generator) -> None:
    theirs = pytest.importorskip("pydensecrf.utils")
    expected = theirs.create_pairwise_gaussian((3, 1.7, 0.3), (4, 5, 6))
    np.testing.assert_array_equal(dcrf.create_pairwise_gaussian((3, 1.7, 0.3), (4, 5, 6)), expected)
    volume = rng.integers(0, 256, (4, 5, 6, 2)).astype(np.uint8)
    for chdim in (-1, 0, 3, -2):
        count = 4 if chdim == -1 else 3
        for schan in (7.1, [7.1, 0.3, 9, 1, 2, 3][: 1 if chdim == -1 else volume.shape[chdim]]):
            sdims = (3, 1.7, 0.3, 2)[:count]
            np.testing.assert_array_equal(
                dcrf.create_pairwise_bilateral(sdims, schan, volume, chdim),
                theirs.create_pairwise_bilateral(sdims, schan, volume, chdim),
            )


def test_labels_turn_into_energies() -> None:
    sure, other, unsure = -np.log(0.8), -np.log(0.1), -np.log(1 / 3)
    expected = [[unsure, sure, other, other], [unsure, other, sure, other]]
    expected.append([unsure, other, other, sure])
    labels = np.arange(4, dtype=np.uint8).reshape(2, 2)
    np.testing.assert_allclose(dcrf.unary_from_labels(labels, 3, 0.8), expected, rtol=1e-6)
    np.testing.assert_allclose(
        dcrf.unary_from_labels(labels[:, 0], 3, 0.8, zero_unsure=False),
        np.array([[sure, other], [other, other], [other, sure]]),
        rtol=1e-6,
    )


def test_old_names_still_work(py: Floats) -> None:
    with pytest.warns(DeprecationWarning, match="unary_from_labels"):
        found = dcrf.compute_unary(py.argmax(0), 3)
    np.testing.assert_array_equal(found, dcrf.unary_from_labels(py.argmax(0), 3, 0.5))
    with pytest.warns(DeprecationWarning, match="unary_from_softmax"):
        found = dcrf.softmax_to_unary(py)
    np.testing.assert_allclose(found, -np.log(py).reshape(3, -1), rtol=1e-6)


# ---- what pydensecrf would not take


@pytest.fixture
def crf(plume: FrameArray, py: Floats) -> dcrf.DenseCRF2D:
    made = dcrf.DenseCRF2D(64, 48, 3)
    made.setUnaryEnergy(dcrf.unary_from_softmax(py))
    made.addPairwiseGaussian(sxy=3, compat=2)
    made.addPairwiseBilateral(sxy=20, srgb=13, rgbim=plume, compat=4)
    return made


def test_arrays_of_any_layout_and_precision_are_taken(
    plume: FrameArray, py: Floats, crf: dcrf.DenseCRF2D
) -> None:
    expected = crf.inference(5)
    energies = dcrf.unary_from_softmax(py)
    kind = dcrf.DenseCRF2D(np.int64(64), np.uint8(48), 3)
    for unary in (
        energies.astype(np.float64),
        np.asfortranarray(energies),
        energies.reshape(3, 48, 64),
        energies.tolist(),
    ):
        kind.setUnaryEnergy(unary)
    kind.addPairwiseGaussian(sxy=[3, 3], compat=[-2, -2, -2])
    frozen = np.asfortranarray(plume).astype(np.int64)
    frozen.flags.writeable = False
    kind.addPairwiseBilateral(np.array([20, 20]), np.float32(13), frozen, np.float64(4), 2, 3)
    np.testing.assert_allclose(kind.inference(5), expected, atol=1e-5)


def test_uneven_reach_goes_along_its_own_axes(plume: FrameArray, py: Floats) -> None:
    found = []
    for sxy, srgb in (((20, 5), (9, 13, 30)), ((5, 20), (9, 13, 30)), ((20, 5), (30, 13, 9))):
        crf = dcrf.DenseCRF2D(64, 48, 3)
        crf.setUnaryEnergy(dcrf.unary_from_softmax(py))
        crf.addPairwiseBilateral(sxy, srgb, plume, 4)
        found.append(crf.inference(2))
    turned = dcrf.DenseCRF2D(48, 64, 3)
    turned.setUnaryEnergy(dcrf.unary_from_softmax(py.transpose(0, 2, 1)))
    turned.addPairwiseBilateral((5, 20), (9, 13, 30), plume.transpose(1, 0, 2), 4)
    mirrored = turned.inference(2).reshape(3, 64, 48).transpose(0, 2, 1).reshape(3, -1)
    # The lattice tells x from y: turning the frame changes 0.003, turning a reach 0.012.
    assert np.abs(found[0] - mirrored).mean() < 0.006
    assert np.abs(found[0] - found[1]).mean() > 0.009
    assert np.abs(found[0] - found[2]).mean() > 0.009


def test_impossible_labels_stay_impossible(plume: FrameArray, py: Floats) -> None:
    shares = py.copy()
    shares[1, :, :32] = 0
    crf = dcrf.DenseCRF2D(64, 48, 3)
    crf.setUnaryEnergy(dcrf.unary_from_softmax(shares, clip=None))
    crf.addPairwiseBilateral(sxy=20, srgb=13, rgbim=plume, compat=4)
    q = crf.inference(5)
    np.testing.assert_array_equal(q[1].reshape(48, 64)[:, :32], 0)
    assert q[1].max() > 0.1
    assert np.isfinite(crf.klDivergence(q))


def test_steps_add_up_to_inference(crf: dcrf.DenseCRF2D) -> None:
    q, *rest = crf.startInference()
    np.testing.assert_array_equal(q, crf.inference(0))
    copy = np.ascontiguousarray(q, np.float64)
    for _ in range(3):
        assert crf.stepInference(q, *rest) is None  # type: ignore[func-returns-value]
        crf.stepInference(copy)
    np.testing.assert_allclose(q, crf.inference(3), atol=1e-6)
    np.testing.assert_allclose(copy, q, atol=1e-6)


def test_divergence_is_what_its_definition_says(rng: np.random.Generator) -> None:
    features = rng.uniform(0, 4, (2, 90))
    energies = rng.exponential(1, (3, 90))
    q = rng.dirichlet(np.ones(3), 90).T
    weights = np.exp(-0.5 * ((features[:, :, None] - features[:, None]) ** 2).sum(0))
    weights /= weights.sum(1, keepdims=True)
    exact = (q * (np.log(q) + energies)).sum() - 2 * np.einsum("ki,ij,kj", q, weights, q)
    crf = dcrf.DenseCRF(90, 3)
    crf.setUnaryEnergy(energies)
    crf.addPairwiseEnergy(features, 2, dcrf.FULL_KERNEL, dcrf.NORMALIZE_AFTER)
    # The lattice only approximates the weights: measured 3.4e-3 of the sum.
    assert crf.klDivergence(q) == pytest.approx(exact, rel=1e-2)


def test_threads_change_nothing(plume: FrameArray, py: Floats) -> None:
    def infer(threads: int) -> Floats:
        crf = dcrf.DenseCRF2D(64, 48, 3, threads=threads)
        crf.setUnaryEnergy(dcrf.unary_from_softmax(py))
        crf.addPairwiseBilateral(sxy=20, srgb=13, rgbim=plume, compat=4)
        return crf.inference(5)

    np.testing.assert_array_equal(infer(1), infer(3))


def test_the_more_exact_mode_labels_alike(
    plume: FrameArray, py: Floats, crf: dcrf.DenseCRF2D
) -> None:
    exact = dcrf.DenseCRF2D(64, 48, 3, compatible=False)
    exact.setUnaryEnergy(dcrf.unary_from_softmax(py))
    exact.addPairwiseGaussian(sxy=3, compat=2)
    exact.addPairwiseBilateral(sxy=20, srgb=13, rgbim=plume, compat=4)
    same = (exact.inference(5).argmax(0) == crf.inference(5).argmax(0)).mean()
    assert same > 0.97


def test_inputs_are_copied(plume: FrameArray, py: Floats) -> None:
    frame, energies = plume.copy(), dcrf.unary_from_softmax(py)
    crf = dcrf.DenseCRF2D(64, 48, 3)
    crf.setUnaryEnergy(energies)
    crf.addPairwiseBilateral(sxy=20, srgb=13, rgbim=frame, compat=4)
    expected = crf.inference(2)
    energies[:] = 0
    frame[:] = 0
    np.testing.assert_array_equal(crf.inference(2), expected)


def test_constants_survive_a_file() -> None:
    assert pickle.loads(pickle.dumps(dcrf.NORMALIZE_AFTER)) is dcrf.NORMALIZE_AFTER
    assert [int(option) for option in dcrf.NormalizationType] == [0, 1, 2, 3]
    assert [int(option) for option in dcrf.KernelType] == [0, 1, 2]


# ---- refusals

FRAME = np.zeros((3, 4, 3), np.uint8)
PLACES = np.zeros((2, 12))


@pytest.mark.parametrize(
    ("method", "arguments", "words"),
    [
        ("setUnaryEnergy", (np.zeros((2, 11)),), r"shape \(2, 12\), labels by points, got"),
        ("setUnaryEnergy", (np.zeros((12, 2)),), r"shape \(2, 12\)"),
        ("setUnaryEnergy", (np.zeros(24),), r"shape \(2, 12\)"),
        ("setUnaryEnergy", (np.full((2, 12), np.nan),), "NaN or -inf"),
        ("setUnaryEnergy", (np.full((2, 12), -np.inf),), "NaN or -inf"),
        ("setUnaryEnergy", (np.full((2, 12), np.inf),), "point 0 no possible label"),
        ("setUnaryEnergy", (np.zeros((2, 3)), np.zeros((4, 12))), "3 columns, but f has 4 rows"),
        ("setUnaryEnergy", ([[1, 2], [3]],), "u must be an array of numbers"),
        ("addPairwiseEnergy", (np.zeros((2, 11)), 1), "features must have shape"),
        ("addPairwiseEnergy", (np.zeros((17, 12)), 1), "features"),
        ("addPairwiseEnergy", (np.zeros((0, 12)), 1), "features"),
        ("addPairwiseEnergy", (np.full((2, 12), np.nan), 1), "features"),
        ("addPairwiseEnergy", (np.full((2, 12), 1e30), 1), "features"),
        ("addPairwiseEnergy", (PLACES, np.zeros(3)), r"compat must be a number, \(2,\)"),
        ("addPairwiseEnergy", (PLACES, np.zeros((3, 3))), "compat must be"),
        ("addPairwiseEnergy", (PLACES, np.zeros((2, 2, 2))), "compat must be"),
        ("addPairwiseEnergy", (PLACES, float("nan")), "compat must be finite"),
        ("addPairwiseEnergy", (PLACES, 1, 3), "kernel must be one of CONST_KERNEL"),
        ("addPairwiseEnergy", (PLACES, 1, 1, 4), r"NORMALIZE_SYMMETRIC \(3\), got 4"),
        ("addPairwiseGaussian", (0, 1), "sxy must be above 0"),
        ("addPairwiseGaussian", ((1, -1), 1), "sxy must be above 0"),
        ("addPairwiseGaussian", ((1, 2, 3), 1), "sxy must be one number or 2, got 3"),
        ("addPairwiseGaussian", (float("nan"), 1), "sxy must be above 0"),
        ("addPairwiseBilateral", (1, (1, 2), FRAME, 1), "srgb must be one number or 3"),
        ("addPairwiseBilateral", (1, 0, FRAME, 1), "srgb must be above 0"),
        ("addPairwiseBilateral", (1, 1, FRAME.transpose(1, 0, 2), 1), "height first"),
        ("addPairwiseBilateral", (1, 1, FRAME[..., :1], 1), "create_pairwise_bilateral"),
        ("addPairwiseBilateral", (1, 1, FRAME + 0.5, 1), "multiply shares of 1 by 255"),
        ("addPairwiseBilateral", (1, 1, FRAME * np.nan, 1), "whole levels"),
        ("addPairwiseBilateral", (1, 1, FRAME - 1.0, 1), "whole levels"),
        ("addPairwiseBilateral", (1e-39, 1, FRAME, 1), "features|must lie in"),
        ("inference", (-1,), "niter must be at least 0"),
        ("stepInference", (np.zeros((2, 11)),), "Q must have shape"),
        ("stepInference", (np.full((2, 12), np.nan),), "Q must be finite"),
        ("stepInference", (np.broadcast_to(0.5, (2, 12)),), "Q must be writable"),
        ("klDivergence", (np.zeros((12, 2)),), "Q must have shape"),
    ],
)
def test_values_that_do_not_fit_are_refused(
    method: str, arguments: tuple[Any, ...], words: str
) -> None:
    crf = dcrf.DenseCRF2D(4, 3, 2)
    with pytest.raises(ValueError, match=words):
        getattr(crf, method)(*arguments)
    # A refusal leaves the CRF as it was.
    np.testing.assert_array_equal(crf.inference(1), 0.5)


@pytest.mark.parametrize(
    ("method", "arguments", "words"),
    [
        ("setUnaryEnergy", ("energies",), "u must hold real numbers"),
        ("setUnaryEnergy", (np.zeros((2, 12), complex),), "u must hold real numbers"),
        ("setUnary", (np.zeros((2, 12)),), "must be a ConstUnary or LogisticUnary"),
        ("addPairwiseEnergy", (PLACES, None), "compat must hold real numbers"),
        ("addPairwiseGaussian", ("3", 1), "sxy must hold real numbers"),
        ("inference", (2.5,), "niter must be a whole number"),
        ("stepInference", ([[0.5] * 12] * 2,), "Q must be the array"),
        ("klDivergence", (np.zeros((2, 12), int),), "Q must be the array"),
    ],
)
def test_types_that_do_not_fit_are_refused(
    method: str, arguments: tuple[Any, ...], words: str
) -> None:
    with pytest.raises(TypeError, match=words):
        getattr(dcrf.DenseCRF2D(4, 3, 2), method)(*arguments)


@pytest.mark.parametrize(
    ("call", "arguments", "words"),
    [
        (dcrf.DenseCRF, (0, 2), "nvar must be at least 1"),
        (dcrf.DenseCRF, (2, 0), "nlabels must be at least 1"),
        (dcrf.DenseCRF2D, (0, 3, 2), "w must be at least 1"),
        (dcrf.DenseCRF2D, (4, -3, 2), "h must be at least 1"),
        (dcrf.unary_from_softmax, (np.full((2, 3), np.nan),), "NaN"),
        (dcrf.unary_from_softmax, (np.zeros((0, 3)),), "sm must have shape"),
        (dcrf.unary_from_softmax, (0.5,), "sm must have shape"),
        (dcrf.unary_from_softmax, (np.full((2, 3), -0.1), None, None), "probabilities"),
        (dcrf.unary_from_softmax, (np.ones((2, 3)), 0), "scale must be above 0"),
        (dcrf.unary_from_softmax, (np.ones((2, 3)), 1.5), "scale must lie in"),
        (dcrf.unary_from_softmax, (np.ones((2, 3)), None, -1), "clip must lie in"),
        (dcrf.unary_from_labels, (np.array([0, 4]), 3, 0.5), r"in 0\.\.3 .* got 0\.\.4"),
        (dcrf.unary_from_labels, (np.array([0, 3]), 3, 0.5, False), r"in 0\.\.2 "),
        (dcrf.unary_from_labels, (np.array([-1]), 3, 0.5), "labels must lie"),
        (dcrf.unary_from_labels, (np.array([], int), 3, 0.5), "at least one point"),
        (dcrf.unary_from_labels, (np.array([1]), 1, 0.5), "n_labels must be at least 2"),
        (dcrf.unary_from_labels, (np.array([1]), 2, 1), "gt_prob must lie between"),
        (dcrf.create_pairwise_gaussian, ((1, 2), (3,)), "sdims must be one number or 1, got 2"),
        (dcrf.create_pairwise_gaussian, ((1, 0), (3, 4)), "sdims must be above 0"),
        (dcrf.create_pairwise_gaussian, (1, (3, 0)), "shape must be at least 1"),
        (dcrf.create_pairwise_bilateral, ((1, 1), (1, 1), FRAME, 2), "schan must be one number"),
        (dcrf.create_pairwise_bilateral, ((1, 1), 1, FRAME, 3), "chdim must be an axis"),
        (dcrf.create_pairwise_bilateral, ((1, 1), 1, FRAME[:0], 2), "at least one point"),
    ],
)
def test_calls_that_do_not_fit_are_refused(
    call: Any, arguments: tuple[Any, ...], words: str
) -> None:
    with pytest.raises(ValueError, match=words):
        call(*arguments)


def test_labels_of_fractions_are_refused() -> None:
    with pytest.raises(TypeError, match="labels must be whole numbers"):
        dcrf.unary_from_labels(np.array([0.5]), 2, 0.5)
    with pytest.raises(TypeError, match="nlabels must be a whole number"):
        dcrf.DenseCRF(4, 2.0)  # type: ignore[arg-type]
