// Mean-field inference in a fully connected CRF.
//
// Krahenbuhl and Koltun, "Efficient Inference in Fully Connected CRFs with Gaussian Edge
// Potentials", NeurIPS 2011.
#pragma once

#include <cstddef>
#include <memory>
#include <vector>

#include "weakseg/lattice.h"
#include "weakseg/position_kernel.h"

namespace weakseg {

/// With A a kernel's sums and n = 1 / (A 1): A, A n, n A, or n^1/2 A n^1/2.
enum class Normalisation { kNone, kBefore, kAfter, kSymmetric };

/// One kernel of the energy: a lattice or a position kernel.
struct PairwiseTerm {
    const Lattice* lattice = nullptr;
    const PositionKernel* position = nullptr;
    Normalisation normalisation = Normalisation::kSymmetric;
    /// (labels, labels): what a label (row) costs beside those of the neighbours (column).
    std::vector<float> compatibility;
};

struct MeanFieldOptions {
    int iterations = 5;
    bool symmetric = true;
    int threads = 0;      // 0: all
    bool planes = false;  // arrays are (labels, points) instead of (points, labels)
};

/// Update `iterations` times Q = softmax(-unary - sum over terms of compatibility (K Q)).
///
/// `unary`, energies in nats, and `out` are (points, labels), and so is `start`, the first Q; null
/// for softmax(-unary).
void mean_field(const float* unary, const float* start, std::size_t points, std::size_t labels,
                const std::vector<PairwiseTerm>& terms, const MeanFieldOptions& options,
                float* out);

}  // namespace weakseg
