// Four lanes in the compiler's own vector types, for any processor.
#pragma once

#include <cstdint>
#include <cstring>

namespace weakseg {
namespace {

constexpr int kLanes = 4;
typedef float Floats __attribute__((vector_size(16)));
typedef std::int32_t Ints __attribute__((vector_size(16)));

/// Sixteen floats, looked up by the low four bits of every lane.
struct Table16 {
    const float* entries;
};

inline Table16 load_table(const float* entries) { return {entries}; }

inline Floats lookup(const Table16& table, Ints index) {
    const Ints at = index & 15;
    return Floats{table.entries[at[0]], table.entries[at[1]], table.entries[at[2]],
                  table.entries[at[3]]};
}

/// Thirty-two floats, by the low five bits; the two tables lie one behind the other.
inline Floats lookup(const Table16& lower, const Table16&, Ints index) {
    const Ints at = index & 31;
    return Floats{lower.entries[at[0]], lower.entries[at[1]], lower.entries[at[2]],
                  lower.entries[at[3]]};
}

inline Floats gather(const float* base, Ints index) {
    return Floats{base[index[0]], base[index[1]], base[index[2]], base[index[3]]};
}

/// Read kLanes pixels of three bytes: red in the lowest byte of a lane, then green and blue.
inline Ints load_pixels(const std::uint8_t* from) {
    Ints pixels;
    for (int lane = 0; lane < kLanes; ++lane, from += 3) {
        pixels[lane] = from[0] | from[1] << 8 | from[2] << 16;
    }
    return pixels;
}

/// To the nearest, ties to even, of values below 2^31 in size.
inline Ints round_to_ints(Floats values) {
    // Above 2^23 floats are whole; below, adding 1.5 * 2^23 leaves no room for a fraction.
    const Floats magic = Floats{} + 12582912.0F;
    const Floats rounded = (values + magic) - magic;
    const Ints is_small = (values < 4194304.0F) & (values > -4194304.0F);
    return __builtin_convertvector(is_small ? rounded : values, Ints);
}

inline Floats multiply_add(Floats a, Floats b, Floats c) { return a * b + c; }

inline Ints minimum(Ints a, Ints b) { return a < b ? a : b; }

inline Ints maximum(Ints a, Ints b) { return a > b ? a : b; }

inline Ints shift_left(Ints values, Ints counts) {
    return Ints{values[0] << counts[0], values[1] << counts[1], values[2] << counts[2],
                values[3] << counts[3]};
}

/// sum + added where a and b are equal.
inline Floats add_where_equal(Ints a, Ints b, Floats added, Floats sum) {
    return sum + reinterpret_cast<Floats>((a == b) & reinterpret_cast<Ints>(added));
}

inline float sum_lanes(Floats values) { return (values[0] + values[2]) + (values[1] + values[3]); }

/// The lanes of a and b at even places, and those at odd places.
inline void split_pairs(Floats a, Floats b, Floats& even, Floats& odd) {
    even = __builtin_shufflevector(a, b, 0, 2, 4, 6);
    odd = __builtin_shufflevector(a, b, 1, 3, 5, 7);
}

/// base[2 * index] and the float behind it.
inline void gather_pairs(const float* base, Ints index, Floats& first, Floats& second) {
    first = gather(base, 2 * index);
    second = gather(base + 1, 2 * index);
}

/// Store a, b, a, b, ...
inline void store_interleaved(float* to, Floats a, Floats b) {
    const Floats low = __builtin_shufflevector(a, b, 0, 4, 1, 5);
    const Floats high = __builtin_shufflevector(a, b, 2, 6, 3, 7);
    std::memcpy(to, &low, sizeof(low));
    std::memcpy(to + kLanes, &high, sizeof(high));
}

/// Rows become columns.
inline void transpose(Ints (&rows)[4]) {
    const Ints ab_low = __builtin_shufflevector(rows[0], rows[1], 0, 4, 1, 5);
    const Ints ab_high = __builtin_shufflevector(rows[0], rows[1], 2, 6, 3, 7);
    const Ints cd_low = __builtin_shufflevector(rows[2], rows[3], 0, 4, 1, 5);
    const Ints cd_high = __builtin_shufflevector(rows[2], rows[3], 2, 6, 3, 7);
    rows[0] = __builtin_shufflevector(ab_low, cd_low, 0, 1, 4, 5);
    rows[1] = __builtin_shufflevector(ab_low, cd_low, 2, 3, 6, 7);
    rows[2] = __builtin_shufflevector(ab_high, cd_high, 0, 1, 4, 5);
    rows[3] = __builtin_shufflevector(ab_high, cd_high, 2, 3, 6, 7);
}

/// Read kLanes records of four words.
inline void load_records(const std::uint32_t* from, Ints (&words)[4]) {
    std::memcpy(words, from, sizeof(words));
    transpose(words);
}

/// Write them.
inline void store_records(std::uint32_t* to, const Ints (&words)[4]) {
    Ints rows[4] = {words[0], words[1], words[2], words[3]};
    transpose(rows);
    std::memcpy(to, rows, sizeof(rows));
}

/// Copy some records of four words, at least one.
inline void copy_records(const std::uint32_t* from, std::uint32_t count, std::uint32_t* to) {
    for (std::uint32_t i = 0; i < count; ++i) std::memcpy(to + 4 * i, from + 4 * i, 16);
}

/// The lanes moved up by one, behind the last lane of `before`.
inline Ints shifted(Ints before, Ints lanes) {
    return __builtin_shufflevector(before, lanes, 3, 4, 5, 6);
}

/// A bit for every lane that is not 0, but -1.
inline std::uint32_t mask_of(Ints lanes) {
    return static_cast<std::uint32_t>((lanes[0] & 1) | (lanes[1] & 2) | (lanes[2] & 4) |
                                      (lanes[3] & 8));
}

inline std::uint32_t or_lanes(Ints values) {
    return static_cast<std::uint32_t>(values[0] | values[1] | values[2] | values[3]);
}

}  // namespace
}  // namespace weakseg
