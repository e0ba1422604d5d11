// The simplex that holds a point, for any dimension.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

#include "weakseg/lattice.h"

namespace weakseg {

/// Round down without a call into libm, which portable x86-64 code needs for std::floor.
inline std::int32_t floor_to_int(double value) {
    const auto truncated = static_cast<std::int32_t>(value);
    return truncated - static_cast<std::int32_t>(value < truncated);
}

/// A point's enclosing simplex: nearest remainder-0 vertex, order of the rest, corner weights.
struct Simplex {
    std::array<std::int32_t, kMaxDims + 1> origin{};
    std::array<int, kMaxDims + 1> rank{};
    std::array<double, kMaxDims + 2> weight{};
};

/// Lift a feature vector onto the hyperplane of dims + 1 coordinates that sum to zero.
inline void elevate(const float* feature, const std::array<double, kMaxDims>& scales, int dims,
                    double* elevated) {
    double sum = 0.0;
    for (int i = dims; i > 0; --i) {
        const double coordinate = feature[i - 1] * scales[static_cast<std::size_t>(i - 1)];
        elevated[i] = sum - i * coordinate;
        sum += coordinate;
    }
    elevated[0] = sum;
}

/// Round to the nearest remainder-0 vertex and rank the remainders, largest first.
inline void round_and_rank(const double* elevated, int dims, bool compatible, Simplex& simplex) {
    const int side = dims + 1;
    std::array<double, kMaxDims + 1> remainder{};
    int sum = 0;
    for (std::size_t i = 0; i < static_cast<std::size_t>(side); ++i) {
        const auto rounded = floor_to_int(elevated[i] / side + 0.5);
        sum += rounded;
        simplex.origin[i] = rounded * side;
        simplex.rank[i] = 0;
        remainder[i] = elevated[i] - simplex.origin[i];
    }
    for (std::size_t i = 0; i < static_cast<std::size_t>(dims); ++i) {
        for (std::size_t j = i + 1; j < static_cast<std::size_t>(side); ++j) {
            // Of equal remainders the larger index comes first, unless it shall be compatible.
            const bool is_tie = remainder[i] == remainder[j];
            const int j_first = (is_tie ? !compatible : remainder[i] < remainder[j]) ? 1 : 0;
            simplex.rank[i] += j_first;
            simplex.rank[j] += 1 - j_first;
        }
    }
    // The rounded point may lie off the hyperplane: move the coordinates that cost least.
    for (std::size_t i = 0; i < static_cast<std::size_t>(side); ++i) {
        simplex.rank[i] += sum;
        const int wrap = simplex.rank[i] < 0 ? side : (simplex.rank[i] > dims ? -side : 0);
        simplex.rank[i] += wrap;
        simplex.origin[i] += wrap;
    }
}

/// Barycentric weights of the simplex's corners; corner r has remainder r.
inline void weigh_corners(const double* elevated, int dims, Simplex& simplex) {
    const int side = dims + 1;
    simplex.weight.fill(0.0);
    for (std::size_t i = 0; i < static_cast<std::size_t>(side); ++i) {
        const double share = (elevated[i] - simplex.origin[i]) / side;
        simplex.weight[static_cast<std::size_t>(dims - simplex.rank[i])] += share;
        simplex.weight[static_cast<std::size_t>(dims + 1 - simplex.rank[i])] -= share;
    }
    simplex.weight[0] += 1.0 + simplex.weight[static_cast<std::size_t>(side)];
}

}  // namespace weakseg
