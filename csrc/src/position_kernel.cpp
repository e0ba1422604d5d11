#include "weakseg/position_kernel.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "pool.h"
#include "tile_kernels.h"
#include "weakseg/parallel.h"

namespace weakseg {

namespace {

/// Floats of a strip: rows of whole frames lie so that a column of them shares few cache lines'
/// places, and evicts itself.
constexpr std::size_t kStrip = 64;

/// Frames of fewer floats than this are not worth a second thread.
constexpr std::size_t kFloatsForThreads = 65536;

std::vector<float> taps_of(float sigma, std::size_t size) {
    // exp(-4^2 / 2) is 3e-4, and all that lies beyond 6e-5 of the whole.
    const double reach = std::ceil(4.0 * static_cast<double>(sigma));
    const auto radius = static_cast<std::size_t>(std::min(reach, static_cast<double>(size - 1)));
    std::vector<float> taps(radius + 1);
    for (std::size_t i = 0; i < taps.size(); ++i) {
        const double distance = static_cast<double>(i) / static_cast<double>(sigma);
        taps[i] = static_cast<float>(std::exp(-0.5 * distance * distance));
    }
    return taps;
}

void multiply(float* row, const float* factors, std::size_t points, std::size_t channels) {
    if (channels == 1) {
        for (std::size_t x = 0; x < points; ++x) row[x] *= factors[x];
        return;
    }
    for (std::size_t x = 0; x < points; ++x) {
        for (std::size_t c = 0; c < channels; ++c) row[x * channels + c] *= factors[x];
    }
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
    const int radius_x = static_cast<int>(taps_x_.size()) - 1;
    const int radius_y = static_cast<int>(taps_y_.size()) - 1;
    const std::size_t pad_x = static_cast<std::size_t>(radius_x) * channels;
    const auto pad_y = static_cast<std::size_t>(radius_y);
    const std::size_t row = width_ * channels;
    const std::size_t strips = (row + kStrip - 1) / kStrip;
    const std::size_t strip_floats = (height_ + 2 * pad_y) * kStrip;
    const int threads = row * height_ < kFloatsForThreads ? 1 : options.threads;
    // Along rows, into strips with rows of zeros above and below.
    PooledVector<float> across(strips * strip_floats);
    for (std::size_t strip = 0; strip < strips; ++strip) {
        float* const first = across.data() + strip * strip_floats;
        std::fill_n(first, pad_y * kStrip, 0.0F);
        std::fill_n(first + (height_ + pad_y) * kStrip, pad_y * kStrip, 0.0F);
    }
    parallel_items(height_, threads, [&](const std::function<std::size_t()>& next) {
        std::vector<float> padded(row + 2 * pad_x, 0.0F);
        float* const inner = padded.data() + pad_x;
        for (std::size_t y = next(); y < height_; y = next()) {
            std::memcpy(inner, values + y * row, row * sizeof(float));
            if (options.before != nullptr) {
                multiply(inner, options.before + y * width_, width_, channels);
            }
            for (std::size_t strip = 0; strip < strips; ++strip) {
                const std::size_t x = strip * kStrip;
                kernels.convolve(inner + x, taps_x_.data(), radius_x,
                                 static_cast<std::ptrdiff_t>(channels), std::min(kStrip, row - x),
                                 across.data() + strip * strip_floats + (y + pad_y) * kStrip);
            }
        }
    });
    parallel_items(strips, threads, [&](const std::function<std::size_t()>& next) {
        for (std::size_t strip = next(); strip < strips; strip = next()) {
            const std::size_t x = strip * kStrip;
            const float* const first = across.data() + strip * strip_floats + pad_y * kStrip;
            for (std::size_t y = 0; y < height_; ++y) {
                kernels.convolve(first + y * kStrip, taps_y_.data(), radius_y, kStrip,
                                 std::min(kStrip, row - x), out + y * row + x);
            }
        }
    });
    if (options.after == nullptr) return;
    parallel_items(height_, threads, [&](const std::function<std::size_t()>& next) {
        for (std::size_t y = next(); y < height_; y = next()) {
            multiply(out + y * row, options.after + y * width_, width_, channels);
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
        std::memcpy(inner, values + (y * width_ + begin) * channels,
                    (end - begin) * channels * sizeof(float));
        if (before != nullptr) multiply(inner, before + y * width_ + begin, end - begin, channels);
        kernels.convolve(padded + pad_x * channels, taps_x_.data(), static_cast<int>(pad_x),
                         static_cast<std::ptrdiff_t>(channels), row, across);
    }
    for (std::size_t i = 0; i < rect.rows; ++i) {
        kernels.convolve(scratch.data() + (i + pad_y) * step, taps_y_.data(),
                         static_cast<int>(pad_y), static_cast<std::ptrdiff_t>(step), row,
                         out + i * row);
    }
}

}  // namespace weakseg
