// Pack keys, and lay out the tables of groups.
#include "tile_geometry.h"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>

#include "lattice_base.h"

namespace weakseg {

namespace {

template <int kDims>
void set_codes(TileGeometry& geometry, bool compatible) {
    // The larger code is sorted first, which settles ties.
    for (int axis = 0; axis <= kDims; ++axis) {
        geometry.code[axis] = TableLayout<kDims>::kCode[compatible ? kDims - axis : axis];
    }
}

/// Key steps of every lane of a group's table, found by going through all sets of axes.
template <int kDims>
void set_lanes(TileGeometry& geometry) {
    using Layout = TableLayout<kDims>;
    constexpr int kSide = kDims + 1;
    for (unsigned set = 1; set + 1 < 1U << kSide; ++set) {
        int corner = 0;
        std::uint64_t step = 0;
        unsigned inside = 0;
        unsigned outside = 0;
        for (int axis = 0; axis < kSide; ++axis) {
            const auto code = static_cast<unsigned>(geometry.code[axis]);
            if ((set >> axis & 1U) == 0) {
                outside ^= code;
                continue;
            }
            ++corner;
            inside ^= code;
            step -= static_cast<std::uint32_t>(geometry.low[axis]);
            step -= static_cast<std::uint64_t>(static_cast<std::uint32_t>(geometry.high[axis]))
                    << 32U;
        }
        const unsigned mask = 2 * corner == kSide ? 31 : 15;
        const unsigned lane = (2 * corner <= kSide ? inside : outside) & mask;
        geometry.lane_step[static_cast<unsigned>(Layout::kFirstLane[corner - 1]) + lane] =
            step + static_cast<unsigned>(corner);
    }
    geometry.lane_step[Layout::kHubLane] = 0;
}

}  // namespace

bool set_geometry(TileGeometry& geometry, int dims, const std::array<Range, kMaxTiledDims>& ranges,
                  float deviation, bool compatible) {
    geometry.dims = dims;
    std::array<Range, kMaxTiledDims> scaled{};
    for (int i = 0; i < dims; ++i) {
        geometry.scale[i] = axis_scale(deviation, i);
        scaled[static_cast<std::size_t>(i)] = {
            ranges[static_cast<std::size_t>(i)].low * geometry.scale[i],
            ranges[static_cast<std::size_t>(i)].high * geometry.scale[i]};
    }
    // Coordinates that a vertex, or a neighbour of one, can have: the last follows from the rest.
    std::array<double, kMaxTiledDims> least{};
    std::array<double, kMaxTiledDims> count{};
    double all = 8.0;  // three bits hold the remainder
    for (int axis = 0; axis < dims; ++axis) {
        const auto at = static_cast<std::size_t>(axis);
        Range elevated{0.0, 0.0};
        for (std::size_t i = at; i < static_cast<std::size_t>(dims); ++i) {
            elevated.low += scaled[i].low;
            elevated.high += scaled[i].high;
        }
        if (axis > 0) {
            elevated.low -= axis * scaled[at - 1].high;
            elevated.high -= axis * scaled[at - 1].low;
        }
        // A hub's own move, a corner's, a neighbour's, and a neighbour's of one that was added.
        least[at] = std::floor(elevated.low / (dims + 1)) - 4.0;
        count[at] = std::ceil(elevated.high / (dims + 1)) + 4.0 - least[at];
        if (!(count[at] < 65536.0)) return false;
        all *= count[at];
    }
    // In one half, unless they are too many; of five, then, three and two.
    constexpr double kMostKeys = 2147483648.0;
    geometry.is_wide = all >= kMostKeys;
    std::array<double, 2> room{8.0, 1.0};
    for (int axis = 0; axis < dims; ++axis) {
        const auto at = static_cast<std::size_t>(axis);
        const std::size_t half = geometry.is_wide && axis >= 3 ? 1 : 0;
        const auto step = static_cast<std::int64_t>(room[half]);
        room[half] *= count[at];
        if (!(room[half] < kMostKeys)) return false;
        (half == 0 ? geometry.low : geometry.high)[axis] = static_cast<std::int32_t>(step);
        std::int32_t& first = half == 0 ? geometry.first_low : geometry.first_high;
        first = static_cast<std::int32_t>(first - static_cast<std::int64_t>(least[at]) * step);
    }
    dims == 2 ? set_codes<2>(geometry, compatible) : set_codes<5>(geometry, compatible);
    for (int axis = 0; axis <= dims; ++axis) {
        geometry.low_by_code[geometry.code[axis] & 15] = geometry.low[axis];
        geometry.high_by_code[geometry.code[axis] & 15] = geometry.high[axis];
    }
    dims == 2 ? set_lanes<2>(geometry) : set_lanes<5>(geometry);
    return true;
}

std::array<Range, kMaxTiledDims> plain_ranges(const Frame& frame, const Range& levels,
                                              float sigma_xy_pixels, float sigma_rgb_levels) {
    const Range colours{std::min(0.0, levels.low) / sigma_rgb_levels,
                        std::max(0.0, levels.high) / sigma_rgb_levels};
    return {Range{0.0, static_cast<double>(frame.width - 1) / sigma_xy_pixels},
            Range{0.0, static_cast<double>(frame.height - 1) / sigma_xy_pixels}, colours, colours,
            colours};
}

std::array<Range, kMaxTiledDims> opponent_ranges(const Frame& frame, const Range& levels,
                                                 float sigma_xy_pixels, float sigma_rgb_levels) {
    auto ranges = plain_ranges(frame, levels, sigma_xy_pixels, sigma_rgb_levels);
    const double span = (levels.high - levels.low) / sigma_rgb_levels;
    ranges[2] = {-span * kOpponentNorm[0], span * kOpponentNorm[0]};
    ranges[3] = {-2.0 * span * kOpponentNorm[1], 2.0 * span * kOpponentNorm[1]};
    ranges[4] = {3.0 * levels.low / sigma_rgb_levels * kOpponentNorm[2],
                 3.0 * levels.high / sigma_rgb_levels * kOpponentNorm[2]};
    return ranges;
}

}  // namespace weakseg
