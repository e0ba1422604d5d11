// Vectors of floats and integers: loads, stores, and widths.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <type_traits>

#include "../tile_kernels.h"

namespace weakseg {
namespace {

inline Floats load_floats(const float* from) {
    Floats values;
    std::memcpy(&values, from, sizeof(values));
    return values;
}

inline void store(float* to, Floats values) { std::memcpy(to, &values, sizeof(values)); }

inline void store(std::uint32_t* to, Ints values) { std::memcpy(to, &values, sizeof(values)); }

/// Ask for memory that is read soon; as strided_copy.h, whose code must not be mixed with this.
inline void prefetch(const void* first, std::size_t bytes) {
    for (std::size_t i = 0; i < bytes; i += 64) {
        __builtin_prefetch(static_cast<const char*>(first) + i);
    }
    // Compilers leave out calls that only ask for memory.
    __asm__ volatile("");
}

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

inline float multiply_add(float a, float b, float c) { return a * b + c; }

/// Lanes of the vectors that come in half a cache line, which few of them straddle.
constexpr int kWindowLanes = kLanes < 8 ? kLanes : 8;

inline Ints lane_numbers() {
    Ints numbers;
    for (int lane = 0; lane < kLanes; ++lane) numbers[lane] = lane;
    return numbers;
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

/// Some channels of a row: what one register holds.
template <int kWidth, int kFirst>
struct RowPart {
    using Values = typename Vectors<kWidth>::Part;
    static constexpr int kBegin = kFirst;

    static Values load(const float* row) {
        Values values;
        std::memcpy(&values, row + kFirst, sizeof(values));
        return values;
    }
    static void store(float* row, Values values) {
        std::memcpy(row + kFirst, &values, sizeof(values));
    }
};

/// Call body(part) for every part of a row, as few as may be.
template <int kChannels, int kFirst = 0, class Body>
inline void for_parts(const Body& body) {
    if constexpr (kFirst < kChannels) {
        constexpr int kLeft = kChannels - kFirst;
        constexpr int kFit = kLeft >= 16 ? 16 : (kLeft >= 8 ? 8 : 4);
        constexpr int kWidth = kFit < kLanes ? kFit : kLanes;
        body(RowPart<kWidth, kFirst>{});
        for_parts<kChannels, kFirst + kWidth>(body);
    }
}

/// Call body(std::integral_constant) with the channels of rows that kernels know, or 0 for others.
template <class Body>
inline void for_width(std::size_t channels, const Body& body) {
    switch (channels) {
        case 4:
            return body(std::integral_constant<int, 4>{});
        case 8:
            return body(std::integral_constant<int, 8>{});
        case 16:
            return body(std::integral_constant<int, 16>{});
        case 24:
            return body(std::integral_constant<int, 24>{});
        default:
            body(std::integral_constant<int, 0>{});
    }
}

/// Floats from one row of a group's table to the next: no vector straddles two cache lines.
template <int kChannels>
constexpr int kTableStep = kChannels == 24 && kLanes == 16 ? 32 : kChannels;

}  // namespace
}  // namespace weakseg
