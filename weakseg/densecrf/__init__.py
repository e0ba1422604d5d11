"""Run scripts written for pydensecrf: change what they import, and nothing else.

    import weakseg.densecrf as dcrf  # was: import pydensecrf.densecrf as dcrf
    from weakseg.densecrf import unary_from_softmax  # was: from pydensecrf.utils import ...

Names, arguments, layouts and results are pydensecrf's; what it refuses only for its type (double
precision, lists, strided or read-only arrays) is taken, and what would crash it is a ValueError.

Not here: its `eigen` module, since arrays of NumPy take the place of its matrices.
New code reads better with `weakseg.refine.DenseCrf`.
"""

from weakseg.densecrf.model import DenseCRF as DenseCRF
from weakseg.densecrf.model import DenseCRF2D as DenseCRF2D
from weakseg.densecrf.options import CONST_KERNEL as CONST_KERNEL
from weakseg.densecrf.options import DIAG_KERNEL as DIAG_KERNEL
from weakseg.densecrf.options import FULL_KERNEL as FULL_KERNEL
from weakseg.densecrf.options import NO_NORMALIZATION as NO_NORMALIZATION
from weakseg.densecrf.options import NORMALIZE_AFTER as NORMALIZE_AFTER
from weakseg.densecrf.options import NORMALIZE_BEFORE as NORMALIZE_BEFORE
from weakseg.densecrf.options import NORMALIZE_SYMMETRIC as NORMALIZE_SYMMETRIC
from weakseg.densecrf.options import KernelType as KernelType
from weakseg.densecrf.options import NormalizationType as NormalizationType
from weakseg.densecrf.unaries import ConstUnary as ConstUnary
from weakseg.densecrf.unaries import LogisticUnary as LogisticUnary
from weakseg.densecrf.unaries import Unary as Unary
from weakseg.densecrf.utils import compute_unary as compute_unary
from weakseg.densecrf.utils import create_pairwise_bilateral as create_pairwise_bilateral
from weakseg.densecrf.utils import create_pairwise_gaussian as create_pairwise_gaussian
from weakseg.densecrf.utils import softmax_to_unary as softmax_to_unary
from weakseg.densecrf.utils import unary_from_labels as unary_from_labels
from weakseg.densecrf.utils import unary_from_softmax as unary_from_softmax
