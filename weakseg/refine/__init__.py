"""Refine evidence into pseudo-masks: steps, thresholds without masks, and the cut."""

from weakseg.refine.affinity import AffinityStep as AffinityStep
from weakseg.refine.background import Background as Background
from weakseg.refine.choice import ThresholdChoice as ThresholdChoice
from weakseg.refine.choice import ThresholdRule as ThresholdRule
from weakseg.refine.clip import ClipStep as ClipStep
from weakseg.refine.crf import DenseCrf as DenseCrf
from weakseg.refine.dark_channel import DarkChannel as DarkChannel
from weakseg.refine.masks import MaskRule as MaskRule
from weakseg.refine.masks import confidence as confidence
from weakseg.refine.masks import to_mask as to_mask
from weakseg.refine.pipeline import RefineResult as RefineResult
from weakseg.refine.pipeline import refine as refine
from weakseg.refine.sam import SamStep as SamStep
from weakseg.refine.statistics import EvidenceStatistics as EvidenceStatistics
from weakseg.refine.step import FrameContext as FrameContext
from weakseg.refine.step import Step as Step
from weakseg.refine.thresholds import FalseAlarmThreshold as FalseAlarmThreshold
from weakseg.refine.thresholds import FixedThreshold as FixedThreshold
from weakseg.refine.thresholds import HighestThreshold as HighestThreshold
from weakseg.refine.thresholds import SizeThreshold as SizeThreshold
from weakseg.refine.two_classes import MixtureThreshold as MixtureThreshold
from weakseg.refine.two_classes import OtsuThreshold as OtsuThreshold
from weakseg.refine.views import CamFusion as CamFusion
from weakseg.refine.views import MultiScale as MultiScale
from weakseg.refine.views import SlidingWindow as SlidingWindow
