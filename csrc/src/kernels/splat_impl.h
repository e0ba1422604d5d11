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

/// Where sums of a vertex go: to a row of the lattice, or without `lattice` to one of `sums`.
template <int kChannels>
inline float* row_of_vertex(const TileView& tile, std::uint32_t vertex, float* lattice,
                            float* sums) {
    return lattice == nullptr
               ? sums + static_cast<std::size_t>(vertex) * kChannels
               : lattice + static_cast<std::size_t>(tile.vertices[vertex]) * kChannels;
}

/// Add, or write, the used rows of a group's table, kStep floats apart.
template <int kDims, int kChannels, int kStep>
inline void flush(const TileView& tile, const HubGroup& group, const float* table, float* lattice,
                  float* sums) {
    std::uint32_t vertex = group.first_vertex;
    for (int block = 0; block < TableLayout<kDims>::kBlocks; ++block) {
        const float* rows = table + block * kLanesPerBlock * kStep;
        for (unsigned left = group.used[block]; left != 0; left &= left - 1) {
            const float* row = rows + __builtin_ctz(left) * kStep;
            float* const to = row_of_vertex<kChannels>(tile, vertex++, lattice, sums);
            for_parts<kChannels>([&](auto part) {
                const auto sum = part.load(row);
                part.store(to, lattice == nullptr ? sum : part.load(to) + sum);
            });
        }
    }
}

/// Lanes and products of a group's points, as many as are summed at once.
template <int kDims, int kChannels>
struct Products {
    static constexpr std::uint32_t kVectors = 16;
    static constexpr std::uint32_t kPoints = kVectors * kLanes;
    Ints lane[kDims][kVectors];
    Floats product[kDims][kVectors][kChannels];
    Floats hub[kChannels];  // sums at the hub, of all these points

    /// Points [begin, end) of a tile; returns how many vectors these are.
    std::uint32_t stage(const TileView& tile, const TileValues& values, std::uint32_t begin,
                        std::uint32_t end) {
        const Ints numbers = lane_numbers();
        for (Floats& sum : hub) sum = Floats{};
        std::uint32_t count = 0;
        for (std::uint32_t at = begin; at < end; at += kLanes, ++count) {
            const Corners<kDims> corners(tile, at);
            const Ints valid = numbers < static_cast<std::int32_t>(end - at);
            Floats factor = Floats{} + 1.0F;
            if (values.factors.data != nullptr) factor = load_floats(values.factors.data + at);
            // Lanes past the end hold other groups' points, or none.
            const Ints place = valid & corners.place;
            Floats value[kChannels];
            if constexpr (kChannels == 1) {
                value[0] = values.data == nullptr ? Floats{} + 1.0F : gather(values.data, place);
            } else {
                gather_pairs(values.data, place, value[0], value[1]);
            }
            for (int c = 0; c < kChannels; ++c) {
                value[c] =
                    reinterpret_cast<Floats>(valid & reinterpret_cast<Ints>(factor * value[c]));
                hub[c] = multiply_add(corners.weight[0], value[c], hub[c]);
            }
            for (int level = 0; level < kDims; ++level) {
                lane[level][count] = lane_of<kDims>(corners.lanes, level);
                for (int c = 0; c < kChannels; ++c) {
                    product[level][count][c] = corners.weight[level + 1] * value[c];
                }
            }
        }
        return count;
    }
};

/// Splat of one or two channels. On photos a group has few vertices for all its points: every
/// vertex takes its own points out of the vectors, and no sum waits for another one's store.
template <int kDims, int kChannels>
void splat_few(const TileView& tile, const TileValues& values, float* lattice, float* sums) {
    using Layout = TableLayout<kDims>;
    Products<kDims, kChannels> staged;
    float totals[kMaxTableLanes][kChannels];
    for (std::uint32_t g = 0; g < tile.group_count; ++g) {
        const HubGroup& group = tile.groups[g];
        const std::uint32_t end = tile.groups[g + 1].first_record;
        const std::uint32_t vertices = tile.groups[g + 1].first_vertex - group.first_vertex;
        std::memset(totals, 0, vertices * sizeof(totals[0]));
        for (std::uint32_t at = group.first_record; at < end; at += staged.kPoints) {
            const std::uint32_t count = staged.stage(
                tile, values, at, end - at < staged.kPoints ? end : at + staged.kPoints);
            auto* total = totals;
            for (int block = 0; block < Layout::kBlocks; ++block) {
                const int level = Layout::kLevelOfBlock[block];
                for (unsigned left = group.used[block]; left != 0; left &= left - 1, ++total) {
                    const int lane = block * kLanesPerBlock + __builtin_ctz(left);
                    Floats sum[kChannels] = {};
                    if (lane == Layout::kHubLane) {
                        for (int c = 0; c < kChannels; ++c) sum[c] = staged.hub[c];
                    } else {
                        const Ints own = Ints{} + lane;
                        for (std::uint32_t i = 0; i < count; ++i) {
                            for (int c = 0; c < kChannels; ++c) {
                                sum[c] = add_where_equal(staged.lane[level][i], own,
                                                         staged.product[level][i][c], sum[c]);
                            }
                        }
                    }
                    for (int c = 0; c < kChannels; ++c) (*total)[c] += sum_lanes(sum[c]);
                }
            }
        }
        for (std::uint32_t i = 0; i < vertices; ++i) {
            float* const to = row_of_vertex<kChannels>(tile, group.first_vertex + i, lattice, sums);
            for (int c = 0; c < kChannels; ++c) {
                const float sum = totals[i][c] * kWeightUnit;
                to[c] = lattice != nullptr ? to[c] + sum : sum;
            }
        }
    }
}

/// Splat of rows of channels.
template <int kDims, int kChannels>
void splat_rows(const TileView& tile, const TileValues& values, float* lattice, float* sums) {
    using Layout = TableLayout<kDims>;
    constexpr int kStep = kTableStep<kChannels>;
    alignas(64) float table[Layout::kBlocks * kLanesPerBlock * kStep];
    for (std::uint32_t g = 0; g < tile.group_count; ++g) {
        const HubGroup& group = tile.groups[g];
        const std::uint32_t end = tile.groups[g + 1].first_record;
        std::memset(table, 0, sizeof(table));
        for (std::uint32_t at = group.first_record; at < end; at += kLanes) {
            const Staged<kDims> staged(tile, at, kChannels, kStep, values.row_step, values.factors);
            const std::uint32_t count = end - at < kLanes ? end - at : kLanes;
            for_parts<kChannels>([&](auto part) {
                using Values = typename decltype(part)::Values;
                // All points add to the hub: in a register, none waits for the last one's store.
                Values hub = part.load(table + Layout::kHubLane * kStep);
                const auto add_point = [&](std::uint32_t i) {
                    const Values value = part.load(values.data + staged.value[i]);
                    hub = multiply_add(value, Values{} + staged.weight[0][i], hub);
                    for (int level = 0; level < kDims; ++level) {
                        float* const row = table + staged.lane[level][i];
                        part.store(row, multiply_add(value, Values{} + staged.weight[level + 1][i],
                                                     part.load(row)));
                    }
                };
                // Neighbours mostly share their corners: those that lie apart wait less.
                for (std::uint32_t first = 0; first < 4; ++first) {
                    for (std::uint32_t i = first; i < count; i += 4) add_point(i);
                }
                part.store(table + Layout::kHubLane * kStep, hub);
            });
        }
        flush<kDims, kChannels, kStep>(tile, group, table, lattice, sums);
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
