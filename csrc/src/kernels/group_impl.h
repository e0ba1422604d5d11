// Groups of a tile's points that share a hub.
#pragma once

#include <cstdint>
#include <cstring>

#include "../tile_kernels.h"
#include "features_impl.h"
#include "simplex_impl.h"
#include "vectors_impl.h"

namespace weakseg {
namespace {

/// Open-addressing table from hubs to groups; it doubles, so that small tiles stay in cache.
template <class Key>
class HubTable {
  public:
    HubTable(TileScratch& scratch, TileScratch::Slot<Key>* slots)
        : scratch_(scratch), slots_(slots) {
        clear();
        scratch_.group_count = 0;
    }

    std::uint32_t find_or_add(Key key) {
        TileScratch::Slot<Key>* slot = slot_of(key);
        if (slot->key == key) return slot->group;
        if (kSparse * (scratch_.group_count + 1) > size_ && size_ < TileScratch::kSlots) {
            grow();
            slot = slot_of(key);
        }
        const std::uint32_t group = scratch_.group_count++;
        *slot = {key, group};
        scratch_.hub_key[group] = key;
        scratch_.next_record[group] = 0;
        return group;
    }

  private:
    static constexpr Key kFree = static_cast<Key>(~Key{0});
    // Mostly empty: a key that is not at its home costs a branch that nobody foresees.
    static constexpr std::uint32_t kSparse = 6;

    TileScratch::Slot<Key>* slot_of(Key key) {
        TileScratch::Slot<Key>* const slots = slots_;
        const std::uint32_t last = size_ - 1;
        auto at = static_cast<std::uint32_t>((key * 0x9E3779B97F4A7C15ULL) >> shift_);
        while (static_cast<int>(slots[at].key != key) & static_cast<int>(slots[at].key != kFree)) {
            at = (at + 1) & last;
        }
        return &slots[at];
    }

    void clear() {
        for (std::uint32_t i = 0; i < size_; ++i) slots_[i].key = kFree;
    }

    void grow() {
        size_ *= 2;
        --shift_;
        clear();
        for (std::uint32_t group = 0; group < scratch_.group_count; ++group) {
            const auto key = static_cast<Key>(scratch_.hub_key[group]);
            *slot_of(key) = {key, group};
        }
    }

    TileScratch& scratch_;
    TileScratch::Slot<Key>* slots_;
    std::uint32_t size_ = 512;
    int shift_ = 64 - 9;
};

/// Hub keys of a row of points, and which of them are the left neighbour's, too.
template <class Key>
class RowKeys {
  public:
    void set(std::uint32_t column, Ints low, Ints high) {
        Ints is_same = low == shifted(low_before_, low);
        store(low_ + column, low);
        low_before_ = low;
        if constexpr (kIsWide) {
            is_same &= high == shifted(high_before_, high);
            store(high_ + column, high);
            high_before_ = high;
        }
        same_ |= std::uint64_t{mask_of(is_same)} << column;
    }

    /// A bit for every point whose key is not its left neighbour's.
    std::uint64_t starts(std::uint32_t columns) const {
        return (~same_ | 1U) & ~std::uint64_t{0} >> (kTileSide - columns);
    }

    Key at(std::uint32_t column) const {
        Key key = low_[column];
        if constexpr (kIsWide) key |= Key{high_[column]} << 32U;
        return key;
    }

  private:
    static_assert(kTileSide == 64, "a row's points are the bits of a word");
    static constexpr bool kIsWide = sizeof(Key) > 4;

