"""Frames with yes/no labels: where they are, how they are read, split and fed to networks."""

from weakseg.data.batches import ClassificationData as ClassificationData
from weakseg.data.batches import EpochSampler as EpochSampler
from weakseg.data.batches import SegmentationData as SegmentationData
from weakseg.data.batches import SegmentationItem as SegmentationItem
from weakseg.data.batches import make_loader as make_loader
from weakseg.data.fingerprints import dataset_fingerprint as dataset_fingerprint
from weakseg.data.fingerprints import sha256_of as sha256_of
from weakseg.data.folders import FolderSource as FolderSource
from weakseg.data.frames import Frame as Frame
from weakseg.data.frames import FrameSource as FrameSource
from weakseg.data.index import IndexSource as IndexSource
from weakseg.data.reading import read_frame as read_frame
from weakseg.data.sources import source_from_settings as source_from_settings
from weakseg.data.synthetic import SyntheticSource as SyntheticSource
from weakseg.data.transforms import Augmentation as Augmentation
from weakseg.errors import DataError as DataError
