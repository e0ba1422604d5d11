// What every kind of lattice does.
#pragma once

#include <cmath>
#include <cstddef>
#include <stdexcept>
#include <string>

#include "weakseg/lattice.h"

namespace weakseg {

class TiledLattice;

struct Lattice::Base {
    virtual ~Base() = default;
    virtual void filter(const float* values, std::size_t channels, float* out,
                        const FilterOptions& options) const = 0;
    virtual std::size_t points() const = 0;
    virtual int dims() const = 0;
    virtual std::size_t vertices() const = 0;
    virtual std::size_t bytes() const = 0;
    /// Itself, if it can be applied tile by tile.
    virtual const TiledLattice* as_tiled() const { return nullptr; }
};

/// Throw if rows of so many vertices cannot be numbered by 32 bits.
inline void check_vertices(std::size_t vertices) {
    constexpr std::size_t kMost = std::size_t{1} << 30U;
    if (vertices < kMost) return;
    throw std::length_error("the lattice needs more than " + std::to_string(kMost) +
                            " vertices: raise the sigmas, or cut the points into parts");
}

/// How points are put on the lattice, and how its vertices are blurred.
struct LatticeMode {
    float deviation;      // of the Gaussian, in lattice units
    float blur;           // weight of both neighbours along an axis, beside a centre of 1
    float give_back;      // part of a missing neighbour's weight that goes to the centre
    bool there_and_back;  // blur along all axes twice, the second time in reverse order
    bool ring;            // add missing vertices that are neighbours of two
    float scale;          // of the sums
};

inline LatticeMode mode_of(int dims, const LatticeOptions& options) {
    // Splat and slice have a variance of 1/6 (d + 1)^2 along every axis, a blur of a on both sides
    // 2 a / (1 + 2 a) (d + 1)^2 times 1, or 2 there and back.
    const bool is_high = options.quality == Quality::kHigh && !options.compatible;
    const double blur = is_high ? 0.3 : 0.5;
    const double variance = is_high ? 11.0 / 12.0 : 2.0 / 3.0;
    // Measured: with a ring, the blur is a little wider than that.
    const double shrink = is_high ? 0.99 : 1.0;
    // The integral of exp(-|x|^2 / 2) over that of splat, blur and slice: a vertex owns the volume
    // 1 / (sqrt(d + 1) deviation^d), and blurs multiply the mass.
    constexpr double kPi = 3.14159265358979323846;
    const int blurs = (is_high ? 2 : 1) * (dims + 1);
    const double scale = std::pow(2.0 * kPi * variance * shrink * shrink, dims / 2.0) *
                         std::sqrt(dims + 1.0) / std::pow(1.0 + 2.0 * blur, blurs);
    const double compatible_scale = 1.0 / (1.0 + std::pow(2.0, -dims));
    return {static_cast<float>(std::sqrt(variance) * shrink * (dims + 1)),
            static_cast<float>(blur),
            options.compatible ? 0.0F : 0.15F,
            is_high,
            is_high,
            static_cast<float>(options.compatible ? compatible_scale : scale)};
}

/// Factor that maps axis `i` to lattice coordinates, of which `deviation` is a standard deviation.
inline float axis_scale(float deviation, int i) {
    // In single precision, step by step as pydensecrf does it: then the same points tie.
    return static_cast<float>(1.0 / std::sqrt((i + 2.0) * (i + 1.0)) * deviation);
}

}  // namespace weakseg
