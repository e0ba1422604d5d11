// Gaussian filtering of a frame by place alone: a convolution along each axis, of pixels or of
// cells of two.
#pragma once

#include <cstddef>
#include <vector>

#include "weakseg/lattice.h"

namespace weakseg {

/// Sums along one axis: of pixels, or from a deviation of three pixels on of cells of two.
///
/// A Gaussian so wide has next to nothing above half a frame's frequencies. Pixels are added to
/// cells by binomial weights, these are convolved by what is left of the Gaussian, and pixels are
/// read off cells by the same weights: half the cells, half the taps, and the operator stays its
/// own transpose.
struct PositionAxis {
    PositionAxis(float sigma_pixels, std::size_t pixels);

    std::size_t pixels_per_cell;
    /// Cells beyond the pixels' own, on either side, that pixels are added to.
    std::size_t margin;
    /// Weights of the centre and of every distance, in cells.
    std::vector<float> taps;

    std::size_t reach() const { return taps.size() - 1; }
    /// Cells of so many pixels, both margins included.
    std::size_t cells(std::size_t pixels) const {
        return (pixels + pixels_per_cell - 1) / pixels_per_cell + 2 * margin;
    }
};

/// Sums over pixels j of exp(-|p_i - p_j|^2 / 2), j = i included, zero outside the frame.
class PositionKernel {
  public:
    /// Sigmas in pixels, > 0. Weights are within 1e-3 of the Gaussian's, of which 1 is the largest,
    /// and sums of a frame's values within some 1e-4 of theirs: weights beyond four sigmas are cut
    /// off, and cells of two pixels round the Gaussian a little.
    PositionKernel(std::size_t height, std::size_t width, float sigma_x_pixels,
                   float sigma_y_pixels);

    /// As Lattice::filter; always symmetric.
    void filter(const float* values, std::size_t channels, float* out,
                const FilterOptions& options) const;

    /// Every pixel's weights summed up, as `filter` of ones would give: (H, W).
    void sum_weights(float* out, int threads) const;

    std::size_t points() const { return height_ * width_; }
    std::size_t width() const { return width_; }
    const PositionAxis& axis_x() const { return axis_x_; }
    const PositionAxis& axis_y() const { return axis_y_; }

  private:
    PositionKernel(std::size_t height, std::size_t width, PositionAxis axis_x, PositionAxis axis_y);

    void filter_rows(const float* values, std::size_t channels, float* out,
                     const FilterOptions& options) const;

    std::size_t height_;
    std::size_t width_;
    PositionAxis axis_x_;
    PositionAxis axis_y_;
};

}  // namespace weakseg
