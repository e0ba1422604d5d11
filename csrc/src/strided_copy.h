// Copy (points, channels) arrays between memory layouts, and ask for memory ahead.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstring>

namespace weakseg {

/// Ask for memory that is used soon.
inline void prefetch_floats(const float* first, std::size_t count) {
    constexpr std::size_t kLine = 64 / sizeof(float);
    for (std::size_t i = 0; i < count; i += kLine) __builtin_prefetch(first + i);
    // Compilers leave out calls that only ask for memory.
    __asm__ volatile("");
}

/// An array of points and channels: where it begins, and how far apart the next ones lie.
template <class Float>
struct Strided {
    Float* data;
    std::size_t point_step;
    std::size_t channel_step;
};

typedef float Four __attribute__((vector_size(16)));

inline Four load_four(const float* from) {
    Four values;
    std::memcpy(&values, from, sizeof(values));
    return values;
}

inline void store_four(float* to, Four values) { std::memcpy(to, &values, sizeof(values)); }

/// Turn four rows into four columns.
inline void transpose_four(const float* from, std::size_t from_step, float* to,
                           std::size_t to_step) {
    const Four a = load_four(from);
    const Four b = load_four(from + from_step);
    const Four c = load_four(from + 2 * from_step);
    const Four d = load_four(from + 3 * from_step);
    const Four ab_low = __builtin_shufflevector(a, b, 0, 4, 1, 5);
    const Four ab_high = __builtin_shufflevector(a, b, 2, 6, 3, 7);
    const Four cd_low = __builtin_shufflevector(c, d, 0, 4, 1, 5);
    const Four cd_high = __builtin_shufflevector(c, d, 2, 6, 3, 7);
    store_four(to, __builtin_shufflevector(ab_low, cd_low, 0, 1, 4, 5));
    store_four(to + to_step, __builtin_shufflevector(ab_low, cd_low, 2, 3, 6, 7));
    store_four(to + 2 * to_step, __builtin_shufflevector(ab_high, cd_high, 0, 1, 4, 5));
    store_four(to + 3 * to_step, __builtin_shufflevector(ab_high, cd_high, 2, 3, 6, 7));
}

/// Copy at least four floats, the last of them twice where they are no multiple of four.
inline void copy_floats(const float* from, float* to, std::size_t count) {
    for (std::size_t i = 0; i + 4 < count; i += 4) store_four(to + i, load_four(from + i));
    store_four(to + count - 4, load_four(from + count - 4));
}

/// Two planes to points of two channels.
inline void join_pairs(const float* first, const float* second, std::size_t points, float* to) {
    std::size_t i = 0;
    for (; i + 4 <= points; i += 4) {
        const Four a = load_four(first + i);
        const Four b = load_four(second + i);
        store_four(to + 2 * i, __builtin_shufflevector(a, b, 0, 4, 1, 5));
        store_four(to + 2 * i + 4, __builtin_shufflevector(a, b, 2, 6, 3, 7));
    }
    for (; i < points; ++i) {
        to[2 * i] = first[i];
        to[2 * i + 1] = second[i];
    }
}

/// Points of two channels to two planes.
inline void split_pairs(const float* from, std::size_t points, float* first, float* second) {
    std::size_t i = 0;
    for (; i + 4 <= points; i += 4) {
        const Four low = load_four(from + 2 * i);
        const Four high = load_four(from + 2 * i + 4);
        store_four(first + i, __builtin_shufflevector(low, high, 0, 2, 4, 6));
        store_four(second + i, __builtin_shufflevector(low, high, 1, 3, 5, 7));
    }
    for (; i < points; ++i) {
        first[i] = from[2 * i];
        second[i] = from[2 * i + 1];
    }
}

inline void copy_strided(const Strided<const float>& from, const Strided<float>& to,
                         std::size_t points, std::size_t channels) {
    if (from.point_step == 1 && to.point_step == 1) {
        for (std::size_t c = 0; c < channels; ++c) {
            std::memcpy(to.data + c * to.channel_step, from.data + c * from.channel_step,
                        points * sizeof(float));
        }
        return;
    }
    const bool are_rows = from.channel_step == 1 && to.channel_step == 1;
    if (are_rows && from.point_step == channels && to.point_step == channels) {
        std::memcpy(to.data, from.data, points * channels * sizeof(float));
        return;
    }
    if (are_rows && channels >= 4) {
        for (std::size_t i = 0; i < points; ++i) {
            copy_floats(from.data + i * from.point_step, to.data + i * to.point_step, channels);
        }
        return;
    }
    const auto holds_pairs = [&](const auto& array) {
        return channels == 2 && array.point_step == 2 && array.channel_step == 1;
    };
    if (from.point_step == 1 && holds_pairs(to)) {
        return join_pairs(from.data, from.data + from.channel_step, points, to.data);
    }
    if (holds_pairs(from) && to.point_step == 1) {
        return split_pairs(from.data, points, to.data, to.data + to.channel_step);
    }
    std::size_t first_point = 0;
    std::size_t first_channel = 0;
    // Whole blocks of four by four, where one side has points and the other channels in a row.
    const bool from_planes = from.point_step == 1 && to.channel_step == 1;
    if (from_planes || (from.channel_step == 1 && to.point_step == 1)) {
        first_point = points / 4 * 4;
        first_channel = channels / 4 * 4;
        for (std::size_t c = 0; c < first_channel; c += 4) {
            for (std::size_t i = 0; i < first_point; i += 4) {
                transpose_four(from.data + i * from.point_step + c * from.channel_step,
                               from_planes ? from.channel_step : from.point_step,
                               to.data + i * to.point_step + c * to.channel_step,
                               from_planes ? to.point_step : to.channel_step);
            }
        }
    }
    for (std::size_t i = 0; i < points; ++i) {
        const float* source = from.data + i * from.point_step;
        float* target = to.data + i * to.point_step;
        for (std::size_t c = i < first_point ? first_channel : 0; c < channels; ++c) {
            target[c * to.channel_step] = source[c * from.channel_step];
        }
    }
}

/// Multiply every point's channels by its factor.
template <std::size_t kChannels>
void multiply_points(float* rows, const float* factors, std::size_t points) {
    for (std::size_t i = 0; i < points; ++i) {
        for (std::size_t c = 0; c < kChannels; ++c) rows[i * kChannels + c] *= factors[i];
    }
}

}  // namespace weakseg
