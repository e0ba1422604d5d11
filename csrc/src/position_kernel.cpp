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

}  // namespace weakseg
