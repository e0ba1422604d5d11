"""Figures of masks, scores and yes/no answers, as pure functions of counts and numbers."""

from __future__ import annotations

from weakseg.metrics.alarms import false_alarm_share as false_alarm_share
from weakseg.metrics.alarms import false_area_mean as false_area_mean
from weakseg.metrics.bootstrap import SceneDraws as SceneDraws
from weakseg.metrics.bootstrap import scene_interval as scene_interval
from weakseg.metrics.boundary import boundary_counts as boundary_counts
from weakseg.metrics.curves import ScoreCurves as ScoreCurves
from weakseg.metrics.frames import FrameFigures as FrameFigures
from weakseg.metrics.frames import measure as measure
from weakseg.metrics.image import RankedAnswers as RankedAnswers
from weakseg.metrics.image import auroc as auroc
from weakseg.metrics.image import average_precision as average_precision
from weakseg.metrics.image import ece as ece
from weakseg.metrics.image import fpr_at_tpr95 as fpr_at_tpr95
from weakseg.metrics.image import image_figures as image_figures
from weakseg.metrics.opacity import smoke_opacity as smoke_opacity
from weakseg.metrics.pixel import PixelCounts as PixelCounts
from weakseg.metrics.pixel import background_iou as background_iou
from weakseg.metrics.pixel import count as count
from weakseg.metrics.pixel import f1 as f1
from weakseg.metrics.pixel import f_beta as f_beta
from weakseg.metrics.pixel import iou as iou
from weakseg.metrics.pixel import mae as mae
from weakseg.metrics.pixel import miou as miou
from weakseg.metrics.pixel import precision as precision
from weakseg.metrics.pixel import recall as recall
from weakseg.metrics.pooling import frame_sums as frame_sums
from weakseg.metrics.pooling import pooled_figures as pooled_figures
from weakseg.metrics.reliability import calibration_error as calibration_error
from weakseg.metrics.reliability import reliability_bins as reliability_bins
from weakseg.metrics.reliability import reliability_of as reliability_of
from weakseg.metrics.strata import group_table as group_table
from weakseg.metrics.strata import opacity_stratum as opacity_stratum
from weakseg.metrics.strata import opacity_table as opacity_table
from weakseg.metrics.strata import size_stratum as size_stratum
from weakseg.metrics.strata import size_table as size_table
from weakseg.metrics.summary import drawn_figures as drawn_figures
from weakseg.metrics.summary import ranked_answers as ranked_answers
from weakseg.metrics.summary import summarise as summarise
from weakseg.metrics.temporal import Change as Change
from weakseg.metrics.temporal import Sequences as Sequences
