// Vectors of floats and integers: loads, stores, and widths.
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

}  // namespace
}  // namespace weakseg
