// Probabilities of many labels.
#pragma once

#include <cstddef>
#include <cstring>

#include "exponential_impl.h"
#include "vectors_impl.h"

namespace weakseg {
namespace {

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

/// The exponents of a softmax: -energies + sum over terms of weight * spread.
struct Exponents {
    const float* energies;
    const float* const* spread;
    const float* weights;
    std::size_t terms;

    /// From float `at` on.
    template <class Load>
    auto operator()(std::size_t at, const Load& load) const {
        auto value = -load(energies + at);
        for (std::size_t m = 0; m < terms; ++m) {
            value = multiply_add(load(spread[m] + at), decltype(value){} + weights[m], value);
        }
        return value;
    }
};

/// Points whose softmax is taken at once: within one point, every step waits for the step before.
constexpr std::size_t kSoftmaxPoints = 16;

/// Rows of labels of these points, in steps that fold every row into one number.
template <std::size_t kLabels>
struct LabelRows {
    static constexpr int kWidth = kLanes >= 8 && kLabels % 8 == 0 ? 8 : 4;
    static constexpr std::size_t kFloats = kSoftmaxPoints * kLabels;
    using Part = typename Vectors<kWidth>::Part;

    alignas(64) float values[kFloats] = {};
    alignas(64) float of_points[kSoftmaxPoints] = {};

    template <class Fold>
    void fold(const Fold& fold) {
        Part folded[kSoftmaxPoints];
        for (std::size_t i = 0; i < kSoftmaxPoints; ++i) {
            folded[i] = part(i, 0);
            for (std::size_t c = kWidth; c < kLabels; c += kWidth) {
                folded[i] = fold(folded[i], part(i, c));
            }
        }
        for (std::size_t i = 0; i < kSoftmaxPoints; i += 4) {
            const auto four = fold_four<kWidth>(folded + i, fold);
            std::memcpy(of_points + i, &four, sizeof(four));
        }
    }

    /// Call body(the values of a part, where it begins, the point's number).
    template <class Body>
    void each(const Body& body) const {
        for (std::size_t i = 0; i < kSoftmaxPoints; ++i) {
            for (std::size_t c = 0; c < kLabels; c += kWidth) {
                body(part(i, c), i * kLabels + c, Part{} + of_points[i]);
            }
        }
    }

    Part part(std::size_t i, std::size_t c) const {
        Part part;
        std::memcpy(&part, values + i * kLabels + c, sizeof(part));
        return part;
    }

    /// Set the values to powers of e, and `of_points` to their sums; less the largest exponents of
    /// points that `is_lost` names, if it is given.
    template <class Load>
    void take_powers(const Exponents& exponents, std::size_t at, const Load& load,
                     const Ints* is_lost) {
        for (std::size_t i = 0; i < kFloats; i += kLanes) {
            const auto load_at = [&](const float* from) { return load(from, i); };
            store(values + i, exponents(at + i, load_at));
        }
        if (is_lost != nullptr) {
            fold([](auto a, auto b) { return a > b ? a : b; });
            for (std::size_t i = 0; i < kSoftmaxPoints; i += kLanes) {
                const Floats most = load_floats(of_points + i);
                store(of_points + i, is_lost[i / kLanes] ? most : Floats{});
            }
            each([&](Part value, std::size_t place, Part most) {
                value -= most;
                std::memcpy(values + place, &value, sizeof(value));
            });
        }
        for (std::size_t i = 0; i < kFloats; i += kLanes) {
            store(values + i, exponential<Floats, Ints>(load_floats(values + i)));
        }
        fold([](auto a, auto b) { return a + b; });
    }

