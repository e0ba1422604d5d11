// Constants of a tiled lattice, from the ranges of its features.
#pragma once

#include <array>
#include <cmath>

#include "tile_kernels.h"
#include "weakseg/lattice.h"

namespace weakseg {

struct Range {
    double low;
    double high;
};

/// Set up `geometry` for features in `ranges`; false if the keys have no room for them.
bool set_geometry(TileGeometry& geometry, int dims, const std::array<Range, kMaxTiledDims>& ranges,
                  float deviation, bool compatible);

/// Of a frame's features x, y, r, g, b.
std::array<Range, kMaxTiledDims> plain_ranges(const Frame& frame, const Range& levels,
                                              float sigma_xy_pixels, float sigma_rgb_levels);

/// Factors that make (r - b, r - 2 g + b, r + g + b) an orthonormal basis of the colours.
const std::array<double, 3> kOpponentNorm{1.0 / std::sqrt(2.0), 1.0 / std::sqrt(6.0),
                                          1.0 / std::sqrt(3.0)};

/// Of a frame's features x, y, and colours in that basis.
std::array<Range, kMaxTiledDims> opponent_ranges(const Frame& frame, const Range& levels,
                                                 float sigma_xy_pixels, float sigma_rgb_levels);

}  // namespace weakseg
