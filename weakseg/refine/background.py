"""Put a background score beside the smoke evidence, so that the two compete."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from weakseg.arrays import ScoreMap, Scores
from weakseg.checks import check_in_unit, check_positive, check_shape
from weakseg.refine.step import scores_of_smoke


@dataclass(frozen=True)
class Background:
    """Score the background from the evidence of smoke, and let both sum to 1.

    With evidence e the background gets the constant `score`, or (1 - e)^alpha without one, and
    smoke gets e / (e + background). Both ways keep the order of the evidence, and no evidence stays
    a smoke score of exactly 0. With alpha = 1 the smoke score is the evidence itself.

    Args:
        score: Constant background score in (0, 1]; None derives it from the evidence.
        alpha: Exponent > 0 of the derived score. Above 1 favours smoke (the background fades
            sooner), below 1 favours background. Unused with a constant score.
    """

    score: float | None = None
    alpha: float = 1.0

    def __post_init__(self) -> None:
        """Refuse a score outside (0, 1] and an alpha that is not positive."""
        check_positive(alpha=self.alpha)
        if self.score is not None:
            check_in_unit(score=self.score)
            # At 0 the faintest trace of evidence would become certain smoke.
            check_positive(score=self.score)

    def __call__(self, evidence: ScoreMap) -> Scores:
        """Return the scores of background and smoke.

        Args:
            evidence: (H, W) float32 in [0, 1].

        Returns:
            (2, H, W) float32 in [0, 1], summing to 1 over classes.
        """
        check_shape((None, None), evidence=evidence)
        smoke = np.clip(evidence.astype(np.float64), 0, 1)
        background = self.score if self.score is not None else (1 - smoke) ** self.alpha
        return scores_of_smoke((smoke / (smoke + background)).astype(np.float32))

    def smoke_score_at(self, evidence: float) -> float:
        """Return the smoke score of a pixel with this evidence, to carry a threshold over."""
        check_in_unit(evidence=evidence)
        return float(self(np.full((1, 1), evidence, np.float32))[1, 0, 0])

    def settings(self) -> dict[str, Any]:
        """Return what changes the output, ready for JSON."""
        return {"score": self.score, "alpha": self.alpha}
