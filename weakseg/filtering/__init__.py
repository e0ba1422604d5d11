"""Filter scattered values by a Gaussian in up to 16 dimensions, fast and approximately.

The permutohedral lattice approximates `out_i = sum_j exp(-|f_i - f_j|^2 / 2) values_j`, j = i
included, in time linear in the points: in C++ on the CPU, in torch on any other device. Measured
against the exact sums:

* Points that fill the space, d <= 5: relative L2 error 1 to 6 % unnormalised, 0.04 to 1.7 %
  normalised by row. Beyond, mass is lost between far-apart points: 12 % by row at d = 8.
* Position and colour of real frames (d = 5): the unnormalised sums come out 16 to 22 % low, since
  colours leave parts of the lattice empty. Up to that constant the error is 5 to 9 %, and 0.1 to
  0.2 % normalised by row.

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
