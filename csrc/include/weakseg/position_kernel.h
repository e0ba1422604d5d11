// Exact Gaussian filtering of a frame by place alone: two passes of a convolution.
#pragma once

#include <algorithm>
#include <cstddef>
#include <vector>

#include "weakseg/lattice.h"

namespace weakseg {

/// Sums over pixels j of exp(-|p_i - p_j|^2 / 2), j = i included, zero outside the frame.
class PositionKernel {
  public:
    /// Sigmas in pixels, > 0. Cut off at four of them: 6e-5 of the sum is lost
    /// along each axis. Up to three pixels are the fastest.
    PositionKernel(std::size_t height, std::size_t width, float sigma_x_pixels,
                   float sigma_y_pixels);

    /// As Lattice::filter; always symmetric.
    void filter(const float* values, std::size_t channels, float* out,
                const FilterOptions& options) const;

    std::size_t points() const { return height_ * width_; }
    std::size_t width() const { return width_; }
    /// Pixels that a sum reaches up, down, or to a side.
    std::size_t reach() const { return std::max(taps_x_.size(), taps_y_.size()) - 1; }

    /// Part of a frame.
    struct Rect {
        std::size_t top;
        std::size_t left;
        std::size_t rows;
        std::size_t columns;
    };

    /// Write the sums of a part only, (rows, columns, channels), of values that are (height,
    /// width, channels), times `before` if it is not null. `scratch` may be kept for other calls.
    void filter_part(const float* values, std::size_t channels, const float* before,
                     const Rect& rect, std::vector<float>& scratch, float* out) const;

  private:
    void filter_rows(const float* values, std::size_t channels, float* out,
                     const FilterOptions& options) const;
    /// Convolve `count` floats, points of channels one behind the other.
    void along_row(const float* inner, std::size_t channels, std::size_t count, float* out) const;

    std::size_t height_;
    std::size_t width_;
    // Weights of the centre and of every distance up to the cut.
    std::vector<float> taps_x_;
    std::vector<float> taps_y_;
};

}  // namespace weakseg
