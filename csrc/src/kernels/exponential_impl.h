// Powers of e, and the probabilities of two labels.
#pragma once

#include <cstddef>

#include "vectors_impl.h"

namespace weakseg {
namespace {

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

}  // namespace
}  // namespace weakseg
