"""What networks are asked to make small."""

from __future__ import annotations

from weakseg.losses.classification import bce_with_balance as bce_with_balance
from weakseg.losses.classification import positive_weight_of as positive_weight_of
from weakseg.losses.consistency import ConsistencyLoss as ConsistencyLoss
from weakseg.losses.energy import DenseCrfLoss as DenseCrfLoss
from weakseg.losses.energy import dense_crf_loss as dense_crf_loss
from weakseg.losses.equivariance import EquivarianceLoss as EquivarianceLoss
from weakseg.losses.fosp import fosp_side_loss as fosp_side_loss
from weakseg.losses.fosp import soft_iou as soft_iou
from weakseg.losses.modules import ClassificationLoss as ClassificationLoss
from weakseg.losses.modules import SegmentationLoss as SegmentationLoss
from weakseg.losses.segmentation import masked_cross_entropy as masked_cross_entropy
from weakseg.losses.segmentation import segmentation_loss as segmentation_loss
from weakseg.losses.segmentation import soft_dice as soft_dice
