"""Keep what a run makes: run folders, their manifests, their files, each written whole."""

from weakseg.artifacts.atomic import atomic_path as atomic_path
from weakseg.artifacts.atomic import disk_errors as disk_errors
from weakseg.artifacts.atomic import remove_partials as remove_partials
from weakseg.artifacts.atomic import write_bytes as write_bytes
from weakseg.artifacts.atomic import write_json as write_json
from weakseg.artifacts.atomic import write_text as write_text
from weakseg.artifacts.fingerprint import differences as differences
from weakseg.artifacts.fingerprint import fingerprint as fingerprint
from weakseg.artifacts.finished import FinishedRun as FinishedRun
from weakseg.artifacts.finished import latest_run as latest_run
from weakseg.artifacts.finished import load_run as load_run
from weakseg.artifacts.frames import FrameRow as FrameRow
from weakseg.artifacts.frames import read_frames as read_frames
from weakseg.artifacts.frames import write_frames as write_frames
from weakseg.artifacts.manifest import Manifest as Manifest
from weakseg.artifacts.metrics_log import MetricsLog as MetricsLog
from weakseg.artifacts.paths import RunPaths as RunPaths
from weakseg.artifacts.products import StoredCam as StoredCam
from weakseg.artifacts.products import read_cam as read_cam
from weakseg.artifacts.products import read_mask_ids as read_mask_ids
from weakseg.artifacts.products import read_scores as read_scores
from weakseg.artifacts.products import write_cam as write_cam
from weakseg.artifacts.products import write_mask as write_mask
from weakseg.artifacts.products import write_scores as write_scores
from weakseg.artifacts.run import RunFolder as RunFolder
from weakseg.errors import ArtifactError as ArtifactError
