#include "weakseg/position_kernel.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "pool.h"
#include "strided_copy.h"
#include "tile_kernels.h"
#include "weakseg/parallel.h"

namespace weakseg {

namespace {

/// Rows that a thread convolves at a time.
constexpr std::size_t kBand = 32;

std::vector<float> taps_of(float sigma, std::size_t size) {
    // exp(-4.8^2 / 2) is 1e-5.
    const double reach = std::ceil(4.8 * static_cast<double>(sigma));
    const auto radius = static_cast<std::size_t>(std::min(reach, static_cast<double>(size - 1)));
    std::vector<float> taps(radius + 1);
    for (std::size_t i = 0; i < taps.size(); ++i) {
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
    if (options.planes || channels == 1) {
        for (std::size_t c = 0; c < channels; ++c) {
            filter_plane(values + c * points(), out + c * points(), options);
        }
        return;
    }
    PooledVector<float> planes(channels * points());
    copy_strided({values, channels, 1}, {planes.data(), 1, points()}, points(), channels);
    for (std::size_t c = 0; c < channels; ++c) {
        float* plane = planes.data() + c * points();
        filter_plane(plane, plane, options);
    }
    copy_strided({planes.data(), 1, points()}, {out, channels, 1}, points(), channels);
}

void PositionKernel::filter_plane(const float* values, float* out,
                                  const FilterOptions& options) const {
    const TileKernels& kernels = tile_kernels();
    const int radius_x = static_cast<int>(taps_x_.size()) - 1;
    const int radius_y = static_cast<int>(taps_y_.size()) - 1;
    const std::size_t pad = taps_x_.size() - 1;
    const std::size_t bands = (height_ + kBand - 1) / kBand;
    const int threads = points() < 2 * kTilePoints ? 1 : options.threads;
    PooledVector<float> across(points());
    parallel_items(bands, threads, [&](const std::function<std::size_t()>& next) {
        PooledVector<float> padded(width_ + 2 * pad);
        std::fill(padded.begin(), padded.end(), 0.0F);
        for (std::size_t band = next(); band < bands; band = next()) {
            const std::size_t end = std::min(height_, (band + 1) * kBand);
            for (std::size_t y = band * kBand; y < end; ++y) {
                float* row = padded.data() + pad;
                std::memcpy(row, values + y * width_, width_ * sizeof(float));
                if (options.before != nullptr) {
                    const float* factor = options.before + y * width_;
                    for (std::size_t x = 0; x < width_; ++x) row[x] *= factor[x];
                }
                kernels.convolve_row(padded.data(), taps_x_.data(), radius_x, width_,
                                     across.data() + y * width_);
            }
        }
    });
    const std::vector<float> zeros(width_, 0.0F);
    parallel_items(bands, threads, [&](const std::function<std::size_t()>& next) {
        std::vector<const float*> rows(2 * static_cast<std::size_t>(radius_y) + 1);
        for (std::size_t band = next(); band < bands; band = next()) {
            const std::size_t end = std::min(height_, (band + 1) * kBand);
            for (std::size_t y = band * kBand; y < end; ++y) {
                for (std::size_t i = 0; i < rows.size(); ++i) {
                    const std::size_t at = y + i - static_cast<std::size_t>(radius_y);
                    rows[i] = at < height_ ? across.data() + at * width_ : zeros.data();
                }
                float* to = out + y * width_;
                kernels.convolve_column(rows.data() + radius_y, taps_y_.data(), radius_y, width_,
                                        to);
                if (options.after != nullptr) {
                    const float* factor = options.after + y * width_;
                    for (std::size_t x = 0; x < width_; ++x) to[x] *= factor[x];
                }
            }
        }
    });
}

}  // namespace weakseg
