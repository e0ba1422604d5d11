"""Tell a run's figures to a tracker; the run's own files stay the truth."""

from weakseg.tracking.null import NoTracker as NoTracker
from weakseg.tracking.tracker import Panel as Panel
from weakseg.tracking.tracker import Tracker as Tracker
from weakseg.tracking.wandb import WandbTracker as WandbTracker
