#include "weakseg/lattice.h"

#include <array>
#include <cmath>
#include <memory>
#include <vector>

#include "general_lattice.h"
#include "tiled_lattice.h"

namespace weakseg {

namespace {

float level_of(const Frame& frame, std::size_t at) {
    return frame.bytes != nullptr ? static_cast<float>(frame.bytes[at]) : frame.floats[at];
}

/// (pixels, 5) rows of place and colour in standard deviations, as TiledLattice has them.
std::vector<float> features_of(const Frame& frame, float sigma_xy_pixels, float sigma_rgb_levels,
                               bool compatible) {
    const std::size_t pixels = frame.height * frame.width;
    std::vector<float> features(pixels * 5);
    for (std::size_t pixel = 0; pixel < pixels; ++pixel) {
        std::array<float, 3> level{};
        for (std::size_t colour = 0; colour < 3; ++colour) {
            level[colour] =
                level_of(frame, frame.planes ? colour * pixels + pixel : pixel * 3 + colour);
        }
        const auto [red, green, blue] = level;
        if (!compatible) {
            level = {(red - blue) / std::sqrt(2.0F),
                     ((red + blue) - 2.0F * green) / std::sqrt(6.0F),
                     ((red + green) + blue) / std::sqrt(3.0F)};
        }
        float* to = &features[pixel * 5];
        to[0] = static_cast<float>(pixel % frame.width) / sigma_xy_pixels;
        to[1] = static_cast<float>(pixel / frame.width) / sigma_xy_pixels;
        for (std::size_t i = 0; i < 3; ++i) to[2 + i] = level[i] / sigma_rgb_levels;
    }
    return features;
}

}  // namespace

Lattice::Lattice(const float* features, std::size_t points, int dims, const LatticeOptions& options)
    : lattice_(TiledLattice::over(features, points, dims, options)) {
    if (!lattice_) lattice_ = std::make_unique<GeneralLattice>(features, points, dims, options);
}

Lattice::Lattice(const Frame& frame, float sigma_xy_pixels, float sigma_rgb_levels,
                 const LatticeOptions& options)
    : lattice_(TiledLattice::over(frame, sigma_xy_pixels, sigma_rgb_levels, options)) {
    if (lattice_) return;
    const auto features = features_of(frame, sigma_xy_pixels, sigma_rgb_levels, options.compatible);
    lattice_ = std::make_unique<GeneralLattice>(features.data(), features.size() / 5, 5, options);
}

Lattice::Lattice(Lattice&&) noexcept = default;
Lattice& Lattice::operator=(Lattice&&) noexcept = default;
Lattice::~Lattice() = default;

void Lattice::filter(const float* values, std::size_t channels, float* out,
                     const FilterOptions& options) const {
    lattice_->filter(values, channels, out, options);
}

std::size_t Lattice::points() const { return lattice_->points(); }
int Lattice::dims() const { return lattice_->dims(); }
std::size_t Lattice::vertices() const { return lattice_->vertices(); }
std::size_t Lattice::bytes() const { return lattice_->bytes(); }

}  // namespace weakseg
