#include "weakseg/position_kernel.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <vector>

#include "pool.h"
#include "tile_kernels.h"
#include "weakseg/parallel.h"

namespace weakseg {

namespace {

/// Floats of a strip: rows of whole frames lie so that a column of them shares few cache lines'
/// places, and evicts itself.
constexpr std::size_t kStrip = 64;

std::vector<float> taps_of(float sigma, std::size_t size) {
    // exp(-4^2 / 2) is 3e-4, and all that lies beyond 6e-5 of the whole.
    const double reach = std::ceil(4.0 * static_cast<double>(sigma));
    const auto radius = static_cast<std::size_t>(std::min(reach, static_cast<double>(size - 1)));
    // A little more costs less than a radius that the fast convolution is not made for.
    std::vector<float> taps(std::max(radius, static_cast<std::size_t>(kFastRadius)) + 1, 0.0F);
    for (std::size_t i = 0; i <= radius; ++i) {
        const double distance = static_cast<double>(i) / static_cast<double>(sigma);
        taps[i] = static_cast<float>(std::exp(-0.5 * distance * distance));
    }
    return taps;
}

}  // namespace

PositionKernel::PositionKernel(std::size_t height, std::size_t width, float sigma_x_pixels,
                               float sigma_y_pixels)
    : height_(height),
      width_(width),
      taps_x_(taps_of(sigma_x_pixels, width)),
      taps_y_(taps_of(sigma_y_pixels, height)) {}

void PositionKernel::filter(const float* values, std::size_t channels, float* out,
                            const FilterOptions& options) const {
    if (!options.planes) return filter_rows(values, channels, out, options);
    for (std::size_t c = 0; c < channels; ++c) {
        filter_rows(values + c * points(), 1, out + c * points(), options);
    }
}

void PositionKernel::filter_rows(const float* values, std::size_t channels, float* out,
                                 const FilterOptions& options) const {
    const TileKernels& kernels = tile_kernels();
    const int radius_y = static_cast<int>(taps_y_.size()) - 1;
    const std::size_t pad_x = (taps_x_.size() - 1) * channels;
    const auto pad_y = static_cast<std::size_t>(radius_y);
    const std::size_t row = width_ * channels;
    const std::size_t strip_width = std::min(kStrip, (row + 15) / 16 * 16);
    const std::size_t strips = (row + strip_width - 1) / strip_width;
    const std::size_t strip_floats = (height_ + 2 * pad_y) * strip_width;
    const int threads = row * height_ < 4 * points_per_thread() ? 1 : options.threads;
    // Along rows, into strips with rows of zeros above and below.
    PooledVector<float> across(strips * strip_floats);
    for (std::size_t strip = 0; strip < strips; ++strip) {
        float* const first = across.data() + strip * strip_floats;
        std::fill_n(first, pad_y * strip_width, 0.0F);
        std::fill_n(first + (height_ + pad_y) * strip_width, pad_y * strip_width, 0.0F);
    }
    parallel_items(height_, threads, [&](const std::function<std::size_t()>& next) {
        std::vector<float> padded(row + 2 * pad_x, 0.0F);
        float* const inner = padded.data() + pad_x;
        for (std::size_t y = next(); y < height_; y = next()) {
            kernels.add_scaled(width_, channels, values + y * row, 1.0F,
                               options.before == nullptr ? nullptr : options.before + y * width_,
                               true, inner);
            for (std::size_t strip = 0; strip < strips; ++strip) {
                const std::size_t x = strip * strip_width;
                along_row(inner + x, channels, std::min(strip_width, row - x),
                          across.data() + strip * strip_floats + (y + pad_y) * strip_width);
            }
        }
    });
    parallel_items(strips, threads, [&](const std::function<std::size_t()>& next) {
        for (std::size_t strip = next(); strip < strips; strip = next()) {
            const std::size_t x = strip * strip_width;
            const float* const first = across.data() + strip * strip_floats + pad_y * strip_width;
            kernels.convolve(
                first, taps_y_.data(), radius_y, static_cast<std::ptrdiff_t>(strip_width), height_,
                std::min(strip_width, row - x), out + x, static_cast<std::ptrdiff_t>(row));
        }
    });
    if (options.after == nullptr) return;
    parallel_items(height_, threads, [&](const std::function<std::size_t()>& next) {
        for (std::size_t y = next(); y < height_; y = next()) {
            kernels.add_scaled(width_, channels, out + y * row, 1.0F, options.after + y * width_,
                               true, out + y * row);
        }
    });
}

void PositionKernel::filter_part(const float* values, std::size_t channels, const float* before,
                                 const Rect& rect, std::vector<float>& scratch, float* out) const {
    const TileKernels& kernels = tile_kernels();
    const std::size_t pad_x = taps_x_.size() - 1;
    const std::size_t pad_y = taps_y_.size() - 1;
    const std::size_t row = rect.columns * channels;
    // A cache line more: rows of a power of two would evict each other.
    const std::size_t step = row + 16;
    const std::size_t rows = rect.rows + 2 * pad_y;
    scratch.resize(rows * step + row + 2 * pad_x * channels);
    float* const padded = scratch.data() + rows * step;
    const std::size_t begin = rect.left - std::min(rect.left, pad_x);
    const std::size_t end = std::min(width_, rect.left + rect.columns + pad_x);
    const std::size_t missing = (pad_x - (rect.left - begin)) * channels;
    std::fill_n(padded, row + 2 * pad_x * channels, 0.0F);
    for (std::size_t i = 0; i < rows; ++i) {
        float* const across = scratch.data() + i * step;
        const std::size_t y = rect.top + i - pad_y;  // wraps above the frame
        if (y >= height_) {
            std::fill_n(across, row, 0.0F);
            continue;
        }
        float* const inner = padded + missing;
        kernels.add_scaled(end - begin, channels, values + (y * width_ + begin) * channels, 1.0F,
                           before == nullptr ? nullptr : before + y * width_ + begin, true, inner);
        along_row(padded + pad_x * channels, channels, row, across);
    }
    kernels.convolve(scratch.data() + pad_y * step, taps_y_.data(), static_cast<int>(pad_y),
                     static_cast<std::ptrdiff_t>(step), rect.rows, row, out,
                     static_cast<std::ptrdiff_t>(row));
}

void PositionKernel::along_row(const float* inner, std::size_t channels, std::size_t count,
                               float* out) const {
    const int radius = static_cast<int>(taps_x_.size()) - 1;
    const auto step = static_cast<std::ptrdiff_t>(channels);
    if (count % channels == 0 && channels > 1) {  // points are rows of channels
        tile_kernels().convolve(inner, taps_x_.data(), radius, step, count / channels, channels,
                                out, step);
    } else {
        tile_kernels().convolve(inner, taps_x_.data(), radius, step, 1, count, out, 0);
    }
}

}  // namespace weakseg
