// Steps between the keys of a tiled lattice's vertices.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

#include "tile_kernels.h"

namespace weakseg {

inline std::uint64_t key_step(const TileGeometry& geometry, int axis) {
    return static_cast<std::uint32_t>(geometry.low[axis]) +
           (static_cast<std::uint64_t>(static_cast<std::uint32_t>(geometry.high[axis])) << 32U);
}

/// Key steps to a vertex's neighbours: along axis i the next one has every coordinate one larger,
/// and the i-th dims smaller.
template <class Key>
class AxisSteps {
  public:
    explicit AxisSteps(const TileGeometry& geometry) : dims_(static_cast<Key>(geometry.dims)) {
        std::uint64_t all = 0;
        for (int axis = 0; axis < geometry.dims; ++axis) all += key_step(geometry, axis);
        for (int axis = 0; axis <= geometry.dims; ++axis) {
            const auto at = static_cast<std::size_t>(axis);
            const std::uint64_t own = key_step(geometry, axis);
            step_[at] = static_cast<Key>(1 - own);
            wrapping_step_[at] =
                static_cast<Key>(all - own - static_cast<std::uint64_t>(geometry.dims));
        }
    }

    /// Of every axis; wrapping are those from remainder dims to 0.
    const Key* to_above(Key key) const {
        return remainder(key) == dims_ ? wrapping_step_.data() : step_.data();
    }

    /// To subtract.
    const Key* from_below(Key key) const {
        return remainder(key) == 0 ? wrapping_step_.data() : step_.data();
    }

  private:
    static Key remainder(Key key) { return key & 7U; }

    Key dims_;
    std::array<Key, kMaxTiledDims + 1> step_{};
    std::array<Key, kMaxTiledDims + 1> wrapping_step_{};
};

}  // namespace weakseg
