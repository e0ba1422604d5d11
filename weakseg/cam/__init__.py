"""Class activation maps: which pixels made the classifier say smoke."""

from weakseg.cam.answers import check_method as check_method
from weakseg.cam.evidence import Calibration as Calibration
from weakseg.cam.evidence import CalibrationStatistics as CalibrationStatistics
from weakseg.cam.evidence import calibrate as calibrate
from weakseg.cam.export import CamRecipe as CamRecipe
from weakseg.cam.hooks import LayerTap as LayerTap
