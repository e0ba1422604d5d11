// Rows of pixels to rows of cells, and back: what whole frames and tiles do alike.
#pragma once

#include <algorithm>
#include <cstddef>
#include <vector>

#include "tile_kernels.h"
#include "weakseg/position_kernel.h"

namespace weakseg {

inline std::size_t whole_vectors(std::size_t floats) {
    return (floats + kLanesPerBlock - 1) / kLanesPerBlock * kLanesPerBlock;
}

/// Whole vectors, and a cache line more: rows of a power of two would evict each other.
inline std::size_t row_step(std::size_t floats) { return whole_vectors(floats) + kLanesPerBlock; }

/// A row of pixels with zeros about it.
class PixelRow {
  public:
    PixelRow(std::size_t most_pixels, std::size_t channels)
        : channels_(channels),
          floats_((most_pixels + 2 * kCellPadding) * channels + kRowSlack, 0.0F) {}

    /// Set the pixels: values, times factors if there are any.
    void fill(std::size_t pixels, const float* values, const float* factors) {
        tile_kernels().add_scaled(pixels, channels_, values, 1.0F, factors, true, inner());
    }

    /// Set to zero what a longer row has left behind `pixels`.
    void clear_after(std::size_t pixels) {
        std::fill(
            floats_.begin() + static_cast<std::ptrdiff_t>((kCellPadding + pixels) * channels_),
            floats_.end(), 0.0F);
    }

    void to_cells(const PositionAxis& axis, std::size_t pixels, float* cells) {
        if (axis.pixels_per_cell == 1) {
            std::copy_n(inner(), pixels * channels_, cells);
        } else {
            tile_kernels().to_cells(pixels, channels_, inner(), cells);
        }
    }

  private:
    float* inner() { return floats_.data() + kCellPadding * channels_; }

    std::size_t channels_;
    std::vector<float> floats_;
};

/// A row of cells with as many zeros about it as sums reach.
class CellRow {
  public:
    CellRow(const PositionAxis& axis, std::size_t floats, std::size_t channels)
        : channels_(channels),
          pad_(axis.reach() * channels),
          floats_(whole_vectors(floats) + 2 * pad_ + kRowSlack, 0.0F) {}

    float* inner() { return floats_.data() + pad_; }

    /// Convolve `count` floats; up to a whole vector is written.
    void convolve(const PositionAxis& axis, std::size_t count, float* out) const {
        const float* const inner = floats_.data() + pad_;
        const auto step = static_cast<std::ptrdiff_t>(channels_);
        const auto radius = static_cast<int>(axis.reach());
        const float* const taps = axis.taps.data();
        if (channels_ > 1 && radius == kFastRadius) {
            tile_kernels().convolve(inner, taps, radius, step, count / channels_, channels_, out,
                                    step);
        } else {
            tile_kernels().convolve(inner, taps, radius, step, 1, whole_vectors(count), out, 0);
        }
    }

  private:
    std::size_t channels_;
    std::size_t pad_;
    std::vector<float> floats_;
};

/// The rows that a row of cells, or of pixels, is a weighted sum of: at most eight.
class WeightedRows {
  public:
    /// Write the sum of `count` floats of rows; `row(i)` gives row i.
    template <class Row>
    void sum(const Row& row, std::size_t count, float* out) const {
        const float* from[8];
        for (std::size_t i = 0; i < rows_; ++i) from[i] = row(first_ + i);
        tile_kernels().sum_rows(rows_, from, weights_, count, out);
    }

  protected:
    std::size_t rows_ = 0;
    std::size_t first_ = 0;
    float weights_[8] = {};
};

/// Pixels' rows of row `cell` of the cells, the margin's first; of `pixels` rows in all.
class RowsOfCell : public WeightedRows {
  public:
    RowsOfCell(const PositionAxis& axis, std::size_t cell, std::size_t pixels) {
        if (axis.pixels_per_cell == 1) {
            rows_ = 1;
            first_ = cell;
            weights_[0] = 1.0F;
            return;
        }
        const auto centre =
            2 * (static_cast<std::ptrdiff_t>(cell) - static_cast<std::ptrdiff_t>(kCellMargin));
        for (std::ptrdiff_t k = 0; k < 8; ++k) {
            const std::ptrdiff_t row = centre + k - 3;
            if (row < 0 || row >= static_cast<std::ptrdiff_t>(pixels)) continue;
            if (rows_ == 0) first_ = static_cast<std::size_t>(row);
            weights_[rows_++] = kCellWeights[k < 4 ? 3 - k : k - 4];
        }
    }
};

/// Rows of cells, the margin's first, that row `pixel` is read off.
class CellsOfRow : public WeightedRows {
  public:
    CellsOfRow(const PositionAxis& axis, std::size_t pixel) {
        if (axis.pixels_per_cell == 1) {
            rows_ = 1;
            first_ = pixel;
            weights_[0] = 1.0F;
            return;
        }
        // A cell's second pixel sees the cells in the order in which the first one sees them
        // backwards.
        constexpr int kOrder[4] = {3, 1, 0, 2};
        const bool is_second = pixel % 2 == 1;
        rows_ = 4;
        first_ = pixel / 2 + (is_second ? 1 : 0);
        for (int k = 0; k < 4; ++k) weights_[k] = kCellWeights[kOrder[is_second ? 3 - k : k]];
    }
};

/// sums (+)= weight * factors * what a row of pixels reads off a row of cells.
inline void add_from_cells(const PositionAxis& axis, std::size_t pixels, std::size_t channels,
                           const float* cells, float weight, const float* factors, bool is_first,
                           float* sums) {
    if (axis.pixels_per_cell == 1) {
        tile_kernels().add_scaled(pixels, channels, cells, weight, factors, is_first, sums);
    } else {
        tile_kernels().add_from_cells(pixels, channels, cells, weight, factors, is_first, sums);
    }
}

}  // namespace weakseg
