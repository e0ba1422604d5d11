// What the kernels' tests share: expectations that are counted, seeded numbers, exact sums.
#pragma once

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <random>
#include <string>
#include <vector>

#include "weakseg/instructions.h"
#include "weakseg/lattice.h"
#include "weakseg/parallel.h"

namespace weakseg::testing {

inline int failures = 0;

/// Count and tell what does not hold; `detail` says where.
inline void expect(bool holds, const char* what, const std::string& detail = "") {
    if (holds) return;
    std::printf("FAILED: %s %s\n", what, detail.c_str());
    ++failures;
}

/// Tell the outcome; the value for main to return.
inline int finish(const char* what) {
    if (failures == 0) std::printf("%s: all as expected\n", what);
    return failures == 0 ? 0 : 1;
}

/// Let threads share frames and loops as small as those of the tests.
inline void share_small_work() { set_points_per_thread(64); }

inline std::vector<float> normals(std::size_t count, unsigned seed, float deviation = 1.0F) {
    std::mt19937 rng(seed);
    std::normal_distribution<float> gaussian(0.0F, deviation);
    std::vector<float> drawn(count);
    for (float& value : drawn) value = gaussian(rng);
    return drawn;
}

inline std::vector<float> uniforms(std::size_t count, unsigned seed) {
    std::mt19937 rng(seed);
    std::uniform_real_distribution<float> uniform;
    std::vector<float> drawn(count);
    for (float& value : drawn) value = uniform(rng);
    return drawn;
}

/// Levels of a frame with soft shades and some noise, (height, width, 3).
inline std::vector<std::uint8_t> shaded_frame(std::size_t height, std::size_t width,
                                              unsigned seed) {
    std::mt19937 rng(seed);
    std::normal_distribution<double> noise(0.0, 3.0);
    std::vector<std::uint8_t> levels;
    levels.reserve(height * width * 3);
    for (std::size_t y = 0; y < height; ++y) {
        for (std::size_t x = 0; x < width; ++x) {
            const double shade = std::sin(0.13 * static_cast<double>(x)) +
                                 std::cos(0.21 * static_cast<double>(y) + 0.05 * seed);
            for (int c = 0; c < 3; ++c) {
                const double level = 120.0 + 35.0 * shade + 20.0 * c + noise(rng);
                levels.push_back(static_cast<std::uint8_t>(level < 0.0     ? 0.0
                                                           : level > 255.0 ? 255.0
                                                                           : level));
            }
        }
    }
    return levels;
}

/// (rows, columns) -> (columns, rows).
template <typename Value>
std::vector<Value> transposed(const std::vector<Value>& values, std::size_t columns) {
    const std::size_t rows = values.size() / columns;
    std::vector<Value> turned(values.size());
    for (std::size_t r = 0; r < rows; ++r) {
        for (std::size_t c = 0; c < columns; ++c) turned[c * rows + r] = values[r * columns + c];
    }
    return turned;
}

/// Place and colour of a frame's pixels in sigmas: (height width, 5).
///
/// Colours are red, green and blue, or turned as the lattice turns them unless it is compatible:
/// r - b, r + b - 2 g and r + g + b at length 1. Distances are the same.
template <typename Level>
std::vector<float> frame_features(const std::vector<Level>& levels, std::size_t height,
                                  std::size_t width, float sigma_xy, float sigma_rgb,
                                  bool turned = true) {
    std::vector<float> features;
    features.reserve(height * width * 5);
    for (std::size_t pixel = 0; pixel < height * width; ++pixel) {
        features.push_back(static_cast<float>(pixel % width) / sigma_xy);
        features.push_back(static_cast<float>(pixel / width) / sigma_xy);
        const double red = levels[pixel * 3];
        const double green = levels[pixel * 3 + 1];
        const double blue = levels[pixel * 3 + 2];
        if (turned) {
            for (const double colour :
                 {(red - blue) / std::sqrt(2.0), (red + blue - 2.0 * green) / std::sqrt(6.0),
                  (red + green + blue) / std::sqrt(3.0)}) {
                features.push_back(static_cast<float>(colour / static_cast<double>(sigma_rgb)));
            }
        } else {
            for (const double colour : {red, green, blue}) {
                features.push_back(static_cast<float>(colour) / sigma_rgb);
            }
        }
    }
    return features;
}

/// Sums over j of exp(-|f_i - f_j|^2 / 2) values_j, (points, channels).
inline std::vector<double> exact_sums(const std::vector<float>& features, std::size_t dims,
                                      const std::vector<float>& values, std::size_t channels) {
    const std::size_t points = features.size() / dims;
    std::vector<double> sums(points * channels, 0.0);
    for (std::size_t i = 0; i < points; ++i) {
        for (std::size_t j = 0; j < points; ++j) {
            double distance = 0.0;
            for (std::size_t a = 0; a < dims; ++a) {
                const double gap = static_cast<double>(features[i * dims + a]) -
                                   static_cast<double>(features[j * dims + a]);
                distance += gap * gap;
            }
            const double weight = std::exp(-0.5 * distance);
            for (std::size_t c = 0; c < channels; ++c) {
                sums[i * channels + c] += weight * static_cast<double>(values[j * channels + c]);
            }
        }
    }
    return sums;
}

inline std::vector<float> filter(const Lattice& lattice, const std::vector<float>& values,
                                 const FilterOptions& options) {
    std::vector<float> out(values.size());
    lattice.filter(values.data(), values.size() / lattice.points(), out.data(), options);
    return out;
}

inline LatticeOptions built(int threads = 1, bool compatible = false,
                            Quality quality = Quality::kStandard) {
    LatticeOptions options;
    options.threads = threads;
    options.compatible = compatible;
    options.quality = quality;
    return options;
}

/// Values and sums are (points, channels).
inline FilterOptions rows(bool symmetric = true, int threads = 1) {
    FilterOptions options;
    options.symmetric = symmetric;
    options.threads = threads;
    return options;
}

/// Values and sums are (channels, points).
inline FilterOptions planes(bool symmetric = true, int threads = 1) {
    FilterOptions options = rows(symmetric, threads);
    options.planes = true;
    return options;
}

inline double dot(const std::vector<float>& a, const std::vector<float>& b) {
    double sum = 0.0;
    for (std::size_t i = 0; i < a.size(); ++i) sum += static_cast<double>(a[i]) * b[i];
    return sum;
}

/// |found - expected| / |expected| in L2; infinite where one is not finite.
template <typename Found, typename Expected>
double relative_gap(const Found& found, const Expected& expected) {
    double error = 0.0;
    double norm = 0.0;
    for (std::size_t i = 0; i < found.size(); ++i) {
        const double gap = static_cast<double>(found[i]) - static_cast<double>(expected[i]);
        error += gap * gap;
        norm += static_cast<double>(expected[i]) * static_cast<double>(expected[i]);
    }
    if (error == 0.0) return 0.0;
    const double gap = std::sqrt(error / norm);
    return std::isfinite(gap) ? gap : INFINITY;
}

/// max |found - expected|; infinite where one is not finite.
template <typename Found, typename Expected>
double largest_gap(const Found& found, const Expected& expected) {
    double largest = 0.0;
    for (std::size_t i = 0; i < found.size(); ++i) {
        const double gap =
            std::abs(static_cast<double>(found[i]) - static_cast<double>(expected[i]));
        if (!std::isfinite(gap)) return INFINITY;
        if (gap > largest) largest = gap;
    }
    return largest;
}

/// Rows of (points, channels) sums divided by the sums of ones.
template <typename Sums>
std::vector<double> row_means(const Sums& sums, const Sums& sums_of_ones) {
    const std::size_t channels = sums.size() / sums_of_ones.size();
    std::vector<double> means(sums.size());
    for (std::size_t i = 0; i < sums.size(); ++i) {
        means[i] = static_cast<double>(sums[i]) / static_cast<double>(sums_of_ones[i / channels]);
    }
    return means;
}

/// The sets that this build and this processor have.
inline std::vector<Instructions> supported_sets() {
    std::vector<Instructions> sets;
    for (const Instructions set :
         {Instructions::kPortable, Instructions::kAvx2, Instructions::kAvx512}) {
        if (is_supported(set)) sets.push_back(set);
    }
    return sets;
}

}  // namespace weakseg::testing