    alignas(64) std::uint32_t low_[kTileSide];
    alignas(64) std::uint32_t high_[kTileSide];
    Ints low_before_{};
    Ints high_before_{};
    std::uint64_t same_ = 0;
};

/// Number the hubs of the tile, and keep what `locate_points` found in the order of places; returns
/// how many runs of points there are.
template <int kDims, class Key>
inline std::uint32_t group_points(const TileGeometry& geometry, const TileSource& source,
                                  const TileRect& rect, TileScratch& scratch,
                                  TileScratch::Slot<Key>* slots) {
    constexpr bool kIsWide = sizeof(Key) > 4;
    alignas(64) float scaled[kDims][kTileSide] = {};
    std::uint32_t runs = 0;
    const Ints numbers = lane_numbers();
    HubTable<Key> hubs(scratch, slots);
    for (std::uint32_t row = 0; row < rect.rows; ++row) {
        const std::uint32_t columns = row + 1 == rect.rows ? rect.last_columns : rect.columns;
        scale_row<kDims>(geometry, source, rect, row, columns, scaled);
        const std::uint32_t first = row * kTileSide;
        RowKeys<Key> keys;
        for (std::uint32_t column = 0; column < columns; column += kLanes) {
            Floats features[kDims];
            for (int i = 0; i < kDims; ++i) features[i] = load_floats(scaled[i] + column);
            const Located<kDims> found = locate_points<kDims, kIsWide>(geometry, features);
            keys.set(column, found.hub_low, found.hub_high);
            Ints words[kRecordWords] = {};
            for (int corner = 0; corner < kDims; ++corner) {
                words[corner / 2] |= found.weight[corner] << (corner % 2 == 0 ? 0 : 16);
            }
            const auto at = static_cast<std::int32_t>(first + column);
            words[kPlaceWord] |= (numbers + at) << 16;
            words[kLanesWord] = found.corners;
            store_records(scratch.records + (first + column) * kRecordWords, words);
        }
        for (std::uint64_t left = keys.starts(columns); left != 0;) {
            const auto column = static_cast<std::uint32_t>(__builtin_ctzll(left));
            left &= left - 1;
            const std::uint32_t end =
                left == 0 ? columns : static_cast<std::uint32_t>(__builtin_ctzll(left));
            const std::uint32_t group = hubs.find_or_add(keys.at(column));
            scratch.runs[runs++] = {static_cast<std::uint16_t>(first + column),
                                    static_cast<std::uint16_t>(group),
                                    static_cast<std::uint16_t>(end - column)};
            scratch.next_record[group] += end - column;
        }
    }
    return runs;
}

/// Move what was found to `records`, sorted by group.
inline void sort_by_group(std::uint32_t runs, TileScratch& scratch, std::uint32_t* records) {
    std::uint32_t next = 0;
    for (std::uint32_t group = 0; group < scratch.group_count; ++group) {
        const std::uint32_t count = scratch.next_record[group];
        scratch.groups[group].first_record = next;
        scratch.next_record[group] = next;
        next += count;
    }
    scratch.groups[scratch.group_count].first_record = next;
    for (std::uint32_t i = 0; i < runs; ++i) {
        const GroupRun& run = scratch.runs[i];
        std::uint32_t& record = scratch.next_record[run.group];
        copy_records(scratch.records + run.place * kRecordWords, run.points,
                     records + record * kRecordWords);
        record += run.points;
    }
    std::memset(records + next * kRecordWords, 0,
                kRecordPadding * kRecordWords * sizeof(std::uint32_t));
}

/// Find which lanes of its table every group uses, and their vertices' keys.
template <int kDims, class Key>
inline void list_vertices(const TileGeometry& geometry, const std::uint32_t* records,
                          TileScratch& scratch, Key* keys) {
    using Layout = TableLayout<kDims>;
    const Ints numbers = lane_numbers();
    const Ints one = Ints{} + 1;
    std::uint32_t vertices = 0;
    for (std::uint32_t group = 0; group < scratch.group_count; ++group) {
        HubGroup& entry = scratch.groups[group];
        const std::uint32_t end = scratch.groups[group + 1].first_record;
        Ints bits[kDims] = {};
        for (std::uint32_t at = entry.first_record; at < end; at += kLanes) {
            const Ints lanes = load_word(records + at * kRecordWords, kLanesWord);
            const Ints valid = numbers < static_cast<std::int32_t>(end - at);
            for (int level = 0; level < kDims; ++level) {
                const int mask = 2 * (level + 1) == kDims + 1 ? 31 : 15;
                bits[level] |= valid & shift_left(one, (lanes >> Layout::kShift[level]) & mask);
            }
        }
        for (std::uint16_t& used : entry.used) used = 0;
        for (int level = 0; level < kDims; ++level) {
            const std::uint32_t used = or_lanes(bits[level]);
            const int block = Layout::kFirstLane[level] / kLanesPerBlock;
            entry.used[block] |= static_cast<std::uint16_t>(used);
            if (2 * (level + 1) == kDims + 1) {
                entry.used[block + 1] = static_cast<std::uint16_t>(used >> 16U);
            }
        }
        entry.used[Layout::kHubLane / kLanesPerBlock] |=
            static_cast<std::uint16_t>(1U << (Layout::kHubLane % kLanesPerBlock));
        entry.first_vertex = vertices;
        const std::uint64_t hub = scratch.hub_key[group];
        for (int block = 0; block < Layout::kBlocks; ++block) {
            const std::uint64_t* step = geometry.lane_step + block * kLanesPerBlock;
            for (unsigned left = entry.used[block]; left != 0; left &= left - 1) {
                keys[vertices++] = static_cast<Key>(hub + step[__builtin_ctz(left)]);
            }
        }
    }
    scratch.groups[scratch.group_count].first_vertex = vertices;
    scratch.vertex_count = vertices;
}

template <int kDims>
inline void locate_tile(const TileGeometry& geometry, const TileSource& source,
                        const TileRect& rect, TileScratch& scratch, std::uint32_t* records) {
    std::uint32_t* const own = records + rect.first_record * kRecordWords;
    if (geometry.is_wide) {
        const auto runs = group_points<kDims>(geometry, source, rect, scratch, scratch.wide_slots);
        sort_by_group(runs, scratch, own);
        list_vertices<kDims>(geometry, own, scratch, scratch.wide_keys);
    } else {
        const auto runs = group_points<kDims>(geometry, source, rect, scratch, scratch.slots);
        sort_by_group(runs, scratch, own);
        list_vertices<kDims>(geometry, own, scratch, scratch.keys);
    }
}

void locate(const TileGeometry& geometry, const TileSource& source, const TileRect& rect,
            TileScratch& scratch, std::uint32_t* records) {
    if (geometry.dims == 2) {
        locate_tile<2>(geometry, source, rect, scratch, records);
    } else {
        locate_tile<5>(geometry, source, rect, scratch, records);
    }
}

}  // namespace
}  // namespace weakseg
