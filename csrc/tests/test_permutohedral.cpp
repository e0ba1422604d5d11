// Check the lattice against exact sums, its transpose, and itself on other thread counts.
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <random>
#include <vector>

#include "weakseg/permutohedral.h"

namespace {

int failures = 0;

void expect(bool holds, const char* what) {
    if (holds) return;
    std::printf("FAILED: %s\n", what);
    ++failures;
}

std::vector<float> draw(std::size_t count, unsigned seed, bool normal) {
    std::mt19937 rng(seed);
    std::normal_distribution<float> gaussian;
    std::uniform_real_distribution<float> uniform;
    std::vector<float> drawn(count);
    for (float& value : drawn) value = normal ? gaussian(rng) : uniform(rng);
    return drawn;
}

std::vector<double> exact_sums(const std::vector<float>& features, std::size_t dims,
                               const std::vector<float>& values, std::size_t channels) {
    const std::size_t points = features.size() / dims;
    std::vector<double> sums(points * channels, 0.0);
    for (std::size_t i = 0; i < points; ++i) {
        for (std::size_t j = 0; j < points; ++j) {
            double distance = 0.0;
            for (std::size_t a = 0; a < dims; ++a) {
                const double gap = features[i * dims + a] - features[j * dims + a];
                distance += gap * gap;
            }
            for (std::size_t c = 0; c < channels; ++c) {
                sums[i * channels + c] += std::exp(-0.5 * distance) * values[j * channels + c];
            }
        }
    }
    return sums;
}

std::vector<float> filter(const weakseg::Permutohedral& lattice, const std::vector<float>& values,
                          bool symmetric, int threads) {
    std::vector<float> out(values.size());
    lattice.filter(values.data(), values.size() / lattice.points(), out.data(), symmetric, threads);
    return out;
}

double dot(const std::vector<float>& a, const std::vector<float>& b) {
    double sum = 0.0;
    for (std::size_t i = 0; i < a.size(); ++i) sum += static_cast<double>(a[i]) * b[i];
    return sum;
}

void test_sums_are_near_the_exact_ones() {
    // The lattice only approximates: measured 1.5 % (d = 1) to 7 % (d = 5) on these points.
    for (const std::size_t dims : {1U, 2U, 3U, 5U}) {
        for (const std::size_t channels : {1U, 2U, 5U}) {
            const auto features = draw(1500 * dims, 1, true);
            const auto values = draw(1500 * channels, 2, false);
            const weakseg::Permutohedral lattice(features.data(), 1500, static_cast<int>(dims), 1);
            const auto exact = exact_sums(features, dims, values, channels);
            const auto found = filter(lattice, values, true, 1);
            double error = 0.0;
            double norm = 0.0;
            for (std::size_t i = 0; i < exact.size(); ++i) {
                error += (found[i] - exact[i]) * (found[i] - exact[i]);
                norm += exact[i] * exact[i];
            }
            expect(std::sqrt(error / norm) < 0.1, "sums are near the exact ones");
        }
    }
}

void test_symmetric_filter_is_its_own_transpose() {
    const auto features = draw(500 * 5, 3, true);
    const weakseg::Permutohedral lattice(features.data(), 500, 5, 1);
    const auto u = draw(500, 4, false);
    const auto v = draw(500, 5, false);
    const double forward = dot(u, filter(lattice, v, true, 1));
    const double backward = dot(v, filter(lattice, u, true, 1));
    expect(std::abs(forward - backward) < 1e-5 * forward, "symmetric: u'Av = v'Au");
    const double one_way = dot(u, filter(lattice, v, false, 1));
    const double other_way = dot(v, filter(lattice, u, false, 1));
    expect(std::abs(one_way - other_way) > 1e-5 * forward, "one order alone is not symmetric");
    expect(std::abs(one_way + other_way - forward - backward) < 1e-5 * forward,
           "symmetric is the mean of both orders");
}

void test_threads_change_nothing() {
    const auto features = draw(60000 * 3, 6, true);
    const auto values = draw(60000 * 2, 7, false);
    const weakseg::Permutohedral serial(features.data(), 60000, 3, 1);
    const auto expected = filter(serial, values, true, 1);
    for (const int threads : {0, 2, 7}) {
        const weakseg::Permutohedral lattice(features.data(), 60000, 3, threads);
        expect(filter(lattice, values, true, threads) == expected, "threads change nothing");
    }
}

void test_any_dimension_up_to_16() {
    for (int dims = 1; dims <= weakseg::kMaxDims; ++dims) {
        const auto features = draw(50 * static_cast<std::size_t>(dims), 8, true);
        const weakseg::Permutohedral lattice(features.data(), 50, dims, 1);
        const auto out = filter(lattice, draw(50, 9, false), true, 1);
        expect(std::all_of(out.begin(), out.end(),
                           [](float value) { return std::isfinite(value) && value > 0.0F; }),
               "positive values stay positive");
    }
}

void test_far_points_keep_apart() {
    const std::vector<float> features{-weakseg::kMaxFeature, weakseg::kMaxFeature};
    const weakseg::Permutohedral lattice(features.data(), 2, 1, 1);
    const auto out = filter(lattice, {1.0F, 0.0F}, true, 1);
    expect(out[0] > 0.5F && out[1] == 0.0F, "far points keep apart");
}

void test_equal_points_share_alike() {
    const std::vector<float> features(300, 0.0F);
    const weakseg::Permutohedral lattice(features.data(), 100, 3, 1);
    expect(lattice.vertices() == 4, "equal points share one simplex");
    const auto out = filter(lattice, std::vector<float>(100, 1.0F), true, 1);
    expect(std::all_of(out.begin(), out.end(), [&](float value) { return value == out[0]; }),
           "equal points share alike");
}

}  // namespace

int main() {
    test_sums_are_near_the_exact_ones();
    test_symmetric_filter_is_its_own_transpose();
    test_threads_change_nothing();
    test_any_dimension_up_to_16();
    test_far_points_keep_apart();
    test_equal_points_share_alike();
    if (failures == 0) std::printf("all kernels agree\n");
    return failures == 0 ? 0 : 1;
}
