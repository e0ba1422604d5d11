// Probabilities out of sums: the mean field's updates.
#pragma once

#include <cstddef>
#include <cstring>

#include "../tile_kernels.h"
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

}  // namespace
}  // namespace weakseg
