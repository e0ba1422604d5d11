"""Networks: classifiers, segmenters, SAM, and their weights."""

from weakseg.models.classifiers import Classifier as Classifier
from weakseg.models.clip import Clip as Clip
from weakseg.models.clip import load_clip as load_clip
from weakseg.models.fosp import FoSp as FoSp
from weakseg.models.inference import TiledInference as TiledInference
from weakseg.models.instances import FoundInstances as FoundInstances
from weakseg.models.local import LocalClassifier as LocalClassifier
from weakseg.models.local import build_classifier as build_classifier
from weakseg.models.local import head_of as head_of
from weakseg.models.maskrcnn import MaskRcnn as MaskRcnn
from weakseg.models.pcm import ActivationMaps as ActivationMaps
from weakseg.models.pcm import PcmClassifier as PcmClassifier
from weakseg.models.sam import load_sam as load_sam
from weakseg.models.segmentation import SegmentationModel as SegmentationModel
from weakseg.models.segmenters import Segmenter as Segmenter
from weakseg.models.weights import load_pretrained as load_pretrained
from weakseg.models.weights import load_weights as load_weights
from weakseg.models.weights import read_weights as read_weights
from weakseg.models.weights import save_weights as save_weights
