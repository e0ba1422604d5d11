#include "weakseg/position_kernel.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <utility>
#include <vector>

#include "pool.h"
#include "position_cells.h"
#include "tile_kernels.h"
#include "weakseg/parallel.h"

namespace weakseg {

namespace {

/// Axes of fewer pixels than this would be mostly margin.
constexpr std::size_t kFewPixels = 16;

/// Rows convolved by one thread before it asks for more.
constexpr std::size_t kBandRows = 32;

/// A Gaussian's weights at every whole distance, cut off at four deviations.
///
/// Of fourth cumulant `cumulant`, by the first term of Edgeworth's series.
std::vector<float> gaussian(double largest, double deviation, double cumulant, std::size_t most) {
    const double reach = std::min(std::ceil(4.0 * deviation), static_cast<double>(most));
    const double bend = cumulant / (24.0 * std::pow(deviation, 4.0));
    std::vector<float> weights;
    for (double i = 0.0; i <= reach; ++i) {
        const double square = (i / deviation) * (i / deviation);
        const double hermite = square * square - 6.0 * square + 3.0;
        weights.push_back(
            static_cast<float>(largest * std::exp(-0.5 * square) * (1.0 + bend * hermite)));
    }
    return weights;
}

}  // namespace

PositionAxis::PositionAxis(float sigma_pixels, std::size_t pixels)
    : pixels_per_cell(sigma_pixels < 3.0F || pixels < kFewPixels ? 1 : 2),
      margin(pixels_per_cell == 1 ? 0 : kCellMargin) {
    const auto sigma = static_cast<double>(sigma_pixels);
    const std::size_t most = cells(pixels) - 1;
    if (pixels_per_cell == 1) {
        taps = gaussian(1.0, sigma, 0.0, most);
    } else {
        // What the binomials on the way to the cells and back leave to do, in cells of two pixels.
        // Of every pixel half goes to cells, and every pixel gets half of a cell.
        const double deviation = std::sqrt(sigma * sigma - 2.0 * kCellVariance) / 2.0;
        taps = gaussian(2.0 * sigma / deviation, deviation, -2.0 * kCellCumulant / 16.0, most);
    }
    // A little more costs less than a radius that the fast convolution is not made for.
    if (taps.size() <= kFastRadius) taps.resize(kFastRadius + 1, 0.0F);
}

PositionKernel::PositionKernel(std::size_t height, std::size_t width, float sigma_x_pixels,
                               float sigma_y_pixels)
    : height_(height),
      width_(width),
      axis_x_(sigma_x_pixels, width),
      axis_y_(sigma_y_pixels, height) {}

PositionKernel::PositionKernel(std::size_t height, std::size_t width, PositionAxis axis_x,
                               PositionAxis axis_y)
    : height_(height), width_(width), axis_x_(std::move(axis_x)), axis_y_(std::move(axis_y)) {}

void PositionKernel::filter(const float* values, std::size_t channels, float* out,
                            const FilterOptions& options) const {
    if (!options.planes) return filter_rows(values, channels, out, options);
    for (std::size_t c = 0; c < channels; ++c) {
        filter_rows(values + c * points(), 1, out + c * points(), options);
    }
}

void PositionKernel::sum_weights(float* out, int threads) const {
    const auto along = [&](const PositionKernel& line) {
        std::vector<float> ones(line.points(), 1.0F);
        FilterOptions options;
        options.threads = threads;
        line.filter_rows(ones.data(), 1, ones.data(), options);  // all is read before it is written
        return ones;
    };
    const PositionAxis alone(1.0F, 1);  // leaves values as they are
    const std::vector<float> x = along({1, width_, axis_x_, alone});
    const std::vector<float> y = along({height_, 1, alone, axis_y_});
    parallel_items(height_, points() < 4 * points_per_thread() ? 1 : threads,
                   [&](const std::function<std::size_t()>& next) {
                       for (std::size_t row = next(); row < height_; row = next()) {
                           float* const to = out + row * width_;
                           for (std::size_t i = 0; i < width_; ++i) to[i] = y[row] * x[i];
                       }
                   });
}

void PositionKernel::filter_rows(const float* values, std::size_t channels, float* out,
                                 const FilterOptions& options) const {
    const std::size_t row = width_ * channels;
    const std::size_t cell_columns = axis_x_.cells(width_) * channels;
    const std::size_t cell_rows = axis_y_.cells(height_);
    const std::size_t step = row_step(cell_columns);
    const int threads = row * height_ < 4 * points_per_thread() ? 1 : options.threads;
    const auto for_rows = [&](std::size_t count, auto make_memory, const auto& body) {
        parallel_items(count, threads, [&](const std::function<std::size_t()>& next) {
            auto memory = make_memory();
            for (std::size_t i = next(); i < count; i = next()) body(i, memory);
        });
    };
    const auto factors_of = [&](const float* factors, std::size_t y) {
        return factors == nullptr ? nullptr : factors + y * width_;
    };

    PooledVector<float> across(height_ * step + kRowSlack);
    for_rows(
        height_, [&] { return PixelRow(width_, channels); },
        [&](std::size_t y, PixelRow& pixels) {
            pixels.fill(width_, values + y * row, factors_of(options.before, y));
            pixels.to_cells(axis_x_, width_, across.data() + y * step);
        });
    // Rows of cells, and zeros above and below.
    const std::size_t pad = axis_y_.reach();
    PooledVector<float> cells((cell_rows + 2 * pad) * step + kRowSlack);
    std::fill_n(cells.begin(), pad * step, 0.0F);
    std::fill(cells.begin() + static_cast<std::ptrdiff_t>((pad + cell_rows) * step), cells.end(),
              0.0F);
    for_rows(
        cell_rows, [&] { return CellRow(axis_x_, cell_columns, channels); },
        [&](std::size_t j, CellRow& line) {
            const RowsOfCell rows(axis_y_, j, height_);
            rows.sum([&](std::size_t y) { return across.data() + y * step; }, cell_columns,
                     line.inner());
            line.convolve(axis_x_, cell_columns, cells.data() + (pad + j) * step);
        });
    const std::size_t bands = (cell_rows + kBandRows - 1) / kBandRows;
    across = PooledVector<float>();  // two arrays at once, not three
    PooledVector<float> smooth(cell_rows * step + kRowSlack);
    for_rows(
        bands, [] { return 0; },
        [&](std::size_t band, int) {
            const std::size_t first = band * kBandRows;
            tile_kernels().convolve(cells.data() + (pad + first) * step, axis_y_.taps.data(),
                                    static_cast<int>(pad), static_cast<std::ptrdiff_t>(step),
                                    std::min(kBandRows, cell_rows - first),
                                    whole_vectors(cell_columns), smooth.data() + first * step,
                                    static_cast<std::ptrdiff_t>(step));
        });
    for_rows(
        height_, [&] { return std::vector<float>(step + kRowSlack); },
        [&](std::size_t y, std::vector<float>& line) {
            const CellsOfRow rows(axis_y_, y);
            rows.sum([&](std::size_t j) { return smooth.data() + j * step; }, cell_columns,
                     line.data());
            add_from_cells(axis_x_, width_, channels, line.data(), 1.0F,
                           factors_of(options.after, y), true, out + y * row);
        });
}

}  // namespace weakseg
