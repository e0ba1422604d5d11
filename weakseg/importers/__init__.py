"""Read what annotation tools export and how data sets are released."""

from weakseg.importers.coco import CocoReader as CocoReader
from weakseg.importers.ijmond import IjmondReader as IjmondReader
from weakseg.importers.labelme import LabelmeReader as LabelmeReader
from weakseg.importers.mask_folders import MaskFolderReader as MaskFolderReader
from weakseg.importers.records import Clip as Clip
from weakseg.importers.records import Export as Export
from weakseg.importers.records import Marked as Marked
from weakseg.importers.records import Reader as Reader
from weakseg.importers.records import Region as Region
from weakseg.importers.records import Skipped as Skipped
from weakseg.importers.rise import RiseReader as RiseReader
from weakseg.importers.smoke5k import Smoke5kReader as Smoke5kReader
from weakseg.importers.smokeseg import SmokesegReader as SmokesegReader
from weakseg.importers.via import ViaReader as ViaReader
