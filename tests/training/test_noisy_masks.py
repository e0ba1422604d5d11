"""What is believed of wrong masks: who is trimmed, corrected and followed, and when."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from weakseg.losses.noise import agreement_loss, correct_masks, select_small_loss
from weakseg.training import Interrupted, NoisyMasks, StopFlag, fit
from weakseg.training.settings import FitSettings

WRONG = 0.35
"""Share of the smoke that the given masks miss, in every frame."""


class Discs(torch.utils.data.Dataset[dict[str, Tensor]]):
    """Noisy frames with a bright disc; masks of half of the frames miss a part of it."""

    def __len__(self) -> int:
        return 24

    def __getitem__(self, key: tuple[int, int]) -> dict[str, Tensor]:
        epoch, index = key
        generator = torch.Generator().manual_seed(100 * epoch + index)
        y, x = torch.meshgrid(torch.arange(16), torch.arange(16), indexing="ij")
        centre = torch.randint(4, 12, (2,), generator=generator)
        disc = ((y - centre[0]) ** 2 + (x - centre[1]) ** 2) < 16
        image = 0.5 * disc + 0.25 * torch.rand(3, 16, 16, generator=generator)
        mask = disc.long()
        noisy = index % 2 == 0
        if noisy:
            mask[(torch.rand(16, 16, generator=generator) < WRONG) & disc] = 0
            mask[:2] = 255
        return {
            "image": image,
            "mask": mask,
            "truth": disc.long(),
            "weight": torch.ones(16, 16),
            "noisy": torch.tensor(noisy),
        }


class Order:
    """Four batches of six, always the same."""

    def batches(self, epoch: int) -> list[list[tuple[int, int]]]:
        return [[(epoch, i) for i in range(k, k + 6)] for k in range(0, 24, 6)]


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 2, 3, padding=1)
    )


def a_batch() -> dict[str, Tensor]:
    items = [Discs()[0, i] for i in range(6)]
    return {name: torch.stack([item[name] for item in items]) for name in items[0]}


def train(
    folder: Path, noise: NoisyMasks | None, *, stop_at: int = 0, **settings: Any
) -> nn.Module:
    """Train with the noise at work; stop before the step `stop_at`, if it is given."""
    model, stop, taken = network(), StopFlag(), 0

    def loss(wrapped: nn.Module, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        nonlocal taken
        taken += 1
        if taken == stop_at:
            stop.set("SIGTERM")
        logits = wrapped(batch["image"])
        mask, told, extra = batch["mask"], {}, {}
        if noise is not None:
            mask, told = noise.target(logits, batch)
            extra = noise.agreement(logits, batch)
        learnt = nn.functional.cross_entropy(logits, mask, ignore_index=255)
        return {"loss": learnt + sum(extra.values()), **extra, **told}

    fit(
        model,
        optimizer_factory=lambda groups: torch.optim.AdamW(groups, lr=0.02),
        dataset=Discs(),
        sampler=Order(),
        step_loss=loss,
        validate=lambda model: {"nothing": 0.0},
        monitor=None,
        settings=FitSettings(
            **{"epochs": 10, "accelerator": "cpu", "checkpoint_seconds": 1e6, **settings}
        ),
        checkpoints=folder / "checkpoints",
        on_log=lambda row, step: None,
        stop=stop,
        log_path=folder / "metrics.jsonl",
        companion=noise,
    )
    return model


EVERYTHING = {
    "trim_share": 0.2,
    "correction_confidence": 0.6,
    "consistency_weight": 1.0,
    "teacher_decay": 0.9,
    "ramp_fraction": 0.5,
}


def ready(noise: NoisyMasks, *, step: int = 99, steps: int = 100) -> NoisyMasks:
    """Bring the noise to a step of a training of a fresh network."""
    noise.attach(network())
    noise.begin_step(step, steps)
    return noise


# ---- one step


def test_only_masks_that_may_be_wrong_are_trimmed() -> None:
    batch, logits = a_batch(), torch.randn(6, 2, 16, 16)
    mask, told = ready(NoisyMasks(trim_share=0.3)).target(logits, batch)
    expected = select_small_loss(logits, batch["mask"], share=0.3)
    for i, noisy in enumerate(batch["noisy"].tolist()):
        assert torch.equal(mask[i], expected[i] if noisy else batch["mask"][i])
    labelled = int((batch["mask"] != 255).sum())
    assert float(told["trimmed"]) == pytest.approx(int((mask != batch["mask"]).sum()) / labelled)


def test_trimming_grows_along_the_ramp() -> None:
    batch, logits = a_batch(), torch.randn(6, 2, 16, 16)
    noise = NoisyMasks(trim_share=0.4, ramp_fraction=0.5)
    shares = [float(ready(noise, step=s).target(logits, batch)[1]["trimmed"]) for s in (0, 25, 50)]
    assert shares[0] == 0
    assert shares[1] == pytest.approx(shares[2] / 2, rel=0.05)
    assert float(ready(noise, step=99).target(logits, batch)[1]["trimmed"]) == shares[2]


def test_labels_are_put_right_only_once_early_learning_is_over() -> None:
    batch, logits = a_batch(), torch.randn(6, 2, 16, 16)
    noise = ready(NoisyMasks(correction_confidence=0.51))
    assert torch.equal(noise.target(logits, batch)[0], batch["mask"])
    noise.is_correcting = True
    mask, told = noise.target(logits, batch)
    teacher = network().eval()
    with torch.no_grad():
        answer = teacher(batch["image"].flip(-1)).flip(-1).softmax(1)
    right = correct_masks(batch["mask"], answer, confidence=0.51)
    for i, noisy in enumerate(batch["noisy"].tolist()):
        assert torch.equal(mask[i], right[i] if noisy else batch["mask"][i])
    assert float(told["corrected"]) > 0


def test_agreement_is_asked_for_where_no_label_is_known() -> None:
    batch = a_batch()
    model = network()
    noise = ready(NoisyMasks(consistency_weight=3.0))
    logits = model(batch["image"])
    found = noise.agreement(logits, batch)["consistency"]
    with torch.no_grad():
        answer = network().eval()(batch["image"].flip(-1)).flip(-1).softmax(1)
    expected = 3 * agreement_loss(logits, answer, batch["mask"] == 255)
    torch.testing.assert_close(found, expected)
    found.backward()
    early = ready(NoisyMasks(consistency_weight=3.0), step=0).agreement(logits, batch)
    assert float(early["consistency"].detach()) == pytest.approx(
        float(expected.detach()) * 2.71828**-5, rel=1e-3
    )


def test_everything_off_changes_nothing() -> None:
    batch, logits = a_batch(), torch.randn(6, 2, 16, 16)
    noise = ready(NoisyMasks())
    mask, told = noise.target(logits, batch)
    assert torch.equal(mask, batch["mask"])
    assert told == {}
    assert noise.agreement(logits, batch) == {}
    assert not noise.needs_teacher


@pytest.mark.parametrize(
    "settings",
    [
        {"trim_share": 1.0},
        {"trim_share": -0.1},
        {"correction_confidence": 0.5},
        {"correction_confidence": 1.1},
        {"slope_drop": 0.0},
        {"slope_drop": 1.0},
        {"consistency_weight": -1.0},
        {"teacher_decay": 1.5},
        {"ramp_fraction": 2.0},
    ],
)
def test_wrong_settings_are_refused(settings: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="must"):
        NoisyMasks(**settings)  # type: ignore[arg-type]


# ---- a training


def test_an_interrupted_training_goes_on_exactly(tmp_path: Path) -> None:
    """Teacher, counts, curve and the end of early learning are all remembered."""
    whole_noise = NoisyMasks(**EVERYTHING)  # type: ignore[arg-type]
    train(tmp_path / "whole", whole_noise)
    assert whole_noise.is_correcting
    for stop_at in (7, 31):
        noise = NoisyMasks(**EVERYTHING)  # type: ignore[arg-type]
        folder = tmp_path / f"stopped{stop_at}"
        with pytest.raises(Interrupted):
            train(folder, noise, stop_at=stop_at)
        again = NoisyMasks(**EVERYTHING)  # type: ignore[arg-type]
        train(folder, again)
        assert again.overlaps == whole_noise.overlaps
        assert again.state_dict()["updates"] == whole_noise.state_dict()["updates"]
        stopped, whole = (
            (place / "checkpoints" / "best.safetensors").read_bytes()
            for place in (folder, tmp_path / "whole")
        )
        assert stopped == whole


def test_correction_finds_smoke_that_the_masks_miss(tmp_path: Path) -> None:
    """What the network has learnt of the right masks fills in the wrong ones."""
    noise = NoisyMasks(correction_confidence=0.6, teacher_decay=0.9)
    train(tmp_path, noise)
    assert noise.is_correcting
    batch = a_batch()
    noise.begin_step(39, 40)
    mask, _ = noise.target(torch.zeros(6, 2, 16, 16), batch)
    noisy = batch["noisy"]
    truth, before, after = (m[noisy] for m in (batch["truth"], batch["mask"], mask))
    smoke = (truth == 1) & (before != 255)
    missed_before = float((before[smoke] == 0).float().mean())
    missed_after = float((after[smoke] == 0).float().mean())
    assert missed_before == pytest.approx(WRONG, abs=0.1)
    assert missed_after < 0.5 * missed_before


def test_a_training_without_companion_is_as_before(tiny: ModuleType, tmp_path: Path) -> None:
    """A companion that does nothing changes no weight."""
    one = train(tmp_path / "a", None, epochs=1)
    other = train(tmp_path / "b", NoisyMasks(), epochs=1)
    for mine, its in zip(one.state_dict().values(), other.state_dict().values(), strict=True):
        assert torch.equal(mine, its)
