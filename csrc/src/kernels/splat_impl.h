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

/// Add, or write, the used rows of a group's table, kStep floats apart.
template <int kDims, int kChannels, int kStep>
inline void flush(const TileView& tile, const HubGroup& group, const float* table, float* lattice,
                  float* sums) {
    std::uint32_t vertex = group.first_vertex;
    for (int block = 0; block < TableLayout<kDims>::kBlocks; ++block) {
        const float* rows = table + block * kLanesPerBlock * kStep;
        for (unsigned left = group.used[block]; left != 0; left &= left - 1) {
            const float* row = rows + __builtin_ctz(left) * kStep;
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

/// Sums of a level whose corners differ from the hub, or from all axes, by one axis: so few that
/// they stay in vectors, one for every axis.
template <int kDims, int kChannels>
struct AxisSums {
    static constexpr int kAxes = kDims + 1;
    Floats sums[kAxes][kChannels] = {};

    static Ints lane_of_axis(int axis) {
        return Ints{} + (TableLayout<kDims>::kCode[axis] & (kLanesPerBlock - 1));
    }

    void add(Ints lanes, int level, Floats weight, const Floats* value) {
        const Ints lane = (lanes >> TableLayout<kDims>::kShift[level]) & (kLanesPerBlock - 1);
        for (int axis = 0; axis < kAxes; ++axis) {
            for (int c = 0; c < kChannels; ++c) {
                sums[axis][c] =
                    add_where_equal(lane, lane_of_axis(axis), weight * value[c], sums[axis][c]);
            }
        }
    }

    /// Write them to the level's rows of the table.
    void write(int level, float* table) const {
        for (int axis = 0; axis < kAxes; ++axis) {
            const int lane = TableLayout<kDims>::kFirstLane[level] +
                             (TableLayout<kDims>::kCode[axis] & (kLanesPerBlock - 1));
            for (int c = 0; c < kChannels; ++c) {
                table[lane * kChannels + c] = sum_lanes(sums[axis][c]);
            }
        }
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
    // The first and the last level in vectors: of few lanes, adding to the table is as fast.
    constexpr bool kHasAxisSums = kDims == 5 && kLanes >= 8;
    alignas(64) float table[kCopies][kTableFloats];
    alignas(64) float product[kDims][kLanes * kChannels];
    alignas(64) std::uint32_t lane[kDims][kLanes];  // in floats
    const Ints numbers = lane_numbers();
    for (std::uint32_t g = 0; g < tile.group_count; ++g) {
        const HubGroup& group = tile.groups[g];
        const std::uint32_t end = tile.groups[g + 1].first_record;
        // A small group pays more for clearing copies than it waits, and for sums of lanes.
        const bool is_large = end - group.first_record >= kManyPoints;
        const std::uint32_t copies = is_large ? kCopies : 2;
        const bool has_axis_sums = kHasAxisSums && is_large;
        const int first_level = has_axis_sums ? 1 : 0;
        const int end_level = has_axis_sums ? kDims - 1 : kDims;
        std::memset(table, 0, copies * sizeof(table[0]));
        float* const tables[kCopies] = {table[0], table[1], table[copies - 2], table[copies - 1]};
        Floats hub[kChannels] = {};
        AxisSums<kDims, kChannels> near;
        AxisSums<kDims, kChannels> far;
        for (std::uint32_t at = group.first_record; at < end; at += kLanes) {
            const Corners<kDims> corners(tile, at);
            const std::uint32_t count = end - at < kLanes ? end - at : kLanes;
            const Ints valid = numbers < static_cast<std::int32_t>(count);
            Floats factor = Floats{} + 1.0F;
            if (values.factors.data != nullptr) factor = load_floats(values.factors.data + at);
            Floats value[kChannels];
            for (int c = 0; c < kChannels; ++c) {
                // Lanes past the end hold other groups' points, or none.
                const float* plane = values.data + c * kTilePoints;
                value[c] = reinterpret_cast<Floats>(
                    valid & reinterpret_cast<Ints>(factor * gather(plane, valid & corners.place)));
                hub[c] = multiply_add(corners.weight[0], value[c], hub[c]);
            }
            if (has_axis_sums) {
                near.add(corners.lanes, 0, corners.weight[1], value);
                far.add(corners.lanes, kDims - 1, corners.weight[kDims], value);
            }
            for (int level = first_level; level < end_level; ++level) {
                const Floats weight = corners.weight[level + 1];
                if constexpr (kChannels == 1) {
                    store(product[level], weight * value[0]);
                } else {
                    store_interleaved(product[level], weight * value[0], weight * value[1]);
                }
                store(lane[level], lane_of<kDims>(corners.lanes, level) * kChannels);
            }
            const auto add_levels = [&](float* sums_of_copy, std::uint32_t i, int first, int last) {
                for (int level = first; level < last; ++level) {
                    Few<kChannels>::add(sums_of_copy + lane[level][i],
                                        product[level] + i * kChannels);
                }
            };
            const auto add_all = [&](const auto& add) {
                std::uint32_t i = 0;
                for (; i + kCopies <= count; i += kCopies) {
                    for (std::uint32_t copy = 0; copy < kCopies; ++copy) {
                        add(tables[copy], i + copy);
                    }
                }
                for (std::uint32_t copy = 0; i < count; ++i, ++copy) add(tables[copy], i);
            };
            if (has_axis_sums) {
                add_all([&](float* copy, std::uint32_t i) { add_levels(copy, i, 1, kDims - 1); });
            } else {
                add_all([&](float* copy, std::uint32_t i) { add_levels(copy, i, 0, kDims); });
            }
        }
        if (has_axis_sums) {
            near.write(0, table[0]);
            far.write(kDims - 1, table[0]);
        }
        for (int i = 0; i < kTableFloats; i += kLanes) {
            Floats sum = load_floats(table[0] + i);
            for (std::uint32_t copy = 1; copy < copies; ++copy) {
                sum += load_floats(table[copy] + i);
            }
            store(table[0] + i, sum * kWeightUnit);
        }
        for (int c = 0; c < kChannels; ++c) {
            table[0][Layout::kHubLane * kChannels + c] = sum_lanes(hub[c]) * kWeightUnit;
        }
        flush<kDims, kChannels, kChannels>(tile, group, table[0], lattice, sums);
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
