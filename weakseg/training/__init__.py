"""Train networks so that a run can be stopped at any time and resumed exactly."""

from __future__ import annotations

from weakseg.training.engine import casting as casting
from weakseg.training.errors import TrainingError as TrainingError
from weakseg.training.fit import FitResult as FitResult
from weakseg.training.fit import fit as fit
from weakseg.training.noisy_masks import NoisyMasks as NoisyMasks
from weakseg.training.progress import track as track
from weakseg.training.settings import FitSettings as FitSettings
from weakseg.training.signals import Interrupted as Interrupted
from weakseg.training.signals import StopFlag as StopFlag
