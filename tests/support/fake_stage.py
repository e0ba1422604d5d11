"""Stands for weakseg's commands in tests of what starts them: writes a finished run at once.

`python fake_stage.py -m weakseg.COMMAND KEY=VALUE...` writes `summary.json` and a manifest into the
folder that `output=` names. Each start is added to the file `starts.txt` in the environment's
`FAKE_STAGE_FOLDER`. `lr=-1` fails; `SECONDS_TO_SLEEP` says how long it works.
"""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path


def main() -> None:
    words = dict(word.partition("=")[::2] for word in sys.argv[3:])
    output = Path(words["output"].strip("'"))
    with (Path(os.environ["FAKE_STAGE_FOLDER"]) / "starts.txt").open("a") as starts:
        starts.write(f"{output.name}\n")
    if words.get("lr") == "-1":
        sys.exit("error: optimizer: lr must be above 0")
    time.sleep(float(os.environ.get("SECONDS_TO_SLEEP", "0")))
    output.mkdir(parents=True, exist_ok=True)
    record = {"kind": "stage1", "status": "complete", "settings": {}, "inputs": {}, "version": "1"}
    score = 1.0 / (1 + int(words.get("seed", "0"))) + (words.get("cam") == "good")
    (output / "summary.json").write_text(
        json.dumps({"val": {"auroc": score}, "frames": 7, "seconds": 3})
    )
    (output / "manifest.json").write_text(json.dumps(record))


if __name__ == "__main__":
    main()
