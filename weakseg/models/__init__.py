"""Networks: classifiers, segmenters, SAM, and their weights."""

from weakseg.models.classifiers import Classifier as Classifier
from weakseg.models.weights import load_pretrained as load_pretrained
from weakseg.models.weights import load_weights as load_weights
from weakseg.models.weights import save_weights as save_weights
