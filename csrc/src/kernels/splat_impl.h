// Splat: sums of a tile's points at the vertices.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>

#include "../tile_kernels.h"
#include "corners_impl.h"
#include "vectors_impl.h"

namespace weakseg {
namespace {

/// Add, or write, the used rows of a group's table.
template <int kDims, int kChannels>
inline void flush(const TileView& tile, const HubGroup& group, const float* table, float* lattice,
                  float* sums) {
    std::uint32_t vertex = group.first_vertex;
    for (int block = 0; block < TableLayout<kDims>::kBlocks; ++block) {
        const float* rows = table + block * kLanesPerBlock * kChannels;
        for (unsigned left = group.used[block]; left != 0; left &= left - 1) {
            const float* row = rows + __builtin_ctz(left) * kChannels;
            if (lattice != nullptr) {
                float* to = lattice + static_cast<std::size_t>(tile.vertices[vertex]) * kChannels;
                for (int c = 0; c < kChannels; ++c) to[c] += row[c];
            } else {
                float* to = sums + static_cast<std::size_t>(vertex) * kChannels;
                for (int c = 0; c < kChannels; ++c) to[c] = row[c];
            }
            ++vertex;
        }
    }
}

/// One or two floats.
template <int kChannels>
struct Few {
    typedef float Values __attribute__((vector_size(kChannels * sizeof(float))));

