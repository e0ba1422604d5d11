// Rows of classes as the kernels take them: filled up to a width they know.
#pragma once

#include <algorithm>
#include <cstddef>
#include <limits>
#include <vector>

#include "strided_copy.h"
#include "tile_kernels.h"

namespace weakseg {

/// Energy of a class that is none: its probability is 0.
constexpr float kImpossible = std::numeric_limits<float>::infinity();

inline std::size_t row_width(std::size_t classes) {
    return classes <= 4 ? 4 : (classes + 7) / 8 * 8;
}

/// Copy points' values of classes to rows of `width`.
inline void widen(const Strided<const float>& from, std::size_t points, std::size_t classes,
                  std::size_t width, float filling, float* to) {
    copy_strided(from, {to, width, 1}, points, classes);
    for (std::size_t i = 0; i < points; ++i) {
        std::fill(to + i * width + classes, to + (i + 1) * width, filling);
    }
}

/// The same for energies, less the least of every point: only differences count.
inline void widen_energies(const Strided<const float>& from, std::size_t points,
                           std::size_t classes, std::size_t width, float* to) {
    widen(from, points, classes, width, kImpossible, to);
    tile_kernels().subtract_least(width, points, to);
}

/// Whether a (classes, classes) matrix is a multiple of the identity.
inline bool is_potts(const std::vector<float>& mu, std::size_t classes) {
    for (std::size_t i = 0; i < mu.size(); ++i) {
        if (mu[i] != (i % (classes + 1) == 0 ? mu[0] : 0.0F)) return false;
    }
    return true;
}

}  // namespace weakseg
