// Weighted sums of rows, and their factors.
#pragma once

#include <cstddef>
#include <cstring>

#include "vectors_impl.h"

namespace weakseg {
namespace {

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
    const auto add_rows = [&](auto known) {
        constexpr int kChannels = decltype(known)::value;
        for (std::size_t x = 0; x < points; ++x) {
            const float factor = weight * factors[x];
            if constexpr (kChannels > 0) {
                for_parts<kChannels>([&](auto part) {
                    using Values = typename decltype(part)::Values;
                    add(x * kChannels + part.kBegin, Values{} + factor);
                });
            } else {
                for (std::size_t c = 0; c < channels; ++c) add(x * channels + c, factor);
            }
        }
    };
    const std::size_t count = points * channels;
    std::size_t at = 0;
    if (factors == nullptr) {
        for (; at + kLanes <= count; at += kLanes) add(at, Floats{} + weight);
    } else if (channels == 1) {
        for (; at + kLanes <= count; at += kLanes) add(at, weight * load_floats(factors + at));
    } else {
        return for_width(channels, add_rows);
    }
    for (; at < count; ++at) add(at, factors == nullptr ? weight : weight * factors[at]);
}

void invert(std::size_t count, bool takes_roots, float* values) {
    constexpr float kLeast = 1e-20F;
    const auto inverse = [](float value) { return 1.0F / (value < kLeast ? kLeast : value); };
    if (takes_roots) {
        for (std::size_t i = 0; i < count; ++i) values[i] = __builtin_sqrtf(inverse(values[i]));
    } else {
        for (std::size_t i = 0; i < count; ++i) values[i] = inverse(values[i]);
    }
}

template <int kRows>
void sum_so_many_rows(const float* const* from, const float* weights, std::size_t count,
                      float* out) {
    Floats weight[kRows];
    for (int row = 0; row < kRows; ++row) weight[row] = Floats{} + weights[row];
    const auto sum_at = [&](std::size_t i, const auto& load) {
        Floats sum = load(from[0] + i) * weight[0];
        for (int row = 1; row < kRows; ++row) {
            sum = multiply_add(load(from[row] + i), weight[row], sum);
        }
        return sum;
    };
    std::size_t i = 0;
    for (; i + kLanes <= count; i += kLanes) {
        store(out + i, sum_at(i, [](const float* values) { return load_floats(values); }));
    }
    if (i == count) return;
    const auto load_rest = [&](const float* values) { return load_some(values, count - i); };
    store_some(out + i, sum_at(i, load_rest), count - i);
}

void sum_rows(std::size_t rows, const float* const* from, const float* weights, std::size_t count,
              float* out) {
    switch (rows) {
        case 0:
            std::memset(out, 0, count * sizeof(float));
            return;
        case 1:
            return sum_so_many_rows<1>(from, weights, count, out);
        case 4:
            return sum_so_many_rows<4>(from, weights, count, out);
        case 8:
            return sum_so_many_rows<8>(from, weights, count, out);
        default:
            // Where a frame or a tile ends.
            sum_so_many_rows<1>(from, weights, count, out);
            for (std::size_t row = 1; row < rows; ++row) {
                const float* const both[] = {out, from[row]};
                const float factors[] = {1.0F, weights[row]};
                sum_so_many_rows<2>(both, factors, count, out);
            }
    }
}

}  // namespace
}  // namespace weakseg