    static void add(float* to, const float* added) {
        Values sum;
        Values more;
        std::memcpy(&sum, to, sizeof(sum));
        std::memcpy(&more, added, sizeof(more));
        sum += more;
        std::memcpy(to, &sum, sizeof(sum));
    }
};

/// Splat of one or two channels: products in vectors, sums in tables in the nearest cache.
template <int kDims, int kChannels>
void splat_few(const TileView& tile, const TileValues& values, float* lattice, float* sums) {
    using Layout = TableLayout<kDims>;
    constexpr int kTableFloats = Layout::kBlocks * kLanesPerBlock * kChannels;
    // Copies, used in turn: adding twice to one place waits for the first sum to be stored.
    constexpr std::uint32_t kCopies = 4;
    constexpr std::uint32_t kManyPoints = 64;
    alignas(64) float table[kCopies][kTableFloats];
    alignas(64) float product[kDims][kLanes * kChannels];
    alignas(64) std::uint32_t lane[kDims][kLanes];  // in floats
    const Ints numbers = lane_numbers();
    for (std::uint32_t g = 0; g < tile.group_count; ++g) {
        const HubGroup& group = tile.groups[g];
        const std::uint32_t end = tile.groups[g + 1].first_record;
        // A small group pays more for clearing copies than it waits.
        const std::uint32_t copies = end - group.first_record < kManyPoints ? 2 : kCopies;
        std::memset(table, 0, copies * sizeof(table[0]));
        float* const tables[kCopies] = {table[0], table[1], table[copies - 2], table[copies - 1]};
        Floats hub[kChannels] = {};
        for (std::uint32_t at = group.first_record; at < end; at += kLanes) {
            const Corners<kDims> corners(tile, at);
            const std::uint32_t count = end - at < kLanes ? end - at : kLanes;
            const Ints valid = numbers < static_cast<std::int32_t>(count);
            Floats value[kChannels];
            for (int c = 0; c < kChannels; ++c) {
                // Lanes past the end hold other groups' points, or none.
                const float* plane = values.data + c * kTilePoints;
                value[c] = reinterpret_cast<Floats>(
                    valid & reinterpret_cast<Ints>(gather(plane, valid & corners.place)));
                hub[c] = multiply_add(corners.weight[0], value[c], hub[c]);
            }
            for (int level = 0; level < kDims; ++level) {
                const Floats weight = corners.weight[level + 1];
                if constexpr (kChannels == 1) {
                    store(product[level], weight * value[0]);
                } else {
                    store_interleaved(product[level], weight * value[0], weight * value[1]);
                }
            }
            for (int level = 0; level < kDims; ++level) {
                store(lane[level], lane_of<kDims>(corners.lanes, level) * kChannels);
            }
            const auto add = [&](float* sums_of_copy, std::uint32_t i) {
                for (int level = 0; level < kDims; ++level) {
                    Few<kChannels>::add(sums_of_copy + lane[level][i],
                                        product[level] + i * kChannels);
                }
            };
            std::uint32_t i = 0;
            for (; i + kCopies <= count; i += kCopies) {
                for (std::uint32_t copy = 0; copy < kCopies; ++copy) add(tables[copy], i + copy);
            }
            for (std::uint32_t copy = 0; i < count; ++i, ++copy) add(tables[copy], i);
        }
        for (int i = 0; i < kTableFloats; i += kLanes) {
            Floats sum = load_floats(table[0] + i);
            for (std::uint32_t copy = 1; copy < copies; ++copy) {
                sum += load_floats(table[copy] + i);
            }
            store(table[0] + i, sum * kWeightUnit);
        }
        for (int c = 0; c < kChannels; ++c) {
            float sum = 0.0F;
            for (int i = 0; i < kLanes; ++i) sum += hub[c][i];
            table[0][Layout::kHubLane * kChannels + c] = sum * kWeightUnit;
        }
        flush<kDims, kChannels>(tile, group, table[0], lattice, sums);
    }
}

/// Splat of rows of channels.
template <int kDims, int kChannels>
void splat_rows(const TileView& tile, const TileValues& values, float* lattice, float* sums) {
    using Layout = TableLayout<kDims>;
    using Parts = RowParts<kChannels>;
    constexpr int kTableFloats = Layout::kBlocks * kLanesPerBlock * kChannels;
    alignas(64) float table[kTableFloats];
    for (std::uint32_t g = 0; g < tile.group_count; ++g) {
        const HubGroup& group = tile.groups[g];
        const std::uint32_t end = tile.groups[g + 1].first_record;
        std::memset(table, 0, sizeof(table));
        for (std::uint32_t at = group.first_record; at < end; at += kLanes) {
            const Staged<kDims> staged(tile, at, kChannels, values.row_step, values.factors);
            const std::uint32_t count = end - at < kLanes ? end - at : kLanes;
            for (std::uint32_t i = 0; i < count; ++i) {
                const float* const from = values.data + staged.value[i];
                for (int part = 0; part < Parts::kParts; ++part) {
                    const auto value = Parts::load(from, part);
                    const auto add = [&](float* row, float weight) {
                        Parts::store(row, part, Parts::load(row, part) + weight * value);
                    };
                    add(table + Layout::kHubLane * kChannels, staged.weight[0][i]);
                    for (int level = 0; level < kDims; ++level) {
                        add(table + staged.lane[level][i], staged.weight[level + 1][i]);
                    }
                }
            }
        }
        flush<kDims, kChannels>(tile, group, table, lattice, sums);
    }
}

template <int kDims>
void splat_any(int channels, const TileView& tile, const TileValues& values, float* lattice,
               float* sums) {
    switch (channels) {
        case 1:
            return splat_few<kDims, 1>(tile, values, lattice, sums);
        case 2:
            return splat_few<kDims, 2>(tile, values, lattice, sums);
        case 4:
            return splat_rows<kDims, 4>(tile, values, lattice, sums);
        case 8:
            return splat_rows<kDims, 8>(tile, values, lattice, sums);
        case 16:
            return splat_rows<kDims, 16>(tile, values, lattice, sums);
        default:
            return splat_rows<kDims, 24>(tile, values, lattice, sums);
    }
}

void splat(int dims, int channels, const TileView& tile, const TileValues& values, float* lattice,
           float* sums) {
    if (dims == 2) return splat_any<2>(channels, tile, values, lattice, sums);
    return splat_any<5>(channels, tile, values, lattice, sums);
}

}  // namespace
}  // namespace weakseg
