// Slice: values of the vertices at a tile's points.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>

#include "../tile_kernels.h"
#include "corners_impl.h"
#include "vectors_impl.h"

namespace weakseg {
namespace {

/// Call body(lane, from) for the used lanes of a group's table and their vertices' first floats.
template <int kDims, int kChannels, class Body>
inline void for_used_lanes(const TileView& tile, const HubGroup& group, const Body& body) {
    std::uint32_t vertex = group.first_vertex;
    for (int block = 0; block < TableLayout<kDims>::kBlocks; ++block) {
        for (unsigned left = group.used[block]; left != 0; left &= left - 1) {
            body(block * kLanesPerBlock + __builtin_ctz(left),
                 static_cast<std::size_t>(tile.vertices[vertex++]) * kChannels);
        }
    }
}

/// Look up a level's corners: a register permutation.
template <int kDims>
inline Floats look_up_level(const float* table, Ints lanes, int level) {
    const float* entries = table + TableLayout<kDims>::kFirstLane[level];
    const Ints index = lanes >> TableLayout<kDims>::kShift[level];
    if (2 * (level + 1) == kDims + 1) {
        return lookup(load_table(entries), load_table(entries + kLanesPerBlock), index);
    }
    return lookup(load_table(entries), index);
}

/// Slice of one or two channels: a group's table lies in registers.
template <int kDims, int kChannels>
void slice_few(const TileView& tile, const float* lattice, float scale, const TileValues& values) {
    using Layout = TableLayout<kDims>;
    constexpr int kLanesInAll = Layout::kBlocks * kLanesPerBlock;
    alignas(64) float table[kChannels * kLanesInAll] = {};
    alignas(64) float sliced[kLanes * kChannels];
    alignas(64) std::uint32_t place[kLanes];
    for (std::uint32_t g = 0; g < tile.group_count; ++g) {
        const HubGroup& group = tile.groups[g];
        const std::uint32_t end = tile.groups[g + 1].first_record;
        for_used_lanes<kDims, kChannels>(tile, group, [&](int lane, std::size_t from) {
            for (int c = 0; c < kChannels; ++c) {
                table[c * kLanesInAll + lane] = scale * kWeightUnit * lattice[from + c];
            }
        });
        for (std::uint32_t at = group.first_record; at < end; at += kLanes) {
            const Corners<kDims> corners(tile, at);
            Floats factor = Floats{} + 1.0F;
            if (values.factors.data != nullptr) factor = load_floats(values.factors.data + at);
            Floats sums[kChannels];
            for (int c = 0; c < kChannels; ++c) {
                const float* entries = table + c * kLanesInAll;
                Floats sum = corners.weight[0] * entries[Layout::kHubLane];
                for (int level = 0; level < kDims; ++level) {
                    sum = multiply_add(corners.weight[level + 1],
                                       look_up_level<kDims>(entries, corners.lanes, level), sum);
                }
                sums[c] = factor * sum;
            }
            if constexpr (kChannels == 1) {
                if (values.row_step == 0) {
                    store(values.data + at, sums[0]);  // what is more, others overwrite
                    continue;
                }
                store(sliced, sums[0]);
            } else {
                store_interleaved(sliced, sums[0], sums[1]);
            }
            store(place, corners.place);
            const std::uint32_t count = end - at < kLanes ? end - at : kLanes;
            for (std::uint32_t i = 0; i < count; ++i) {
                std::memcpy(values.data + place[i] * kChannels, sliced + i * kChannels,
                            kChannels * sizeof(float));
            }
        }
    }
}

/// Slice of rows of channels.
template <int kDims, int kChannels>
void slice_rows(const TileView& tile, const float* lattice, float scale, const TileValues& values) {
    using Layout = TableLayout<kDims>;
    constexpr int kStep = kTableStep<kChannels>;
    alignas(64) float table[Layout::kBlocks * kLanesPerBlock * kStep];
    for (std::uint32_t g = 0; g < tile.group_count; ++g) {
        const HubGroup& group = tile.groups[g];
        const std::uint32_t end = tile.groups[g + 1].first_record;
        for_used_lanes<kDims, kChannels>(tile, group, [&](int lane, std::size_t from) {
            for_parts<kChannels>([&](auto part) {
                part.store(table + lane * kStep, scale * part.load(lattice + from));
            });
        });
        for (std::uint32_t at = group.first_record; at < end; at += kLanes) {
            const Staged<kDims> staged(tile, at, kChannels, kStep, values.row_step, values.factors);
            const std::uint32_t count = end - at < kLanes ? end - at : kLanes;
            for_parts<kChannels>([&](auto part) {
                using Values = typename decltype(part)::Values;
                const Values hub = part.load(table + Layout::kHubLane * kStep);
                for (std::uint32_t i = 0; i < count; ++i) {
                    Values sum = staged.weight[0][i] * hub;
                    for (int level = 0; level < kDims; ++level) {
                        sum = multiply_add(part.load(table + staged.lane[level][i]),
                                           Values{} + staged.weight[level + 1][i], sum);
                    }
                    part.store(values.data + staged.value[i], sum);
                }
            });
        }
    }
}

template <int kDims>
void slice_any(int channels, const TileView& tile, const float* lattice, float scale,
               const TileValues& values) {
    switch (channels) {
        case 1:
            return slice_few<kDims, 1>(tile, lattice, scale, values);
        case 2:
            return slice_few<kDims, 2>(tile, lattice, scale, values);
        case 4:
            return slice_rows<kDims, 4>(tile, lattice, scale, values);
        case 8:
            return slice_rows<kDims, 8>(tile, lattice, scale, values);
        case 16:
            return slice_rows<kDims, 16>(tile, lattice, scale, values);
        default:
            return slice_rows<kDims, 24>(tile, lattice, scale, values);
    }
}

void slice(int dims, int channels, const TileView& tile, const float* lattice, float scale,
           const TileValues& values) {
    if (dims == 2) return slice_any<2>(channels, tile, lattice, scale, values);
    return slice_any<5>(channels, tile, lattice, scale, values);
}

}  // namespace
}  // namespace weakseg
