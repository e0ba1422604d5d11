// Weights and lanes of the corners, read from records.
#pragma once

#include <cstddef>
#include <cstdint>

#include "../tile_kernels.h"
#include "vectors_impl.h"

namespace weakseg {
namespace {

/// A vector of records: the weights of corners 0, 1, ... in 1 / 65535, and their lanes.
template <int kDims>
struct Corners {
    Floats weight[kDims + 1];
    Ints lanes;
    Ints place;

    Corners(const TileView& tile, std::uint32_t at) {
        Ints words[kRecordWords];
        load_records(tile.records + at * kRecordWords, words);
        Ints total{};
        for (int word = 0; 2 * word < kDims; ++word) {
            const Ints pair = words[word];
            const Ints first = pair & 0xFFFF;
            weight[2 * word + 1] = to_floats(first);
            total += first;
            if (2 * word + 1 < kDims) {
                const Ints second = (pair >> 16) & 0xFFFF;
                weight[2 * word + 2] = to_floats(second);
                total += second;
            }
        }
        // Roundings may add up to a little more than the whole.
        weight[0] = to_floats(maximum(65535 - total, Ints{}));
        place = (words[kPlaceWord] >> 16) & 0xFFFF;
        lanes = words[kLanesWord];
    }
};

constexpr float kWeightUnit = 1.0F / 65535.0F;

/// Lane in the group's table of the corner of one level.
template <int kDims>
inline Ints lane_of(Ints lanes, int level) {
    const int mask = 2 * (level + 1) == kDims + 1 ? 31 : 15;
    return ((lanes >> TableLayout<kDims>::kShift[level]) & mask) +
           TableLayout<kDims>::kFirstLane[level];
}

/// Weights, table rows and values of a vector of records, point by point.
template <int kDims>
struct Staged {
    alignas(64) float weight[kDims + 1][kLanes];
    alignas(64) std::uint32_t lane[kDims][kLanes];
    alignas(64) std::uint32_t value[kLanes];

    Staged(const TileView& tile, std::uint32_t at, int channels, int table_step,
           std::size_t row_step, const PointFactors& factors) {
        const Corners<kDims> corners(tile, at);
        const Ints row = corners.place >> kTileShift;
        const Ints column = corners.place & (static_cast<std::int32_t>(kTileSide) - 1);
        Floats unit = Floats{} + kWeightUnit;
        if (factors.data != nullptr && factors.row_step == 0) {
            unit *= load_floats(factors.data + at);
        } else if (factors.data != nullptr) {
            const Ints place = row * static_cast<std::int32_t>(factors.row_step) + column;
            unit *= gather(factors.data, place);
        }
        for (int level = 0; level <= kDims; ++level) {
            store(weight[level], corners.weight[level] * unit);
        }
        for (int level = 0; level < kDims; ++level) {
            store(lane[level], lane_of<kDims>(corners.lanes, level) * table_step);
        }
        store(value, row * static_cast<std::int32_t>(row_step) + column * channels);
    }
};

}  // namespace
}  // namespace weakseg
