// Pixels to cells of two pixels, and back, along a row.
#pragma once

#include <cstddef>
#include <cstring>

#include "../tile_kernels.h"
#include "vectors_impl.h"

namespace weakseg {
namespace {

/// Weights of a cell's two pixels, of the next two, and so on outward: of a binomial.
constexpr float kNear = kCellWeights[0];
constexpr float kNext = kCellWeights[1];
constexpr float kFar = kCellWeights[2];
constexpr float kLast = kCellWeights[3];

/// The cell whose first pixel is `at`; pixels are `step` floats apart.
template <class Part>
inline Part cell_of(const float* at, std::ptrdiff_t step) {
    const auto pair = [&](std::ptrdiff_t before, std::ptrdiff_t after) {
        Part first;
        Part second;
        std::memcpy(&first, at + before * step, sizeof(first));
        std::memcpy(&second, at + after * step, sizeof(second));
        return first + second;
    };
    Part sum = pair(0, 1) * kNear;
    sum = multiply_add(pair(-1, 2), Part{} + kNext, sum);
    sum = multiply_add(pair(-2, 3), Part{} + kFar, sum);
    return multiply_add(pair(-3, 4), Part{} + kLast, sum);
}

template <int kChannels>
void rows_to_cells(std::size_t cells, std::size_t channels, const float* first, float* out) {
    if constexpr (kChannels > 0) channels = kChannels;
    const auto step = static_cast<std::ptrdiff_t>(channels);
    for (std::size_t j = 0; j < cells; ++j, first += 2 * channels, out += channels) {
        if constexpr (kChannels > 0) {
            for_parts<kChannels>([&](auto part) {
                using Values = typename decltype(part)::Values;
                part.store(out, cell_of<Values>(first + part.kBegin, step));
            });
        } else {
            for (std::size_t c = 0; c < channels; ++c) out[c] = cell_of<float>(first + c, step);
        }
    }
}

void plane_to_cells(std::size_t cells, const float* first, float* out) {
    for (std::size_t j = 0; j < cells; j += kLanes) {
        Floats even[5];  // pixels -4, -2, 0, 2 and 4 of every cell
        Floats odd[5];
        for (int k = 0; k < 5; ++k) {
            const float* const from = first + 2 * j + 2 * k - 4;
            split_pairs(load_floats(from), load_floats(from + kLanes), even[k], odd[k]);
        }
        Floats sum = (even[2] + odd[2]) * kNear;
        sum = multiply_add(odd[1] + even[3], Floats{} + kNext, sum);
        sum = multiply_add(even[1] + odd[3], Floats{} + kFar, sum);
        sum = multiply_add(odd[0] + even[4], Floats{} + kLast, sum);
        store(out + j, sum);
    }
}

void to_cells(std::size_t points, std::size_t channels, const float* values, float* cells) {
    const std::size_t count = (points + 1) / 2 + 2 * kCellMargin;
    const float* const first = values - 2 * kCellMargin * channels;
    if (channels == 1) return plane_to_cells(count, first, cells);
    for_width(channels, [&](auto known) {
        rows_to_cells<decltype(known)::value>(count, channels, first, cells);
    });
}

/// What the two pixels of the cell at `at` read off it and its neighbours.
template <class Part>
struct PixelPair {
    Part first;
    Part second;

    PixelPair(const float* at, std::ptrdiff_t step) {
        Part cell[5];
        for (std::ptrdiff_t k = 0; k < 5; ++k) {
            std::memcpy(&cell[k], at + (k - 2) * step, sizeof(Part));
        }
        const auto read = [&](int before, int after, int last) {
            Part sum = cell[2] * kNear;
            sum = multiply_add(cell[before], Part{} + kNext, sum);
            sum = multiply_add(cell[after], Part{} + kFar, sum);
            return multiply_add(cell[last], Part{} + kLast, sum);
        };
        first = read(1, 3, 0);
        second = read(3, 1, 4);
    }
};

template <int kChannels>
void rows_from_cells(std::size_t points, std::size_t channels, const float* cells, float weight,
                     const float* factors, bool is_first, float* sums) {
    if constexpr (kChannels > 0) channels = kChannels;
    const auto step = static_cast<std::ptrdiff_t>(channels);
    const auto add = [&](auto value, float factor, float* to) {
        auto sum = value;
        if (is_first) {
            sum = value * factor;
        } else {
            std::memcpy(&sum, to, sizeof(sum));
            sum = multiply_add(value, decltype(value){} + factor, sum);
        }
        std::memcpy(to, &sum, sizeof(sum));
    };
    for (std::size_t x = 0; x < points; x += 2, cells += channels, sums += 2 * channels) {
        const bool is_pair = x + 1 < points;
        const float factor = factors == nullptr ? weight : weight * factors[x];
        const float next = factors == nullptr || !is_pair ? weight : weight * factors[x + 1];
        const auto add_pair = [&](const auto& pair, std::size_t c) {
            add(pair.first, factor, sums + c);
            if (is_pair) add(pair.second, next, sums + channels + c);
        };
        if constexpr (kChannels > 0) {
            for_parts<kChannels>([&](auto part) {
                using Values = typename decltype(part)::Values;
                add_pair(PixelPair<Values>(cells + part.kBegin, step), part.kBegin);
            });
        } else {
            for (std::size_t c = 0; c < channels; ++c) {
                add_pair(PixelPair<float>(cells + c, step), c);
            }
        }
    }
}

void plane_from_cells(std::size_t points, const float* cells, float weight, const float* factors,
                      bool is_first, float* sums) {
    alignas(64) float values[2 * kLanes];
    const auto add_half = [&](std::size_t at, const float* half, const auto& load,
                              const auto& store_to) {
        Floats factor = Floats{} + weight;
        if (factors != nullptr) factor *= load(factors + at);
        const Floats sum = is_first ? Floats{} : load(sums + at);
        store_to(sums + at, multiply_add(factor, load_floats(half), sum));
    };
    for (std::size_t x = 0; x < points; x += 2 * kLanes) {
        const PixelPair<Floats> pair(cells + x / 2, 1);
        store_interleaved(values, pair.first, pair.second);
        for (std::size_t half = 0; half < 2 * kLanes && x + half < points; half += kLanes) {
            const std::size_t at = x + half;
            const std::size_t left = points - at;
            if (left >= static_cast<std::size_t>(kLanes)) {
                add_half(
                    at, values + half, [](const float* from) { return load_floats(from); },
                    [](float* to, Floats sum) { store(to, sum); });
            } else {
                add_half(
                    at, values + half, [&](const float* from) { return load_some(from, left); },
                    [&](float* to, Floats sum) { store_some(to, sum, left); });
            }
        }
    }
}

void add_from_cells(std::size_t points, std::size_t channels, const float* cells, float weight,
                    const float* factors, bool is_first, float* sums) {
    cells += kCellMargin * channels;
    if (channels == 1) return plane_from_cells(points, cells, weight, factors, is_first, sums);
    for_width(channels, [&](auto known) {
        rows_from_cells<decltype(known)::value>(points, channels, cells, weight, factors, is_first,
                                                sums);
    });
}

}  // namespace
}  // namespace weakseg
