// The simplex that holds a point: its hub, and its corners' weights and lanes.
#pragma once

#include <cstdint>

#include "../tile_kernels.h"
#include "vectors_impl.h"

namespace weakseg {
namespace {

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

/// Lift features onto the plane where coordinates sum to zero.
template <int kDims>
inline void elevate(const Floats (&scaled)[kDims], Floats (&elevated)[kDims + 1]) {
    Floats sum{};
    for (int i = kDims; i > 0; --i) {
        elevated[i] = sum - static_cast<float>(i) * scaled[i - 1];
        sum = sum + scaled[i - 1];
    }
    elevated[0] = sum;
}

/// Round to the nearest vertex of remainder 0; the order of the rest names the simplex. Returns
/// the cells by which that vertex lies off the plane.
template <bool kIsWide, int kDims, int kSide>
inline Ints round_to_hubs(const TileGeometry& geometry, const Floats (&elevated)[kSide],
                          Ints (&sorted)[kSide], Located<kDims>& found) {
    constexpr float kSideInverse = 1.0F / kSide;
    Ints excess{};
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
    return excess;
}

/// Move the coordinates that this costs least back to the plane, and turn their order by as many.
template <bool kIsWide, int kDims, int kSide>
inline void return_to_plane(const TileGeometry& geometry, Ints excess, const Ints (&sorted)[kSide],
                            Ints (&turned)[kSide], Located<kDims>& found) {
    // Rounding moves a coordinate by at most half a cell, so they sum to at most kSide / 2 cells.
    constexpr int kMaxExcess = (kSide - 1) / 2;
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
    for (int i = 0; i < kSide; ++i) {
        const int from = i + kMaxExcess;
        turned[i] = from < kSide ? sorted[from] : sorted[from - kSide] - kWholeUnit;
    }
    const Ints forth = excess + kMaxExcess;
    turn_where<1>((forth & 1) != 0, turned);
    turn_where<2>((forth & 2) != 0, turned);
    if (kMaxExcess >= 2) turn_where<(kSide > 4 ? 4 : 0)>((forth & 4) != 0, turned);
}

template <int kDims, int kSide>
inline void weigh_corners(const Ints (&turned)[kSide], Located<kDims>& found) {
    for (int corner = 1; corner <= kDims; ++corner) {
        const Ints exact = turned[kSide - 1 - corner] - turned[kSide - corner];
        const Ints rounded = (exact + (1 << (kWeightShift - 1))) >> kWeightShift;
        found.weight[corner - 1] = minimum(maximum(rounded, Ints{}), Ints{} + 65535);
    }
}

/// Find the corners' lanes in the group's table.
template <int kDims, int kSide>
inline void name_lanes(const Ints (&turned)[kSide], Located<kDims>& found) {
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
}

/// Find the simplex of every lane's point, given by its features in lattice units.
template <int kDims, bool kIsWide>
inline Located<kDims> locate_points(const TileGeometry& geometry, const Floats (&scaled)[kDims]) {
    Floats elevated[kDims + 1];
    elevate(scaled, elevated);
    Located<kDims> found;
    Ints sorted[kDims + 1];
    const Ints excess = round_to_hubs<kIsWide>(geometry, elevated, sorted, found);
    Ints turned[kDims + 1];
    return_to_plane<kIsWide>(geometry, excess, sorted, turned, found);
    weigh_corners(turned, found);
    name_lanes(turned, found);
    return found;
}

}  // namespace
}  // namespace weakseg
