// The kernels, written once over `Floats` and `Ints` of `kLanes` lanes.
//
// Every file that includes this is compiled for other instructions. So all of it is private to
// that file, and no standard container is used: the linker must never mix their code.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>

#include "../tile_kernels.h"

namespace weakseg {
namespace {

inline Floats load_floats(const float* from) {
    Floats values;
    std::memcpy(&values, from, sizeof(values));
    return values;
}

inline void store(float* to, Floats values) { std::memcpy(to, &values, sizeof(values)); }

inline Ints load_ints(const std::uint32_t* from) {
    Ints values;
    std::memcpy(&values, from, sizeof(values));
    return values;
}

inline void store(std::uint32_t* to, Ints values) { std::memcpy(to, &values, sizeof(values)); }

inline Ints load_table_ints(const std::int32_t* from, Ints index) {
    // Lookups move bits, whatever they mean.
    float bits[kLanesPerBlock];
    std::memcpy(bits, from, sizeof(bits));
    return reinterpret_cast<Ints>(lookup(load_table(bits), index));
}

/// Word `word` of kLanes records.
inline Ints load_word(const std::uint32_t* records, int word) {
    Ints words[kRecordWords];
    load_records(records, words);
    return words[word];
}

inline Floats to_floats(Ints values) { return __builtin_convertvector(values, Floats); }

/// Vectors of any width.
template <int kWidth>
struct Vectors {
    typedef float Part __attribute__((vector_size(kWidth * sizeof(float))));
    typedef std::int32_t PartInts __attribute__((vector_size(kWidth * sizeof(float))));
};

/// Lanes of the vectors that come in half a cache line, which few of them straddle.
constexpr int kWindowLanes = kLanes < 8 ? kLanes : 8;

inline Ints lane_numbers() {
    Ints numbers;
    for (int lane = 0; lane < kLanes; ++lane) numbers[lane] = lane;
    return numbers;
}

// ---- locate

/// Barycentric weights are differences of remainders in this unit, and end as 16-bit numbers.
constexpr int kWeightShift = 14;
constexpr float kRemainderUnit = 65535.0F * (1 << kWeightShift);
constexpr std::int32_t kWholeUnit = 65535 << kWeightShift;
constexpr std::int32_t kCodeBits = 31;

template <int kDims>
struct Located {
    Ints hub_low;
    Ints hub_high;
    Ints weight[kDims];
    Ints corners;
};

inline void sort_two(Ints& larger, Ints& smaller) {
    const Ints high = maximum(larger, smaller);
    smaller = minimum(larger, smaller);
    larger = high;
}

/// Largest first.
inline void sort(Ints (&v)[3]) {
    sort_two(v[0], v[2]);
    sort_two(v[0], v[1]);
    sort_two(v[1], v[2]);
}

/// Largest first, in the twelve comparisons that are the fewest for six.
inline void sort(Ints (&v)[6]) {
    sort_two(v[0], v[5]);
    sort_two(v[1], v[3]);
    sort_two(v[2], v[4]);
    sort_two(v[1], v[2]);
    sort_two(v[3], v[4]);
    sort_two(v[0], v[3]);
    sort_two(v[2], v[5]);
    sort_two(v[0], v[1]);
    sort_two(v[2], v[3]);
    sort_two(v[4], v[5]);
    sort_two(v[1], v[2]);
    sort_two(v[3], v[4]);
}

/// Where `choose`, turn the sorted remainders by `kSteps`: the smallest come first, a whole up.
template <int kSteps, int kSide>
inline void turn_where(Ints choose, Ints (&sorted)[kSide]) {
    Ints turned[kSide];
    for (int i = 0; i < kSide; ++i) {
        const int from = i - kSteps;
        turned[i] = from < 0 ? sorted[from + kSide] + kWholeUnit : sorted[from];
    }
    for (int i = 0; i < kSide; ++i) sorted[i] = choose ? turned[i] : sorted[i];
}

/// Find the simplex of every lane's point, given by its features in lattice units.
template <int kDims, bool kIsWide>
inline Located<kDims> locate_points(const TileGeometry& geometry, const Floats (&scaled)[kDims]) {
    constexpr int kSide = kDims + 1;
    // Rounding moves a coordinate by at most half a cell, so they sum to at most kSide / 2 cells.
    constexpr int kMaxExcess = (kSide - 1) / 2;
    constexpr float kSideInverse = 1.0F / kSide;

    // Lift onto the plane where coordinates sum to zero.
    Floats elevated[kSide];
    Floats sum{};
    for (int i = kDims; i > 0; --i) {
        elevated[i] = sum - static_cast<float>(i) * scaled[i - 1];
        sum = sum + scaled[i - 1];
    }
    elevated[0] = sum;

    // Round to the nearest vertex of remainder 0; the order of the rest names the simplex.
    Ints sorted[kSide];
    Ints excess{};
    Located<kDims> found;
    found.hub_low = Ints{} + geometry.first_low;
    found.hub_high = Ints{} + geometry.first_high;
    for (int i = 0; i < kSide; ++i) {
        const Ints nearest = round_to_ints(elevated[i] * kSideInverse);
        const Floats remainder =
            (elevated[i] - to_floats(nearest) * static_cast<float>(kSide)) * kSideInverse;
        const Ints fixed = __builtin_convertvector(remainder * kRemainderUnit, Ints);
        sorted[i] = (fixed & ~kCodeBits) | geometry.code[i];
        excess += nearest;
        if (i < kDims) {
            found.hub_low += nearest * geometry.low[i];
            if (kIsWide) found.hub_high += nearest * geometry.high[i];
        }
    }
    sort(sorted);

    // The rounded point may lie off the plane: move the coordinates that this costs least.
    excess = minimum(maximum(excess, Ints{} - kMaxExcess), Ints{} + kMaxExcess);
    for (int i = 0; i < kMaxExcess; ++i) {
        const Ints is_down = excess > i;
        const Ints is_up = excess < -i;
        const Ints down = sorted[kSide - 1 - i];
        const Ints up = sorted[i];
        found.hub_low -= is_down & load_table_ints(geometry.low_by_code, down);
        found.hub_low += is_up & load_table_ints(geometry.low_by_code, up);
        if (kIsWide) {
            found.hub_high -= is_down & load_table_ints(geometry.high_by_code, down);
            found.hub_high += is_up & load_table_ints(geometry.high_by_code, up);
        }
    }
    // Turn by `excess`: back by kMaxExcess for every lane, then forth by what is wanted.
    Ints turned[kSide];
    for (int i = 0; i < kSide; ++i) {
        const int from = i + kMaxExcess;
        turned[i] = from < kSide ? sorted[from] : sorted[from - kSide] - kWholeUnit;
    }
    const Ints forth = excess + kMaxExcess;
    turn_where<1>((forth & 1) != 0, turned);
    turn_where<2>((forth & 2) != 0, turned);
    if (kMaxExcess >= 2) turn_where<(kSide > 4 ? 4 : 0)>((forth & 4) != 0, turned);

    for (int corner = 1; corner <= kDims; ++corner) {
        const Ints exact = turned[kSide - 1 - corner] - turned[kSide - corner];
        const Ints rounded = (exact + (1 << (kWeightShift - 1))) >> kWeightShift;
        found.weight[corner - 1] = minimum(maximum(rounded, Ints{}), Ints{} + 65535);
    }
    using Layout = TableLayout<kDims>;
    found.corners = Ints{};
    Ints lane{};
    for (int corner = 1; corner <= kDims; ++corner) {
        if (2 * corner <= kSide) {  // the axes in the set
            lane ^= turned[kSide - corner];
        } else {  // those not in it
            lane = turned[0];
            for (int i = 1; i < kSide - corner; ++i) lane ^= turned[i];
        }
        const int bits = 2 * corner == kSide ? 31 : 15;
        found.corners |= (lane & bits) << Layout::kShift[corner - 1];
    }
    return found;
}

/// Separate a row's colours: (3, kTileSide).
template <class Level>
inline void read_levels(const Level* levels, std::size_t plane, std::size_t first,
                        std::uint32_t columns, float (*colours)[kTileSide]) {
    if (plane == 0) {
        const Level* from = levels + 3 * first;
        for (std::uint32_t column = 0; column < columns; ++column) {
            for (int colour = 0; colour < 3; ++colour) {
                colours[colour][column] =
                    static_cast<float>(from[3 * column + static_cast<unsigned>(colour)]);
            }
        }
        return;
    }
    for (std::size_t colour = 0; colour < 3; ++colour) {
        const Level* from = levels + colour * plane + first;
        for (std::uint32_t column = 0; column < columns; ++column) {
            colours[colour][column] = static_cast<float>(from[column]);
        }
    }
}

/// Bring colours to lattice units, in a basis whose last axis is grey: photos mostly vary along
/// it, and the lattice has neighbours in line along its last axis.
inline void scale_levels(const TileGeometry& geometry, const TileSource& source,
                         float (*colours)[kTileSide], std::uint32_t column) {
    const Floats red = load_floats(colours[0] + column);
    const Floats green = load_floats(colours[1] + column);
    const Floats blue = load_floats(colours[2] + column);
    if (source.sigma_level > 0.0F) {
        store(colours[0] + column, red / source.sigma_level * geometry.scale[2]);
        store(colours[1] + column, green / source.sigma_level * geometry.scale[3]);
        store(colours[2] + column, blue / source.sigma_level * geometry.scale[4]);
        return;
    }
    // Differences before factors: grey is exactly 0 then, for every shade.
    store(colours[0] + column, (red - blue) * source.opponent_scale[0]);
    store(colours[1] + column, ((red + blue) - 2.0F * green) * source.opponent_scale[1]);
    store(colours[2] + column, ((red + green) + blue) * source.opponent_scale[2]);
}

/// Write the features of a row of the tile in lattice units, (kDims, kTileSide).
template <int kDims>
inline void scale_row(const TileGeometry& geometry, const TileSource& source, const TileRect& rect,
                      std::uint32_t row, std::uint32_t columns, float (*scaled)[kTileSide]) {
    if (source.features != nullptr) {
        const float* features = source.features + (rect.top + row) * kTileSide * kDims;
        for (std::uint32_t column = 0; column < columns; ++column) {
            for (int i = 0; i < kDims; ++i) {
                scaled[i][column] = features[column * kDims + i] * geometry.scale[i];
            }
        }
        return;
    }
    if constexpr (kDims == 5) {
        const std::size_t y = rect.top + row;
        const std::size_t first = y * source.width + rect.left;
        std::memcpy(scaled[0], source.scaled_x + rect.left, columns * sizeof(float));
        for (std::uint32_t column = 0; column < columns; ++column) {
            scaled[1][column] = source.scaled_y[y];
        }
        if (source.bytes != nullptr) {
            read_levels(source.bytes, source.plane, first, columns, scaled + 2);
        } else {
            read_levels(source.floats, source.plane, first, columns, scaled + 2);
        }
        for (std::uint32_t column = 0; column < kTileSide; column += kLanes) {
            scale_levels(geometry, source, scaled + 2, column);
        }
    }
}

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
        for (std::uint32_t& next : scratch_.next_record[group]) next = 0;
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

/// Number the hubs of the tile, and keep what `locate_points` found in the order of places.
template <int kDims, class Key>
inline void group_points(const TileGeometry& geometry, const TileSource& source,
                         const TileRect& rect, TileScratch& scratch,
                         TileScratch::Slot<Key>* slots) {
    constexpr bool kIsWide = sizeof(Key) > 4;
    alignas(64) float scaled[kDims][kTileSide] = {};
    alignas(64) std::uint32_t low[kTileSide];
    alignas(64) std::uint32_t high[kTileSide];
    const Ints numbers = lane_numbers();
    HubTable<Key> hubs(scratch, slots);
    for (std::uint32_t row = 0; row < rect.rows; ++row) {
        const std::uint32_t columns = row + 1 == rect.rows ? rect.last_columns : rect.columns;
        scale_row<kDims>(geometry, source, rect, row, columns, scaled);
        const std::uint32_t first = row * kTileSide;
        for (std::uint32_t column = 0; column < columns; column += kLanes) {
            Floats features[kDims];
            for (int i = 0; i < kDims; ++i) features[i] = load_floats(scaled[i] + column);
            const Located<kDims> found = locate_points<kDims, kIsWide>(geometry, features);
            store(low + column, found.hub_low);
            if (kIsWide) store(high + column, found.hub_high);
            Ints words[kRecordWords] = {};
            for (int corner = 0; corner < kDims; ++corner) {
                words[corner / 2] |= found.weight[corner] << (corner % 2 == 0 ? 0 : 16);
            }
            const auto at = static_cast<std::int32_t>(first + column);
            words[kPlaceWord] |= (numbers + at) << 16;
            words[kLanesWord] = found.corners;
            store_records(scratch.records + (first + column) * kRecordWords, words);
        }
        for (std::uint32_t column = 0; column < columns; ++column) {
            Key key = low[column];
            if constexpr (kIsWide) key |= Key{high[column]} << 32U;
            const std::uint32_t group = hubs.find_or_add(key);
            scratch.group_of[first + column] = static_cast<std::uint16_t>(group);
            ++scratch.next_record[group][column % kChains];
        }
    }
}

/// Move what was found to `records`, sorted by group.
inline void sort_by_group(const TileRect& rect, TileScratch& scratch, std::uint32_t* records) {
    std::uint32_t next = 0;
    for (std::uint32_t group = 0; group < scratch.group_count; ++group) {
        scratch.groups[group].first_record = next;
        for (std::uint32_t& first : scratch.next_record[group]) {
            const std::uint32_t count = first;
            first = next;
            next += count;
        }
    }
    scratch.groups[scratch.group_count].first_record = next;
    for (std::uint32_t row = 0; row < rect.rows; ++row) {
        const std::uint32_t columns = row + 1 == rect.rows ? rect.last_columns : rect.columns;
        for (std::uint32_t at = row * kTileSide; at < row * kTileSide + columns; ++at) {
            const std::uint32_t record = scratch.next_record[scratch.group_of[at]][at % kChains]++;
            std::memcpy(records + record * kRecordWords, scratch.records + at * kRecordWords,
                        kRecordWords * sizeof(std::uint32_t));
        }
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
        group_points<kDims>(geometry, source, rect, scratch, scratch.wide_slots);
        sort_by_group(rect, scratch, own);
        list_vertices<kDims>(geometry, own, scratch, scratch.wide_keys);
    } else {
        group_points<kDims>(geometry, source, rect, scratch, scratch.slots);
        sort_by_group(rect, scratch, own);
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

// ---- splat and slice

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

/// Weights, table rows and values of a vector of records, point by point.
template <int kDims>
struct Staged {
    alignas(64) float weight[kDims + 1][kLanes];
    alignas(64) std::uint32_t lane[kDims][kLanes];
    alignas(64) std::uint32_t value[kLanes];

    Staged(const TileView& tile, std::uint32_t at, int channels, std::size_t row_step,
           const PointFactors& factors) {
        const Corners<kDims> corners(tile, at);
        const Ints row = corners.place >> kTileShift;
        const Ints column = corners.place & (static_cast<std::int32_t>(kTileSide) - 1);
        Floats unit = Floats{} + kWeightUnit;
        if (factors.data != nullptr) {
            const Ints place = row * static_cast<std::int32_t>(factors.row_step) + column;
            unit *= gather(factors.data, place);
        }
        for (int level = 0; level <= kDims; ++level) {
            store(weight[level], corners.weight[level] * unit);
        }
        for (int level = 0; level < kDims; ++level) {
            store(lane[level], lane_of<kDims>(corners.lanes, level) * channels);
        }
        store(value, row * static_cast<std::int32_t>(row_step) + column * channels);
    }
};

/// Channels in as few registers as may be.
template <int kChannels>
struct RowParts {
    static constexpr int kWidest = kChannels % 16 == 0 ? 16 : (kChannels % 8 == 0 ? 8 : 4);
    static constexpr int kWidth = kWidest < kLanes ? kWidest : kLanes;
    static constexpr int kParts = kChannels / kWidth;
    typedef float Part __attribute__((vector_size(kWidth * sizeof(float))));

    static Part load(const float* from, int part) {
        Part values;
        std::memcpy(&values, from + part * kWidth, sizeof(values));
        return values;
    }
    static void store(float* to, int part, Part values) {
        std::memcpy(to + part * kWidth, &values, sizeof(values));
    }
};

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

/// Fill the used rows of a group's table with scale * (lattice + other), channel by channel.
template <int kDims, int kChannels, bool kPlanes>
inline void fill_table(const TileView& tile, const HubGroup& group, const float* lattice,
                       const float* other, float scale, float* table) {
    constexpr int kLanesInAll = TableLayout<kDims>::kBlocks * kLanesPerBlock;
    std::uint32_t vertex = group.first_vertex;
    for (int block = 0; block < TableLayout<kDims>::kBlocks; ++block) {
        for (unsigned left = group.used[block]; left != 0; left &= left - 1) {
            const int lane = block * kLanesPerBlock + __builtin_ctz(left);
            const std::size_t from = static_cast<std::size_t>(tile.vertices[vertex++]) * kChannels;
            for (int c = 0; c < kChannels; ++c) {
                const float sum = lattice[from + c] + (other == nullptr ? 0.0F : other[from + c]);
                table[kPlanes ? c * kLanesInAll + lane : lane * kChannels + c] = scale * sum;
            }
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
void slice_few(const TileView& tile, const float* lattice, const float* other, float scale,
               const TileValues& values) {
    using Layout = TableLayout<kDims>;
    constexpr int kLanesInAll = Layout::kBlocks * kLanesPerBlock;
    alignas(64) float table[kChannels * kLanesInAll] = {};
    alignas(64) float sliced[kChannels][kLanes];
    alignas(64) std::uint32_t place[kLanes];
    for (std::uint32_t g = 0; g < tile.group_count; ++g) {
        const HubGroup& group = tile.groups[g];
        const std::uint32_t end = tile.groups[g + 1].first_record;
        fill_table<kDims, kChannels, true>(tile, group, lattice, other, scale * kWeightUnit, table);
        for (std::uint32_t at = group.first_record; at < end; at += kLanes) {
            const Corners<kDims> corners(tile, at);
            for (int c = 0; c < kChannels; ++c) {
                const float* entries = table + c * kLanesInAll;
                Floats sum = corners.weight[0] * entries[Layout::kHubLane];
                for (int level = 0; level < kDims; ++level) {
                    sum = multiply_add(corners.weight[level + 1],
                                       look_up_level<kDims>(entries, corners.lanes, level), sum);
                }
                store(sliced[c], sum);
            }
            store(place, corners.place);
            const std::uint32_t count = end - at < kLanes ? end - at : kLanes;
            for (std::uint32_t i = 0; i < count; ++i) {
                for (int c = 0; c < kChannels; ++c) {
                    values.data[static_cast<std::uint32_t>(c) * kTilePoints + place[i]] =
                        sliced[c][i];
                }
            }
        }
    }
}

/// Slice of rows of channels.
template <int kDims, int kChannels>
void slice_rows(const TileView& tile, const float* lattice, const float* other, float scale,
                const TileValues& values) {
    using Layout = TableLayout<kDims>;
    using Parts = RowParts<kChannels>;
    alignas(64) float table[Layout::kBlocks * kLanesPerBlock * kChannels];
    const float* const hub = table + Layout::kHubLane * kChannels;
    for (std::uint32_t g = 0; g < tile.group_count; ++g) {
        const HubGroup& group = tile.groups[g];
        const std::uint32_t end = tile.groups[g + 1].first_record;
        fill_table<kDims, kChannels, false>(tile, group, lattice, other, scale, table);
        for (std::uint32_t at = group.first_record; at < end; at += kLanes) {
            const Staged<kDims> staged(tile, at, kChannels, values.row_step, values.factors);
            const std::uint32_t count = end - at < kLanes ? end - at : kLanes;
            for (std::uint32_t i = 0; i < count; ++i) {
                float* const to = values.data + staged.value[i];
                for (int part = 0; part < Parts::kParts; ++part) {
                    auto sum = staged.weight[0][i] * Parts::load(hub, part);
                    for (int level = 0; level < kDims; ++level) {
                        sum += staged.weight[level + 1][i] *
                               Parts::load(table + staged.lane[level][i], part);
                    }
                    Parts::store(to, part, sum);
                }
            }
        }
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

template <int kDims>
void slice_any(int channels, const TileView& tile, const float* lattice, const float* other,
               float scale, const TileValues& values) {
    switch (channels) {
        case 1:
            return slice_few<kDims, 1>(tile, lattice, other, scale, values);
        case 2:
            return slice_few<kDims, 2>(tile, lattice, other, scale, values);
        case 4:
            return slice_rows<kDims, 4>(tile, lattice, other, scale, values);
        case 8:
            return slice_rows<kDims, 8>(tile, lattice, other, scale, values);
        case 16:
            return slice_rows<kDims, 16>(tile, lattice, other, scale, values);
        default:
            return slice_rows<kDims, 24>(tile, lattice, other, scale, values);
    }
}

void slice(int dims, int channels, const TileView& tile, const float* lattice, const float* other,
           float scale, const TileValues& values) {
    if (dims == 2) return slice_any<2>(channels, tile, lattice, other, scale, values);
    return slice_any<5>(channels, tile, lattice, other, scale, values);
}

// ---- blur

template <int kChannels>
void blur_rows(const BlurAxis& axis, std::size_t begin, std::size_t end, const float* source,
               float* target) {
    for (std::size_t row = begin; row < end; ++row) {
        const std::int32_t pair[2] = {axis.pairs[2 * row], axis.pairs[2 * row + 1]};
        const float centre_factor = axis.centre_factor[(pair[0] == 0) + (pair[1] == 0)];
        const float* below = source + static_cast<std::size_t>(pair[0]) * kChannels;
        const float* above = source + static_cast<std::size_t>(pair[1]) * kChannels;
        const float* centre = source + row * kChannels;
        float* to = target + row * kChannels;
        if constexpr (kChannels < 4) {
            for (int c = 0; c < kChannels; ++c) {
                to[c] = centre_factor * centre[c] + axis.weight * (below[c] + above[c]);
            }
        } else {
            using Parts = RowParts<kChannels>;
            for (int part = 0; part < Parts::kParts; ++part) {
                const auto sides = Parts::load(below, part) + Parts::load(above, part);
                Parts::store(to, part,
                             centre_factor * Parts::load(centre, part) + axis.weight * sides);
            }
        }
    }
}

void blur(int channels, const BlurAxis& axis, std::size_t begin, std::size_t end,
          const float* source, float* target) {
    switch (channels) {
        case 1:
            return blur_rows<1>(axis, begin, end, source, target);
        case 2:
            return blur_rows<2>(axis, begin, end, source, target);
        case 4:
            return blur_rows<4>(axis, begin, end, source, target);
        case 8:
            return blur_rows<8>(axis, begin, end, source, target);
        case 16:
            return blur_rows<16>(axis, begin, end, source, target);
        default:
            return blur_rows<24>(axis, begin, end, source, target);
    }
}

// ---- convolution

/// kVectors vectors of sums over taps; the two values of a tap lie k times `step` floats off.
template <int kVectors>
inline void convolve_at(const float* centre, const float* taps, int radius, std::ptrdiff_t step,
                        float* out) {
    Floats sum[kVectors];
    for (int v = 0; v < kVectors; ++v) sum[v] = load_floats(centre + v * kLanes) * taps[0];
    const float* below = centre;
    const float* above = centre;
    for (int k = 1; k <= radius; ++k) {
        below -= step;
        above += step;
        const Floats tap = Floats{} + taps[k];
        for (int v = 0; v < kVectors; ++v) {
            const Floats both = load_floats(below + v * kLanes) + load_floats(above + v * kLanes);
            sum[v] = multiply_add(both, tap, sum[v]);
        }
    }
    for (int v = 0; v < kVectors; ++v) store(out + v * kLanes, sum[v]);
}

void convolve_row(const float* centre, const float* taps, int radius, std::ptrdiff_t step,
                  std::size_t count, float* out) {
    std::size_t i = 0;
    for (; i + 4 * kLanes <= count; i += 4 * kLanes) {
        convolve_at<4>(centre + i, taps, radius, step, out + i);
    }
    for (; i + kLanes <= count; i += kLanes) {
        convolve_at<1>(centre + i, taps, radius, step, out + i);
    }
    for (; i < count; ++i) {
        float sum = centre[i] * taps[0];
        for (int k = 1; k <= radius; ++k) {
            sum += (centre[static_cast<std::ptrdiff_t>(i) - k * step] +
                    centre[static_cast<std::ptrdiff_t>(i) + k * step]) *
                   taps[k];
        }
        out[i] = sum;
    }
}

/// Sums of eight rows at once, of one vector each: a row that is loaded counts for all of them.
constexpr int kWindowRows = 8;

template <int kWidth, int kRadius>
inline void convolve_window(const float* centre, const typename Vectors<kWidth>::Part* taps,
                            std::ptrdiff_t step, float* out, std::ptrdiff_t out_step) {
    using Part = typename Vectors<kWidth>::Part;
    Part sum[kWindowRows] = {};
#pragma GCC unroll 64
    for (int i = -kRadius; i < kWindowRows + kRadius; ++i) {
        Part row;
        std::memcpy(&row, centre + i * step, sizeof(row));
#pragma GCC unroll 8
        for (int y = 0; y < kWindowRows; ++y) {
            const int distance = i < y ? y - i : i - y;
            if (distance <= kRadius) sum[y] = multiply_add(row, taps[distance], sum[y]);
        }
    }
#pragma GCC unroll 8
    for (int y = 0; y < kWindowRows; ++y) {
        std::memcpy(out + y * out_step, &sum[y], sizeof(Part));
    }
}

/// Convolve as many whole windows as there are: returns the rows done, of `done` floats each.
template <int kWidth, int kRadius>
std::size_t convolve_windows(const float* centre, const float* taps, std::ptrdiff_t step,
                             std::size_t rows, std::size_t count, float* out,
                             std::ptrdiff_t out_step, std::size_t* done) {
    using Part = typename Vectors<kWidth>::Part;
    Part tap[kRadius + 1];
    for (int k = 0; k <= kRadius; ++k) tap[k] = Part{} + taps[k];
    *done = count / kWidth * kWidth;
    std::size_t row = 0;
    for (; row + kWindowRows <= rows; row += kWindowRows) {
        const auto y = static_cast<std::ptrdiff_t>(row);
        for (std::size_t i = 0; i < *done; i += kWidth) {
            convolve_window<kWidth, kRadius>(centre + y * step + i, tap, step,
                                             out + y * out_step + i, out_step);
        }
    }
    return row;
}

void convolve(const float* centre, const float* taps, int radius, std::ptrdiff_t step,
              std::size_t rows, std::size_t count, float* out, std::ptrdiff_t out_step) {
    constexpr int kRadius = kFastRadius;
    std::size_t rows_done = 0;
    std::size_t done = 0;
    if (radius == kRadius && count % kWindowLanes == 0) {
        rows_done = convolve_windows<kWindowLanes, kRadius>(centre, taps, step, rows, count, out,
                                                            out_step, &done);
    } else if (radius == kRadius) {
        rows_done =
            convolve_windows<4, kRadius>(centre, taps, step, rows, count, out, out_step, &done);
    }
    for (std::size_t row = 0; row < rows; ++row) {
        const auto y = static_cast<std::ptrdiff_t>(row);
        const std::size_t first = row < rows_done ? done : 0;
        if (first == count) continue;
        convolve_row(centre + y * step + first, taps, radius, step, count - first,
                     out + y * out_step + first);
    }
}

// ---- mean field

void add_scaled(std::size_t points, std::size_t channels, const float* from, float weight,
                const float* factors, bool is_first, float* sums) {
    const auto add = [&](std::size_t at, auto factor) {
        auto value = factor;
        std::memcpy(&value, from + at, sizeof(value));
        value *= factor;
        if (!is_first) {
            std::memcpy(&factor, sums + at, sizeof(factor));
            value += factor;
        }
        std::memcpy(sums + at, &value, sizeof(value));
    };
    const auto add_rows = [&](auto zero) {
        constexpr std::size_t kWidth = sizeof(zero) / sizeof(float);
        for (std::size_t x = 0; x < points; ++x) {
            const auto factor = zero + weight * factors[x];
            for (std::size_t c = 0; c < channels; c += kWidth) add(x * channels + c, factor);
        }
    };
    const std::size_t count = points * channels;
    std::size_t at = 0;
    if (factors == nullptr) {
        for (; at + kLanes <= count; at += kLanes) add(at, Floats{} + weight);
    } else if (channels == 1) {
        for (; at + kLanes <= count; at += kLanes) add(at, weight * load_floats(factors + at));
    } else if (channels % kWindowLanes == 0) {
        return add_rows(typename Vectors<kWindowLanes>::Part{});
    } else if (channels % 4 == 0) {
        return add_rows(typename Vectors<4>::Part{});
    } else {
        for (; at < count; ++at) add(at, weight * factors[at / channels]);
    }
    for (; at < count; ++at) add(at, factors == nullptr ? weight : weight * factors[at]);
}

/// exp(x) to some 2e-7 of its size; 0 below -87. For vectors of any width.
template <class Vector, class Integers>
inline Vector exponential(Vector x) {
    const Vector low = Vector{} - 87.0F;
    const Integers vanishes = x < low;
    const Vector bounded = vanishes ? low : (x > 88.0F ? Vector{} + 88.0F : x);
    // exp(x) = 2^n exp(r), |r| <= ln(2) / 2, with ln(2) in two parts so that r is exact. Floats of
    // this size have no room for a fraction.
    const Vector magic = Vector{} + 12582912.0F;
    const Vector whole = (bounded * 1.44269504F + magic) - magic;
    const Vector coarse = multiply_add(whole, Vector{} - 0.693359375F, bounded);
    const Vector r = multiply_add(whole, Vector{} + 2.12194440e-4F, coarse);
    Vector sum = Vector{} + 1.0F / 720.0F;
    sum = multiply_add(sum, r, Vector{} + 1.0F / 120.0F);
    sum = multiply_add(sum, r, Vector{} + 1.0F / 24.0F);
    sum = multiply_add(sum, r, Vector{} + 1.0F / 6.0F);
    sum = multiply_add(sum, r, Vector{} + 0.5F);
    sum = multiply_add(sum, r, Vector{} + 1.0F);
    sum = multiply_add(sum, r, Vector{} + 1.0F);
    const Integers power = (__builtin_convertvector(whole, Integers) + 127) << 23;
    return vanishes ? Vector{} : sum * reinterpret_cast<Vector>(power);
}

/// Load kLanes floats, or the `count` that are left.
inline Floats load_some(const float* from, std::size_t count) {
    if (count >= static_cast<std::size_t>(kLanes)) return load_floats(from);
    float lanes[kLanes] = {};
    std::memcpy(lanes, from, count * sizeof(float));
    return load_floats(lanes);
}

inline void store_some(float* to, Floats values, std::size_t count) {
    std::memcpy(to, &values,
                (count < static_cast<std::size_t>(kLanes) ? count : kLanes) * sizeof(float));
}

template <class Function>
inline void map_sums(std::size_t begin, std::size_t end, const float* constant,
                     const float* const* spread, const float* weights, std::size_t terms,
                     float* out, const Function& function) {
    for (std::size_t i = begin; i < end; i += kLanes) {
        Floats x = load_some(constant + i, end - i);
        for (std::size_t m = 0; m < terms; ++m) {
            x = multiply_add(load_some(spread[m] + i, end - i), Floats{} + weights[m], x);
        }
        // Of a negative number: at most 1.
        const Floats power = exponential<Floats, Ints>(x > 0.0F ? -x : x);
        store_some(out + i, function(x > 0.0F, power), end - i);
    }
}

void logistic(std::size_t begin, std::size_t end, const float* constant, const float* const* spread,
              const float* weights, std::size_t terms, float* out) {
    map_sums(begin, end, constant, spread, weights, terms, out, [](Ints is_up, Floats power) {
        const Floats larger = 1.0F / (1.0F + power);
        return is_up ? larger : power * larger;
    });
}

void tanh_half(std::size_t begin, std::size_t end, const float* constant,
               const float* const* spread, const float* weights, std::size_t terms, float* out) {
    map_sums(begin, end, constant, spread, weights, terms, out, [](Ints is_up, Floats power) {
        const Floats size = (1.0F - power) / (1.0F + power);
        return is_up ? size : -size;
    });
}

/// Fold every row of kWidth lanes into one number, four rows at once.
template <int kWidth, class Fold>
inline typename Vectors<4>::Part fold_four(const typename Vectors<kWidth>::Part* rows,
                                           const Fold& fold) {
    using Four = typename Vectors<4>::Part;
    Four row[4];
    for (int i = 0; i < 4; ++i) {
        float lanes[kWidth];
        std::memcpy(lanes, rows + i, sizeof(lanes));
        std::memcpy(&row[i], lanes, sizeof(Four));
        if constexpr (kWidth == 8) {
            Four rest;
            std::memcpy(&rest, lanes + 4, sizeof(rest));
            row[i] = fold(row[i], rest);
        }
    }
    // Pairs of rows side by side, until lane i is row i's.
    const Four ab = fold(__builtin_shufflevector(row[0], row[1], 0, 1, 4, 5),
                         __builtin_shufflevector(row[0], row[1], 2, 3, 6, 7));
    const Four cd = fold(__builtin_shufflevector(row[2], row[3], 0, 1, 4, 5),
                         __builtin_shufflevector(row[2], row[3], 2, 3, 6, 7));
    return fold(__builtin_shufflevector(ab, cd, 0, 2, 4, 6),
                __builtin_shufflevector(ab, cd, 1, 3, 5, 7));
}

/// Softmax of rows of labels, a multiple of kWidth.
///
/// In steps over some points each: within one point, every step waits for the step before.
template <int kWidth>
void softmax_rows(std::size_t labels, std::size_t begin, std::size_t end, const float* energies,
                  const float* const* spread, const float* weights, std::size_t terms, float* out) {
    using Part = typename Vectors<kWidth>::Part;
    using PartInts = typename Vectors<kWidth>::PartInts;
    constexpr std::size_t kPoints = 16;
    const std::size_t parts = labels / kWidth;
    const auto load = [](const float* from) {
        Part values;
        std::memcpy(&values, from, sizeof(values));
        return values;
    };
    const auto store_to = [](float* to, Part values) { std::memcpy(to, &values, sizeof(values)); };
    Part folded[kPoints] = {};
    alignas(16) float one[kPoints];
    using Four = typename Vectors<4>::Part;
    const auto store_four = [&](std::size_t i, Four values) {
        std::memcpy(one + i, &values, sizeof(values));
    };
    for (std::size_t first = begin; first < end; first += kPoints) {
        const std::size_t count = end - first < kPoints ? end - first : kPoints;
        float* const rows = out + first * labels;
        for (std::size_t i = 0; i < count; ++i) {
            for (std::size_t p = 0; p < parts; ++p) {
                const std::size_t at = (first + i) * labels + p * kWidth;
                Part x = -load(energies + at);
                for (std::size_t m = 0; m < terms; ++m) x += weights[m] * load(spread[m] + at);
                folded[i] = p == 0 ? x : (x > folded[i] ? x : folded[i]);
                store_to(out + at, x);
            }
        }
        for (std::size_t i = 0; i < count; i += 4) {
            store_four(i,
                       fold_four<kWidth>(folded + i, [](Four a, Four b) { return a > b ? a : b; }));
        }
        for (std::size_t i = 0; i < count; ++i) {
            for (std::size_t p = 0; p < parts; ++p) {
                float* const at = rows + i * labels + p * kWidth;
                const Part power = exponential<Part, PartInts>(load(at) - one[i]);
                folded[i] = p == 0 ? power : folded[i] + power;
                store_to(at, power);
            }
        }
        for (std::size_t i = 0; i < count; i += 4) {
            const Four sum = fold_four<kWidth>(folded + i, [](Four a, Four b) { return a + b; });
            store_four(i, 1.0F / sum);
        }
        for (std::size_t i = 0; i < count; ++i) {
            for (std::size_t p = 0; p < parts; ++p) {
                float* const at = rows + i * labels + p * kWidth;
                store_to(at, load(at) * one[i]);
            }
        }
    }
}

void softmax(std::size_t labels, std::size_t begin, std::size_t end, const float* energies,
             const float* const* spread, const float* weights, std::size_t terms, float* out) {
    constexpr int kWidth = kLanes < 8 ? kLanes : 8;
    if (labels % kWidth == 0) {
        softmax_rows<kWidth>(labels, begin, end, energies, spread, weights, terms, out);
    } else {
        softmax_rows<4>(labels, begin, end, energies, spread, weights, terms, out);
    }
}

constexpr TileKernels kKernels{locate,     splat,    slice,     blur,   convolve,
                               add_scaled, logistic, tanh_half, softmax};

}  // namespace
}  // namespace weakseg
