// Exact Gaussian filtering of a frame by place alone: two passes of a convolution.
#pragma once

#include <cstddef>
#include <vector>

#include "weakseg/lattice.h"

namespace weakseg {

/// Sums over pixels j of exp(-|p_i - p_j|^2 / 2), j = i included, zero outside the frame.
class PositionKernel {
  public:
    /// Sigmas in pixels, > 0. Cut off at four of them: 6e-5 of the sum is lost.
    PositionKernel(std::size_t height, std::size_t width, float sigma_x_pixels,
                   float sigma_y_pixels);

    /// As Lattice::filter; always symmetric.
    void filter(const float* values, std::size_t channels, float* out,
                const FilterOptions& options) const;

    std::size_t points() const { return height_ * width_; }

  private:
    void filter_rows(const float* values, std::size_t channels, float* out,
                     const FilterOptions& options) const;

    std::size_t height_;
    std::size_t width_;
    // Weights of the centre and of every distance up to the cut.
    std::vector<float> taps_x_;
    std::vector<float> taps_y_;
};

}  // namespace weakseg
