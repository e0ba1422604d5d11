"""The benchmark's parts at tiny size: turns, frames, exact sums, tables, targets, JSON."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

sys.path.append(str(Path(__file__).parents[1] / "benchmarks"))

import inference
from bench import accuracy, contenders, figures, sections, targets
from bench.figures import Figures
from bench.frames import Frames, class_probabilities, draw_frame, one_hot
from bench.session import CPU_COST, Bench
from bench.timing import Effort, interleave, paired_ratios


@pytest.fixture
def bench() -> Bench:
    return Bench(
        sizes=[(24, 16)],
        channels=[2],
        threads=[1],
        instructions=contenders.instruction_sets(),
        effort=Effort(repeats=1, seconds=0, calls_for=0),
        frames=Frames(),
        quick=True,
    )


def test_works_take_turns_in_both_orders() -> None:
    calls: list[tuple[str, int]] = []

    def work(name: str) -> object:
        return lambda scene: calls.append((name, scene))

    works = {name: work(name) for name in "ab"}
    times = interleave(works, Effort(repeats=2, calls_for=0))  # type: ignore[arg-type]
    assert calls[-4:] == [("a", 0), ("b", 0), ("b", 1), ("a", 1)]
    assert [len(found.cpu) for found in times.values()] == [2, 2]


def test_ratios_are_of_the_same_repeat() -> None:
    assert paired_ratios([2.0, 9.0], [1.0, 3.0]) == [2.0, 3.0]


def test_drawn_frames_are_seeded_and_differ_by_scene() -> None:
    first = draw_frame(0, (16, 24))
    assert first.shape == (16, 24, 3)
    np.testing.assert_array_equal(first, draw_frame(0, (16, 24)))
    assert np.any(first != draw_frame(1, (16, 24)))


def test_photos_are_cropped_to_the_shape(tmp_path: Path) -> None:
    photo = np.zeros((40, 60, 3), np.uint8)
    photo[:, 10:50] = 200
    cv2.imwrite(str(tmp_path / "photo.png"), photo)
    frames = Frames(tmp_path, scenes=1)
    np.testing.assert_array_equal(frames.get(0, (20, 20)), np.full((20, 20, 3), 200))
    with pytest.raises(ValueError, match="holds no pictures"):
        Frames(tmp_path / "nowhere").get(0, (20, 20))


def test_probabilities_sum_to_one() -> None:
    soft = class_probabilities(draw_frame(0, (16, 24)), 5)
    np.testing.assert_allclose(soft.sum(axis=0), 1, rtol=1e-5)
    np.testing.assert_array_equal(one_hot(soft).sum(axis=0), 1)


def test_exact_sums_are_the_formula(rng: np.random.Generator) -> None:
    features, values = rng.normal(size=(90, 5)), rng.random((90, 2))
    weights = np.exp(-0.5 * ((features[:, None] - features) ** 2).sum(-1))
    found = accuracy.exact_sums(features, values, np.array([3, 70]))
    np.testing.assert_allclose(found, (weights @ values)[[3, 70]], rtol=1e-10)


def test_errors_of_every_mode_are_small() -> None:
    errors = accuracy.measure(Frames(scenes=1), side=48, samples=40)
    assert {mode for mode, _, _ in errors} == set(accuracy.modes())
    # Measured: 0.05 raw and 0.015 by row.
    assert all(0 < error < 0.15 for runs in errors.values() for error in runs)


def test_speed_section_fills_its_table(bench: Bench) -> None:
    text = sections.speed(bench)
    (row,) = (line for line in text.splitlines() if line.startswith("| 24 x 16, C = 2, 1 thread"))
    assert all(float(cell) > 0 for cell in row.split("|")[2:6:2])
    found = bench.figures.find("loss filter", CPU_COST, width=24, channels=2, threads=1)
    assert found is not None
    assert found.median > 0


def test_table_columns_are_even() -> None:
    lines = figures.table("Title", ["case", "x"], [["a", "1"], ["longer", "22"]]).splitlines()
    assert lines[2:] == ["| case   |  x |", "|--------|---:|", "| a      |  1 |", "| longer | 22 |"]


def test_targets_say_met_missed_or_not_measured() -> None:
    kept = Figures()
    place = {"width": 512, "height": 512, "threads": 1}
    kept.add("loss filter", targets.CPU_RATIO, [30, 40, 41], channels=2, **place)
    kept.add("loss filter", targets.CPU_RATIO, [13], channels=21, **place)
    judged = targets.judge(kept, best="avx512")
    assert [target.verdict for target in judged[:3]] == ["met", "MISSED", "not measured"]
    assert ">= 36" in targets.show(judged)


def test_busy_cores_are_no_verdict_on_threads() -> None:
    kept = Figures()
    kept.add("loss filter", targets.WALL_SPEEDUP, [1.2], width=1920, height=1280, channels=2)
    kept.add("hashing", targets.CAPACITY, [1.3])
    verdicts = {target.verdict for target in targets.judge(kept, best="avx512")}
    assert verdicts == {"cores busy", "not measured"}


def test_json_holds_every_figure(tmp_path: Path) -> None:
    kept = Figures()
    kept.add("loss filter", "CPU ns/pixel", [3.0, 1.0, 2.0], channels=2)
    kept.add("loss filter", "nothing", [])
    path = tmp_path / "core.json"
    figures.write_json(path, {"machine": figures.describe_machine()}, kept)
    content = json.loads(path.read_text())
    assert content["machine"]["cores"] >= 1
    (figure,) = content["figures"]
    assert (figure["median"], figure["min"], figure["max"]) == (2.0, 1.0, 3.0)
    assert figure["channels"] == 2


def test_inference_rates_and_ratios_are_kept() -> None:
    kept = Figures()
    works = {
        "torch": lambda scene: sum(range(20_000)),
        "ONNX Runtime": lambda scene: sum(range(10)),
    }
    effort = Effort(repeats=3, calls_for=0)
    rows = inference.measure(works, (64, 32), "CPU", effort, kept)
    assert [row[0] for row in rows] == ["CPU, 64 x 32, torch", "CPU, 64 x 32, ONNX Runtime"]
    ratio = kept.find("ONNX Runtime", inference.RATIO, width=64, device="CPU")
    assert ratio is not None
    assert ratio.median > 1
    torch_alone = kept.find("torch", inference.RATIO)
    assert torch_alone is not None
    assert torch_alone.runs == (1.0, 1.0, 1.0)
