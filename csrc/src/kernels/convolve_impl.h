// Convolution of rows with symmetric taps.
#pragma once

#include <cstddef>
#include <cstring>

#include "../tile_kernels.h"
#include "vectors_impl.h"

namespace weakseg {
namespace {

/// kVectors vectors of sums over taps; the two values of a tap lie k times `step` floats off.
template <int kVectors>
inline void convolve_at(const float* centre, const float* taps, int radius, std::ptrdiff_t step,
                        float* out) {
    Floats sum[kVectors];
    for (int v = 0; v < kVectors; ++v) sum[v] = load_floats(centre + v * kLanes) * taps[0];
    const float* below = centre;
    const float* above = centre;
    for (int k = 1; k <= radius; ++k) {
        below -= step;
        above += step;
        const Floats tap = Floats{} + taps[k];
        for (int v = 0; v < kVectors; ++v) {
            const Floats both = load_floats(below + v * kLanes) + load_floats(above + v * kLanes);
            sum[v] = multiply_add(both, tap, sum[v]);
        }
    }
    for (int v = 0; v < kVectors; ++v) store(out + v * kLanes, sum[v]);
}

void convolve_row(const float* centre, const float* taps, int radius, std::ptrdiff_t step,
                  std::size_t count, float* out) {
    std::size_t i = 0;
    for (; i + 4 * kLanes <= count; i += 4 * kLanes) {
        convolve_at<4>(centre + i, taps, radius, step, out + i);
    }
    for (; i + kLanes <= count; i += kLanes) {
        convolve_at<1>(centre + i, taps, radius, step, out + i);
    }
    for (; i < count; ++i) {
        float sum = centre[i] * taps[0];
        for (int k = 1; k <= radius; ++k) {
            sum += (centre[static_cast<std::ptrdiff_t>(i) - k * step] +
                    centre[static_cast<std::ptrdiff_t>(i) + k * step]) *
                   taps[k];
        }
        out[i] = sum;
    }
}

/// Sums of four rows at once, of one vector each: a row that is loaded counts for all of them.
constexpr int kWindowRows = 4;

template <int kWidth, int kRadius>
inline void convolve_window(const float* centre, const typename Vectors<kWidth>::Part* taps,
                            std::ptrdiff_t step, float* out, std::ptrdiff_t out_step) {
    using Part = typename Vectors<kWidth>::Part;
    Part sum[kWindowRows] = {};
#pragma GCC unroll 16
    for (int i = -kRadius; i < kWindowRows + kRadius; ++i) {
        Part row;
        std::memcpy(&row, centre + i * step, sizeof(row));
#pragma GCC unroll 4
        for (int y = 0; y < kWindowRows; ++y) {
            const int distance = i < y ? y - i : i - y;
            if (distance <= kRadius) sum[y] = multiply_add(row, taps[distance], sum[y]);
        }
    }
#pragma GCC unroll 4
    for (int y = 0; y < kWindowRows; ++y) {
        std::memcpy(out + y * out_step, &sum[y], sizeof(Part));
    }
}

/// Convolve as many whole windows as there are: returns the rows done, of `done` floats each.
template <int kWidth, int kRadius>
std::size_t convolve_windows(const float* centre, const float* taps, std::ptrdiff_t step,
                             std::size_t rows, std::size_t count, float* out,
                             std::ptrdiff_t out_step, std::size_t* done) {
    using Part = typename Vectors<kWidth>::Part;
    Part tap[kRadius + 1];
    for (int k = 0; k <= kRadius; ++k) tap[k] = Part{} + taps[k];
    *done = count / kWidth * kWidth;
    std::size_t row = 0;
    for (; row + kWindowRows <= rows; row += kWindowRows) {
        const auto y = static_cast<std::ptrdiff_t>(row);
        for (std::size_t i = 0; i < *done; i += kWidth) {
            convolve_window<kWidth, kRadius>(centre + y * step + i, tap, step,
                                             out + y * out_step + i, out_step);
        }
    }
    return row;
}

void convolve(const float* centre, const float* taps, int radius, std::ptrdiff_t step,
              std::size_t rows, std::size_t count, float* out, std::ptrdiff_t out_step) {
    constexpr int kRadius = kFastRadius;
    std::size_t rows_done = 0;
    std::size_t done = 0;
    if (radius == kRadius && count % kLanes == 0) {
        rows_done = convolve_windows<kLanes, kRadius>(centre, taps, step, rows, count, out,
                                                      out_step, &done);
    } else if (radius == kRadius && count % kWindowLanes == 0) {
        rows_done = convolve_windows<kWindowLanes, kRadius>(centre, taps, step, rows, count, out,
                                                            out_step, &done);
    } else if (radius == kRadius) {
        rows_done =
            convolve_windows<4, kRadius>(centre, taps, step, rows, count, out, out_step, &done);
    }
    for (std::size_t row = 0; row < rows; ++row) {
        const auto y = static_cast<std::ptrdiff_t>(row);
        const std::size_t first = row < rows_done ? done : 0;
        if (first == count) continue;
        convolve_row(centre + y * step + first, taps, radius, step, count - first,
                     out + y * out_step + first);
    }
}

}  // namespace
}  // namespace weakseg
