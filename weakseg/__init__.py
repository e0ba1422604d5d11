"""Turn a yes/no label per frame into a pixel mask of the smoke."""

from importlib.metadata import PackageNotFoundError, version
from pkgutil import extend_path

# After a plain `pip install .`, Python started at the repository's root finds ./weakseg first: join
# the installed weakseg to it, which holds _core, conf and stages.
__path__ = extend_path(__path__, __name__)

try:
    __version__ = version("weakseg")
except PackageNotFoundError:  # run from a checkout that was never installed
    __version__ = "0+unknown"
