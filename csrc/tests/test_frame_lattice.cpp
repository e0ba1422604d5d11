// The lattice over a frame: the same operator as over its pixels' features, for every frame.
#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <string>
#include <utility>
#include <vector>

#include "testing.h"
#include "weakseg/lattice.h"

namespace weakseg::testing {
namespace {

using Levels = std::vector<std::uint8_t>;

struct Size {
    std::size_t height;
    std::size_t width;
};

Lattice build(const Levels& levels, Size size, float sigma_xy, float sigma_rgb,
              const LatticeOptions& options = built()) {
    const Frame frame{levels.data(), nullptr, size.height, size.width, false};
    return {frame, sigma_xy, sigma_rgb, options};
}

std::string where(Size size, float sigma_xy, float sigma_rgb) {
    return std::to_string(size.height) + " x " + std::to_string(size.width) + ", sigma_xy " +
           std::to_string(sigma_xy) + ", sigma_rgb " + std::to_string(sigma_rgb);
}

/// The frame's lattice and the lattice over its features do the same.
void expect_same_operator(const Levels& levels, Size size, float sigma_xy, float sigma_rgb) {
    const std::size_t points = size.height * size.width;
    const std::string place = where(size, sigma_xy, sigma_rgb);
    for (const bool compatible : {false, true}) {
        const auto features =
            frame_features(levels, size.height, size.width, sigma_xy, sigma_rgb, !compatible);
        const Lattice expected(features.data(), points, 5, built(1, compatible));
        const Lattice found = build(levels, size, sigma_xy, sigma_rgb, built(1, compatible));
        expect(found.points() == points && found.dims() == 5, "sizes kept:", place);
        for (const bool symmetric : {true, false}) {
            const auto values = uniforms(points * 2, 31);
            const double gap = relative_gap(filter(found, values, rows(symmetric)),
                                            filter(expected, values, rows(symmetric)));
            // Turned colours of whole levels often lie between two simplices, and rounding chooses:
            // measured at most 1.6 % then, and 6e-7 in compatible mode.
            expect(gap < (compatible ? 1e-5 : 0.03), "a frame is its features:",
                   place + (compatible ? ", compatible: " : ": ") + std::to_string(gap));
        }
    }
}

void test_a_frame_is_its_features() {
    for (const Size size :
         {Size{48, 64}, Size{64, 64}, Size{65, 63}, Size{37, 131}, Size{130, 70}}) {
        for (const auto& [sigma_xy, sigma_rgb] :
             {std::pair{10.0F, 15.0F}, std::pair{80.0F, 13.0F}, std::pair{3.0F, 5.0F}}) {
            expect_same_operator(shaded_frame(size.height, size.width, 1), size, sigma_xy,
                                 sigma_rgb);
        }
    }
}

void test_a_frame_of_fractions_is_its_features_more_closely() {
    for (const Size size : {Size{48, 64}, Size{64, 64}, Size{65, 63}, Size{37, 131}, Size{130, 70},
                            Size{1, 200}, Size{200, 1}, Size{65, 2}, Size{1, 1}}) {
        const std::size_t points = size.height * size.width;
        const Levels whole = shaded_frame(size.height, size.width, 10);
        std::vector<float> levels = uniforms(points * 3, 37);
        for (std::size_t i = 0; i < levels.size(); ++i) levels[i] += static_cast<float>(whole[i]);
        const auto values = uniforms(points * 2, 38);
        const Frame frame{nullptr, levels.data(), size.height, size.width, false};
        for (const auto& [sigma_xy, sigma_rgb] :
             {std::pair{10.0F, 15.0F}, std::pair{80.0F, 13.0F}, std::pair{3.0F, 5.0F}}) {
            const auto features =
                frame_features(levels, size.height, size.width, sigma_xy, sigma_rgb);
            for (const Quality quality : {Quality::kStandard, Quality::kHigh}) {
                const Lattice expected(features.data(), points, 5, built(1, false, quality));
                const Lattice found(frame, sigma_xy, sigma_rgb, built(1, false, quality));
                const double gap =
                    relative_gap(filter(found, values, rows()), filter(expected, values, rows()));
                // Only the first column, at 0, lies between simplices, and rounding chooses: then
                // a neighbour can be missing, but not of high quality. Measured at most 1e-5 of
                // high quality, 9e-4, and 0.7 % of frames that are first columns for the most part.
                const double most = size.width <= 2 ? 0.015 : 0.002;
                expect(gap < (quality == Quality::kHigh ? 1e-4 : most),
                       "a frame of fractions is its features:",
                       where(size, sigma_xy, sigma_rgb) + ": " + std::to_string(gap));
            }
        }
    }
}

void test_thin_frames() {
    for (const Size size :
         {Size{1, 1}, Size{1, 2}, Size{2, 1}, Size{1, 7}, Size{7, 1}, Size{1, 200}, Size{200, 1},
          Size{3, 5}, Size{1, 64}, Size{64, 1}, Size{1, 65}, Size{2, 129}}) {
        expect_same_operator(shaded_frame(size.height, size.width, 2), size, 10.0F, 15.0F);
    }
}

void test_extreme_sigmas() {
    const Size size{40, 70};
    const Levels levels = shaded_frame(size.height, size.width, 3);
    // From every pixel on its own to all in one cell; features stay within kMaxFeature.
    for (const float sigma_xy : {1e-3F, 0.1F, 1.0F, 1e3F, 1e6F}) {
        for (const float sigma_rgb : {1e-3F, 0.1F, 1.0F, 1e3F, 1e6F}) {
            expect_same_operator(levels, size, sigma_xy, sigma_rgb);
        }
    }
}

void test_noise_and_constant_frames() {
    const Size size{70, 90};
    std::mt19937 rng(4);
    Levels noise(size.height * size.width * 3);
    for (auto& level : noise) level = static_cast<std::uint8_t>(rng() & 255U);
    expect_same_operator(noise, size, 20.0F, 15.0F);
    expect_same_operator(noise, size, 20.0F, 1.0F);
    Levels black_and_white(noise);
    for (auto& level : black_and_white) level = level > 127 ? 255 : 0;
    expect_same_operator(black_and_white, size, 20.0F, 15.0F);
    for (const int level : {0, 77, 255}) {
        const Levels constant(noise.size(), static_cast<std::uint8_t>(level));
        expect_same_operator(constant, size, 20.0F, 15.0F);
    }
}

void test_means_are_near_the_exact_ones() {
    const Size size{44, 60};
    const Levels levels = shaded_frame(size.height, size.width, 5);
    const std::size_t points = size.height * size.width;
    const auto features = frame_features(levels, size.height, size.width, 8.0F, 15.0F);
    const auto values = uniforms(points * 2, 32);
    const std::vector<float> ones(points, 1.0F);
    const auto exact =
        row_means(exact_sums(features, 5, values, 2), exact_sums(features, 5, ones, 1));
    const auto error = [&](Quality quality) {
        const Lattice lattice = build(levels, size, 8.0F, 15.0F, built(1, false, quality));
        return relative_gap(
            row_means(filter(lattice, values, rows()), filter(lattice, ones, rows())), exact);
    };
    // Measured: 0.6 %, and 0.4 % of high quality.
    expect(error(Quality::kStandard) < 0.01, "means near the exact ones");
    expect(error(Quality::kHigh) < 0.8 * error(Quality::kStandard), "high quality is nearer");
}

void test_layouts_of_a_frame() {
    const Size size{33, 67};
    const Levels levels = shaded_frame(size.height, size.width, 6);
    const std::vector<float> wide(levels.begin(), levels.end());
    const Levels level_planes = transposed(levels, 3);
    const std::vector<float> wide_planes = transposed(wide, 3);
    const auto values = uniforms(size.height * size.width * 2, 33);
    const auto expected = filter(build(levels, size, 10.0F, 15.0F), values, rows());
    const std::vector<Frame> frames{
        {level_planes.data(), nullptr, size.height, size.width, true},
        {nullptr, wide.data(), size.height, size.width, false},
        {nullptr, wide_planes.data(), size.height, size.width, true},
    };
    for (const Frame& frame : frames) {
        const Lattice lattice(frame, 10.0F, 15.0F, built());
        expect(relative_gap(filter(lattice, values, rows()), expected) < 1e-6,
               "bytes and floats, pixels and planes: the same frame");
    }
}

void test_levels_need_not_be_those_of_a_picture() {
    const Size size{50, 70};
    for (const float spread : {1.0F, 30.0F, 1e4F}) {
        const auto levels = normals(size.height * size.width * 3, 34, spread);
        const float sigma_rgb = spread / 5.0F;
        const auto features = frame_features(levels, size.height, size.width, 10.0F, sigma_rgb);
        const auto values = uniforms(size.height * size.width, 35);
        const Lattice expected(features.data(), values.size(), 5, built());
        const Frame frame{nullptr, levels.data(), size.height, size.width, false};
        const Lattice found(frame, 10.0F, sigma_rgb, built());
        // Levels at random hardly ever lie between simplices: measured at most 2e-4.
        expect(relative_gap(filter(found, values, rows()), filter(expected, values, rows())) < 1e-3,
               "any finite level: spread", std::to_string(spread));
    }
}

void test_channels_and_layouts_of_values() {
    const Size size{35, 70};
    const std::size_t points = size.height * size.width;
    const Lattice lattice = build(shaded_frame(size.height, size.width, 7), size, 10.0F, 15.0F);
    for (std::size_t channels = 1; channels <= 40; ++channels) {
        const auto values = uniforms(points * channels, static_cast<unsigned>(36 + channels));
        const auto by_rows = filter(lattice, values, rows());
        const auto value_planes = transposed(values, channels);
        const auto by_planes = filter(lattice, value_planes, planes());
        expect(relative_gap(by_planes, transposed(by_rows, channels)) < 1e-6,
               "planes and rows agree: C =", std::to_string(channels));
        const std::vector<float> last(value_planes.end() - static_cast<std::ptrdiff_t>(points),
                                      value_planes.end());
        const std::vector<float> found(by_planes.end() - static_cast<std::ptrdiff_t>(points),
                                       by_planes.end());
        expect(relative_gap(found, filter(lattice, last, planes())) < 1e-6,
               "channels do not mix: C =", std::to_string(channels));
    }
}

void test_threads_change_nothing() {
    const Size size{150, 131};
    const std::size_t points = size.height * size.width;
    const Levels levels = shaded_frame(size.height, size.width, 8);
    // Few vertices, and nearly as many as there can be.
    for (const float sigma_rgb : {15.0F, 0.5F}) {
        for (LatticeOptions options : {built(), built(1, false, Quality::kHigh), built(1, true)}) {
            const Lattice serial = build(levels, size, 30.0F, sigma_rgb, options);
            for (const int threads : {0, 2, 3, 7}) {
                options.threads = threads;
                const Lattice lattice = build(levels, size, 30.0F, sigma_rgb, options);
                const std::string place =
                    std::to_string(threads) + ", sigma_rgb " + std::to_string(sigma_rgb);
                expect(lattice.vertices() == serial.vertices(), "the same vertices:", place);
                for (const std::size_t channels : {1U, 2U, 5U, 21U}) {
                    const auto values = uniforms(points * channels, 77);
                    expect(filter(lattice, values, planes(true, threads)) ==
                               filter(serial, values, planes(true, 1)),
                           "threads change nothing:", place);
                    expect(filter(lattice, values, rows(false, threads)) ==
                               filter(serial, values, rows(false, 1)),
                           "threads change nothing, rows in one order:", place);
                }
            }
        }
    }
}

/// Of a point that is no number, only those that share vertices with it see anything: the same
/// with any instructions and threads.
void test_points_that_are_no_numbers_reach_the_same_others() {
    const Size size{70, 81};
    const std::size_t points = size.height * size.width;
    const Levels levels = shaded_frame(size.height, size.width, 12);
    auto factors = uniforms(points, 80);
    factors[3 * size.width + 7] = std::numeric_limits<float>::quiet_NaN();
    const Instructions before = current_instructions();
    for (const std::size_t channels : {1U, 2U, 5U}) {
        auto values = uniforms(points * channels, 81);
        values[(60 * size.width + 70) * channels] = std::numeric_limits<float>::quiet_NaN();
        std::vector<bool> expected;
        for (const Instructions set : supported_sets()) {
            use_instructions(set);
            for (const int threads : {1, 3}) {
                const Lattice lattice = build(levels, size, 5.0F, 10.0F, built(threads));
                FilterOptions options = rows(true, threads);
                options.before = factors.data();
                std::vector<bool> found;
                for (const float value : filter(lattice, values, options)) {
                    found.push_back(std::isnan(value));
                }
                if (expected.empty()) expected = found;
                const auto lost = std::count(found.begin(), found.end(), true);
                expect(lost > 0 && lost < static_cast<std::ptrdiff_t>(found.size()) / 2,
                       "some points are lost, most are not: C =", std::to_string(channels));
                expect(found == expected, "the same points are lost:", name_of(set));
            }
        }
    }
    use_instructions(before);
}

void test_symmetric_filter_is_its_own_transpose() {
    const Size size{50, 66};
    const std::size_t points = size.height * size.width;
    const Lattice lattice = build(shaded_frame(size.height, size.width, 9), size, 12.0F, 15.0F);
    const auto u = uniforms(points, 78);
    const auto v = uniforms(points, 79);
    const double forward = dot(u, filter(lattice, v, rows()));
    const double backward = dot(v, filter(lattice, u, rows()));
    expect(std::abs(forward - backward) < 1e-5 * forward, "u'Av = v'Au");
}

}  // namespace
}  // namespace weakseg::testing

int main() {
    using namespace weakseg::testing;  // NOLINT: the tests' own names
    share_small_work();
    test_a_frame_is_its_features();
    test_a_frame_of_fractions_is_its_features_more_closely();
    test_thin_frames();
    test_extreme_sigmas();
    test_noise_and_constant_frames();
    test_means_are_near_the_exact_ones();
    test_layouts_of_a_frame();
    test_levels_need_not_be_those_of_a_picture();
    test_channels_and_layouts_of_values();
    test_threads_change_nothing();
    test_points_that_are_no_numbers_reach_the_same_others();
    test_symmetric_filter_is_its_own_transpose();
    return finish("lattice over a frame");
}