    /// Take the softmax of up to kSoftmaxPoints points from float `at` on.
    template <class Load>
    void take(const Exponents& exponents, std::size_t at, const Load& load) {
        take_powers(exponents, at, load, nullptr);
        // Sums in between are exact. Nearly all are: the least energy of a point is 0, and kernels
        // add a little. A point is taken again by itself, whoever its neighbours are here.
        Ints is_lost[kSoftmaxPoints / kLanes];
        Ints is_any{};
        for (std::size_t i = 0; i < kSoftmaxPoints; i += kLanes) {
            const Floats sums = load_floats(of_points + i);
            is_lost[i / kLanes] = ~((sums > 1e-20F) & (sums < 1e35F));
            is_any |= is_lost[i / kLanes];
        }
        if (or_lanes(is_any) != 0) take_powers(exponents, at, load, is_lost);
        for (std::size_t i = 0; i < kSoftmaxPoints; i += kLanes) {
            store(of_points + i, 1.0F / load_floats(of_points + i));
        }
    }
};

template <std::size_t kLabels>
void softmax_rows(std::size_t begin, std::size_t end, const Exponents& exponents, float* out) {
    LabelRows<kLabels> rows;
    using Part = typename LabelRows<kLabels>::Part;
    for (std::size_t first = begin; first < end; first += kSoftmaxPoints) {
        const std::size_t at = first * kLabels;
        if (first + kSoftmaxPoints <= end) {
            rows.take(exponents, at,
                      [](const float* from, std::size_t) { return load_floats(from); });
            rows.each([&](Part value, std::size_t place, Part factor) {
                value *= factor;
                std::memcpy(out + at + place, &value, sizeof(value));
            });
            continue;
        }
        const std::size_t count = (end - first) * kLabels;
        rows.take(exponents, at, [&](const float* from, std::size_t i) {
            return i < count ? load_some(from, count - i) : Floats{};
        });
        rows.each([&](Part value, std::size_t place, Part factor) {
            value *= factor;
            if (place < count) std::memcpy(out + at + place, &value, sizeof(value));
        });
    }
}

/// Of more labels than rows of a known width hold: point by point.
void softmax_many(std::size_t labels, std::size_t begin, std::size_t end,
                  const Exponents& exponents, float* out) {
    using Part = typename Vectors<4>::Part;
    using PartInts = typename Vectors<4>::PartInts;
    const auto load = [](const float* from) {
        Part part;
        std::memcpy(&part, from, sizeof(part));
        return part;
    };
    for (std::size_t at = begin * labels; at < end * labels; at += labels) {
        Part largest = Part{} - 3e38F;
        for (std::size_t c = 0; c < labels; c += 4) {
            const Part x = exponents(at + c, load);
            largest = x > largest ? x : largest;
            std::memcpy(out + at + c, &x, sizeof(x));
        }
        float most = largest[0];
        for (int i = 1; i < 4; ++i) most = largest[i] > most ? largest[i] : most;
        Part sums{};
        for (std::size_t c = 0; c < labels; c += 4) {
            const Part power = exponential<Part, PartInts>(load(out + at + c) - most);
            sums += power;
            std::memcpy(out + at + c, &power, sizeof(power));
        }
        const float factor = 1.0F / (sums[0] + sums[1] + sums[2] + sums[3]);
        for (std::size_t c = 0; c < labels; ++c) out[at + c] *= factor;
    }
}

/// Less their least: kSoftmaxPoints rows at once.
template <std::size_t kLabels>
void subtract_least_of_rows(std::size_t points, float* rows) {
    LabelRows<kLabels> some;
    using Part = typename LabelRows<kLabels>::Part;
    for (std::size_t first = 0; first < points; first += kSoftmaxPoints) {
        float* const at = rows + first * kLabels;
        const std::size_t left = (points - first) * kLabels;
        const std::size_t count = left < some.kFloats ? left : some.kFloats;
        std::memcpy(some.values, at, count * sizeof(float));
        some.fold([](auto a, auto b) { return a < b ? a : b; });
        some.each([&](Part value, std::size_t place, Part least) {
            value -= least;
            if (place < count) std::memcpy(at + place, &value, sizeof(value));
        });
    }
}

void subtract_least(std::size_t labels, std::size_t points, float* rows) {
    for_width(labels, [&](auto known) {
        constexpr auto kLabels = static_cast<std::size_t>(decltype(known)::value);
        if constexpr (kLabels > 0) {
            subtract_least_of_rows<kLabels>(points, rows);
        } else {
            for (float* row = rows; row < rows + points * labels; row += labels) {
                float least = row[0];
                for (std::size_t k = 1; k < labels; ++k) least = row[k] < least ? row[k] : least;
                for (std::size_t k = 0; k < labels; ++k) row[k] -= least;
            }
        }
    });
}

void softmax(std::size_t labels, std::size_t begin, std::size_t end, const float* energies,
             const float* const* spread, const float* weights, std::size_t terms, float* out) {
    const Exponents exponents{energies, spread, weights, terms};
    for_width(labels, [&](auto known) {
        constexpr auto kLabels = static_cast<std::size_t>(decltype(known)::value);
        if constexpr (kLabels > 0) {
            softmax_rows<kLabels>(begin, end, exponents, out);
        } else {
            softmax_many(labels, begin, end, exponents, out);
        }
    });
}

}  // namespace
}  // namespace weakseg
