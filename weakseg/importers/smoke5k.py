"""Read SMOKE5K as it is released."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from weakseg.importers.mask_folders import MaskFolderReader
from weakseg.importers.records import Export


@dataclass(frozen=True)
class Smoke5kReader:
    """SMOKE5K: `train/img`, `train/gt`, `test/img`, `test/gt`, masks in black and white.

    Its real frames carry FIgLib's times in their names, which tell the sequences apart; see
    `weakseg.importers.names`. Its synthetic pictures (`1_1013`) and close photos (`image_00012`)
    have no scene in their names. The released split is taken unless `split` says otherwise, and
    leaks: many test frames are a minute away from training frames.

    The folders and the names are confirmed by the listing of the copy in
    MultiX-Amsterdam/ijmond-camera-ai (`bbox_learn/dataset/smoke5k`) and its
    `create_smoke5k_metadata_and_npy.py`; that masks are grey pictures of the same name, by
    `trans_bvm/data.py` in SiyuanYan1/Transmission-BVM. That smoke starts at half of 255 is our
    reading: both resize the greys and leave the cut to the network. A mask of another size than
    its picture is skipped, as they do. The `trans` folder of transmission maps is not read.

    References:
        Yan, Zhang and Barnes, "Transmission-Guided Bayesian Generative Model for Smoke
        Segmentation", AAAI 2022.
    """

    def read(self, source: Path) -> Export:
        """List the pairs.

        Raises:
            DataError: If there are no folders img and gt.
        """
        return MaskFolderReader(images="img", masks="gt", coding="grey").read(source)
