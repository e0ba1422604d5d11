"""Filter scattered values by a Gaussian in up to 16 dimensions, fast and approximately.

The permutohedral lattice approximates `out_i = sum_j exp(-|f_i - f_j|^2 / 2) values_j`, j = i
included, in time linear in the points: in C++ on the CPU, in torch on any other device.

On place and colour of photos (d = 5), the sums come out 0 to 8 % low, by 4 % on average: colours
leave parts of the lattice empty. Up to that constant, the relative L2 error, measured on 14 photos
of 112 pixels at 15 levels and 11 pixels, of two-class maps, soft and hard, by row, and of ones, not
normalised:

| quality | normalised by row | not normalised |
| --- | --- | --- |
| the lattice of the paper | 1.34 % | 7.9 % |
| "standard" | 0.96 % | 5.2 % |
| "high" | 0.60 % | 4.4 % |

High quality blurs a finer lattice there and back, and adds vertices where neighbours are missing:
some three times as many, for 1.5 to 1.9 times the time. Hard maps are off by twice as much as soft
ones, more classes by more.

Points that fill the space (2,000 of a normal distribution, random values), for d = 1 to 5:
unnormalised 1.4 to 5.8 % (high: 1.1 to 3.4 %), by row 0.1 to 1.2 % (0.05 to 0.5 %). Beyond, mass is
lost between far-apart points: 16 % by row (10 %) at d = 8.

So prefer a normalisation wherever the absolute size matters.

References:
    Adams, Baek and Davis, "Fast High-Dimensional Filtering Using the Permutohedral Lattice",
    Eurographics 2010.
"""

from weakseg.filtering.features import bilateral_features as bilateral_features
from weakseg.filtering.features import position_features as position_features
from weakseg.filtering.filters import bilateral_filter as bilateral_filter
from weakseg.filtering.filters import gaussian_filter as gaussian_filter
from weakseg.filtering.lattice import BACKENDS as BACKENDS
from weakseg.filtering.lattice import NORMALISATIONS as NORMALISATIONS
from weakseg.filtering.lattice import Backend as Backend
from weakseg.filtering.lattice import Lattice as Lattice
from weakseg.filtering.lattice import Normalisation as Normalisation
from weakseg.filtering.quality import QUALITIES as QUALITIES
from weakseg.filtering.quality import Quality as Quality
