// The kernel of position alone: the exact Gaussian sums but for its cut tails, on every grid.
#include <algorithm>
#include <cmath>
#include <string>
#include <utility>
#include <vector>

#include "testing.h"
#include "weakseg/position_kernel.h"

namespace weakseg::testing {
namespace {

struct Grid {
    std::size_t height;
    std::size_t width;

    std::size_t points() const { return height * width; }
    std::string told() const { return std::to_string(height) + " x " + std::to_string(width); }
};

std::vector<float> filter(const PositionKernel& kernel, std::size_t channels,
                          const std::vector<float>& values, const FilterOptions& options) {
    std::vector<float> out(values.size());
    kernel.filter(values.data(), channels, out.data(), options);
    return out;
}

/// x and y of every pixel, in standard deviations.
std::vector<float> places(Grid grid, float sigma_x, float sigma_y) {
    std::vector<float> features;
    for (std::size_t pixel = 0; pixel < grid.points(); ++pixel) {
        features.push_back(static_cast<float>(pixel % grid.width) / sigma_x);
        features.push_back(static_cast<float>(pixel / grid.width) / sigma_y);
    }
    return features;
}

void expect_exact_sums(Grid grid, float sigma_x, float sigma_y) {
    const auto values = uniforms(grid.points() * 2, 51);
    const PositionKernel kernel(grid.height, grid.width, sigma_x, sigma_y);
    const auto exact = exact_sums(places(grid, sigma_x, sigma_y), 2, values, 2);
    const double gap = relative_gap(filter(kernel, 2, values, rows()), exact);
    // Weights beyond four sigmas are cut off, and cells hold two pixels: measured at most 6e-5.
    expect(gap < 2e-4, "the exact sums:",
           grid.told() + ", sigmas " + std::to_string(sigma_x) + ", " + std::to_string(sigma_y) +
               ": " + std::to_string(gap));
}

void test_sums_are_exact_on_every_grid() {
    for (const Grid grid : {Grid{24, 31}, Grid{1, 1}, Grid{1, 50}, Grid{50, 1}, Grid{2, 3},
                            Grid{17, 64}, Grid{33, 16}, Grid{5, 130}}) {
        expect_exact_sums(grid, 3.0F, 3.0F);
        expect_exact_sums(grid, 1.0F, 7.0F);
    }
}

void test_summed_weights_are_sums_of_ones() {
    for (const Grid grid : {Grid{24, 31}, Grid{1, 1}, Grid{1, 50}, Grid{50, 1}, Grid{2, 3}}) {
        for (const float sigma : {0.3F, 3.0F, 100.0F}) {
            const PositionKernel kernel(grid.height, grid.width, sigma, 2.0F * sigma);
            std::vector<float> weights(grid.points());
            kernel.sum_weights(weights.data(), 1);
            const std::vector<float> ones(grid.points(), 1.0F);
            expect(relative_gap(weights, filter(kernel, 1, ones, rows())) < 1e-6,
                   "summed weights:", grid.told() + ", sigma " + std::to_string(sigma));
        }
    }
}

void test_sums_are_exact_at_every_reach() {
    for (const float sigma : {1e-3F, 0.05F, 0.3F, 1.0F, 10.0F, 100.0F, 1e6F}) {
        expect_exact_sums({24, 31}, sigma, sigma);
        expect_exact_sums({24, 31}, sigma, 2.0F);
    }
}

void test_weights_are_the_gaussians() {
    // Of one pixel: in the first and the second of a cell, in the middle and in a corner.
    const Grid grid{40, 61};
    for (const float sigma : {2.9F, 3.0F, 3.3F, 4.0F, 6.0F, 11.0F}) {
        const auto features = places(grid, sigma, sigma);
        const PositionKernel kernel(grid.height, grid.width, sigma, sigma);
        for (const std::size_t pixel : {std::size_t{0}, std::size_t{1}, 20 * grid.width + 30,
                                        21 * grid.width + 31, grid.points() - 1}) {
            std::vector<float> values(grid.points(), 0.0F);
            values[pixel] = 1.0F;
            const auto found = filter(kernel, 1, values, rows());
            double gap = 0.0;
            for (std::size_t i = 0; i < grid.points(); ++i) {
                const double x = features[2 * i] - features[2 * pixel];
                const double y = features[2 * i + 1] - features[2 * pixel + 1];
                const double exact = std::exp(-0.5 * (x * x + y * y));
                gap = std::max(gap, std::abs(static_cast<double>(found[i]) - exact));
            }
            // Measured at most 9.3e-4, of the pixel itself.
            expect(gap < 1e-3, "the Gaussian's weights:",
                   "sigma " + std::to_string(sigma) + ", pixel " + std::to_string(pixel) + ": " +
                       std::to_string(gap));
        }
    }
}

void test_kernel_is_its_own_transpose() {
    const Grid grid{41, 53};
    const PositionKernel kernel(grid.height, grid.width, 3.0F, 5.0F);
    const auto u = uniforms(grid.points(), 52);
    const auto v = uniforms(grid.points(), 53);
    const double forward = dot(u, filter(kernel, 1, v, rows()));
    const double backward = dot(v, filter(kernel, 1, u, rows()));
    expect(std::abs(forward - backward) < 1e-5 * forward, "u'Av = v'Au");
}

void test_channels_and_layouts_do_not_matter() {
    const Grid grid{19, 37};
    const auto points = static_cast<std::ptrdiff_t>(grid.points());
    const PositionKernel kernel(grid.height, grid.width, 3.0F, 3.0F);
    for (std::size_t channels = 1; channels <= 40; ++channels) {
        const auto values = uniforms(grid.points() * channels, 54);
        const auto by_rows = filter(kernel, channels, values, rows());
        const auto value_planes = transposed(values, channels);
        const auto by_planes = filter(kernel, channels, value_planes, planes());
        const std::string where = "C = " + std::to_string(channels);
        expect(relative_gap(by_planes, transposed(by_rows, channels)) < 1e-6,
               "planes and rows agree:", where);
        const std::vector<float> last(value_planes.end() - points, value_planes.end());
        const std::vector<float> found(by_planes.end() - points, by_planes.end());
        expect(relative_gap(found, filter(kernel, 1, last, planes())) < 1e-6,
               "channels do not mix:", where);
    }
}

void test_threads_and_instructions_change_nothing() {
    const Grid grid{150, 170};
    const auto values = uniforms(grid.points() * 3, 55);
    const PositionKernel kernel(grid.height, grid.width, 3.0F, 3.0F);
    const auto factors = uniforms(grid.points(), 56);
    FilterOptions scaled = rows();
    scaled.before = scaled.after = factors.data();
    for (FilterOptions options : {rows(), planes(), scaled}) {
        const auto serial = filter(kernel, 3, values, options);
        for (const int threads : {0, 2, 3, 7}) {
            options.threads = threads;
            expect(filter(kernel, 3, values, options) == serial,
                   "threads change nothing:", std::to_string(threads));
        }
    }
    const auto expected = filter(kernel, 3, values, planes(true, 1));
    const Instructions before = current_instructions();
    for (const Instructions set : supported_sets()) {
        use_instructions(set);
        const PositionKernel again(grid.height, grid.width, 3.0F, 3.0F);
        expect(relative_gap(filter(again, 3, values, planes(true, 1)), expected) < 1e-5,
               "the same sums:", name_of(set));
    }
    use_instructions(before);
}

}  // namespace
}  // namespace weakseg::testing

int main() {
    using namespace weakseg::testing;  // NOLINT: the tests' own names
    share_small_work();
    test_sums_are_exact_on_every_grid();
    test_summed_weights_are_sums_of_ones();
    test_sums_are_exact_at_every_reach();
    test_weights_are_the_gaussians();
    test_kernel_is_its_own_transpose();
    test_channels_and_layouts_do_not_matter();
    test_threads_and_instructions_change_nothing();
    return finish("position kernel");
}
