"""Type what each command is asked to do: the schema of the configuration, free of Hydra.

A field that is `"???"` has no default: the configuration must give it, and Hydra names it when it
does not. Components are `Any` because they arrive built, from `_target_` nodes whose constructors
check their own ranges.
"""

from __future__ import annotations

from weakseg.plans.ablation import AblationPlan as AblationPlan
from weakseg.plans.ablation import StudyPlan as StudyPlan
from weakseg.plans.common import HardwarePlan as HardwarePlan
from weakseg.plans.common import RunPlan as RunPlan
from weakseg.plans.common import TrackingNames as TrackingNames
from weakseg.plans.evaluation import ComparePlan as ComparePlan
from weakseg.plans.evaluation import EvaluatePlan as EvaluatePlan
from weakseg.plans.importing import ImportPlan as ImportPlan
from weakseg.plans.prediction import AlarmPlan as AlarmPlan
from weakseg.plans.prediction import ExportPlan as ExportPlan
from weakseg.plans.prediction import PredictPlan as PredictPlan
from weakseg.plans.prediction import SmoothingPlan as SmoothingPlan
from weakseg.plans.prediction import StreamPlan as StreamPlan
from weakseg.plans.serving import AppPlan as AppPlan
from weakseg.plans.serving import ServePlan as ServePlan
from weakseg.plans.stages import ConsistencyPlan as ConsistencyPlan
from weakseg.plans.stages import LearningPlan as LearningPlan
from weakseg.plans.stages import RefinePlan as RefinePlan
from weakseg.plans.stages import SelfTrainingPlan as SelfTrainingPlan
from weakseg.plans.stages import Stage1Plan as Stage1Plan
from weakseg.plans.stages import Stage2Plan as Stage2Plan
from weakseg.plans.stages import Stage3Plan as Stage3Plan
from weakseg.plans.supervision import SupervisionPlan as SupervisionPlan
from weakseg.plans.sweep import ChainPlan as ChainPlan
from weakseg.plans.sweep import SweepPlan as SweepPlan
from weakseg.plans.sweep import SyncPlan as SyncPlan
from weakseg.plans.tools import CheckPlan as CheckPlan
