// Mean field of Potts terms over the lattices and position kernels of one frame, tile by tile.
//
// A tile's sums, its new probabilities and their splat for the next iteration follow each other
// while all of them lie in a near cache. Term by term, they would go through memory seven times.
#pragma once

#include <cstddef>
#include <vector>

#include "pool.h"
#include "tiled_lattice.h"
#include "weakseg/mean_field.h"

namespace weakseg {

/// A term with the factors of its normalisation, null for 1: a lattice's lie as its records do.
struct TiledTerm {
    const TiledLattice* lattice;  // or
    const PositionKernel* position;
    float weight;  // of the Potts model: minus the compatibility's diagonal
    const float* before;
    const float* after;
};

/// Whether terms can be taken so: some lattice over a frame, the others over the same.
bool suits_tiles(const std::vector<PairwiseTerm>& terms, std::size_t labels);

/// As `mean_field`; at least one iteration.
void tiled_mean_field(const float* unary, const float* start, std::size_t labels,
                      const std::vector<TiledTerm>& terms, const MeanFieldOptions& options,
                      float* out);

}  // namespace weakseg
