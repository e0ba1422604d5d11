"""Tell each stage's run on one page: figures, curves, and the frames that teach most."""

from weakseg.stages.pages_cams import cams_page
from weakseg.stages.pages_evaluation import evaluation_page
from weakseg.stages.pages_pseudo_masks import overlay_sheet, pseudo_masks_page
from weakseg.stages.pages_segmentation import segmentation_page

__all__ = [
    "cams_page",
    "evaluation_page",
    "overlay_sheet",
    "pseudo_masks_page",
    "segmentation_page",
]
