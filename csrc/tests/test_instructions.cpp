// Every instruction set computes the same, and a lattice outlives the choice of another.
#include <string>
#include <utility>
#include <vector>

#include "testing.h"
#include "weakseg/instructions.h"
#include "weakseg/lattice.h"

namespace weakseg::testing {
namespace {

/// Take a set for one scope.
class Use {
  public:
    explicit Use(Instructions set) : before_(current_instructions()) { use_instructions(set); }
    ~Use() { use_instructions(before_); }
    Use(const Use&) = delete;
    Use& operator=(const Use&) = delete;

  private:
    Instructions before_;
};

/// Build and filter with each set, and compare with the portable one.
template <typename Build>
void expect_sets_agree(const Build& build, std::size_t points, const std::string& where) {
    for (const std::size_t channels : {1U, 2U, 5U, 21U}) {
        const auto values = uniforms(points * channels, 41);
        const Use portable(Instructions::kPortable);
        const Lattice first = build();
        const auto expected = filter(first, values, planes());
        for (const Instructions set : supported_sets()) {
            const Use chosen(set);
            const std::string place =
                std::string(name_of(set)) + ", " + where + ", C = " + std::to_string(channels);
            const Lattice lattice = build();
            // Measured at most 8e-8: no set rounds a point into another simplex.
            expect(lattice.vertices() == first.vertices(), "the same vertices:", place);
            expect(relative_gap(filter(lattice, values, planes()), expected) < 1e-5,
                   "the same sums:", place);
            expect(relative_gap(filter(first, values, planes()), expected) < 1e-5,
                   "a lattice built by another set:", place);
            const auto one_way = filter(lattice, values, planes(false));
            const Use again(Instructions::kPortable);
            expect(relative_gap(one_way, filter(first, values, planes(false))) < 1e-5,
                   "the same sums in one order:", place);
        }
    }
}

void test_names() {
    expect(is_supported(Instructions::kPortable), "portable code runs everywhere");
    expect(is_supported(current_instructions()), "the set in use is supported");
    const auto sets = supported_sets();
    expect(sets.back() == current_instructions(), "the fastest set is in use");
    for (const Instructions set : sets) {
        const Use chosen(set);
        expect(current_instructions() == set, "a chosen set is in use:", name_of(set));
    }
}

void test_sets_agree_on_frames() {
    for (const auto& [height, width] :
         {std::pair<std::size_t, std::size_t>{70, 131}, {64, 64}, {1, 97}, {53, 1}}) {
        const auto levels = shaded_frame(height, width, 42);
        for (const auto& [sigma_xy, sigma_rgb] : {std::pair{30.0F, 15.0F}, std::pair{3.0F, 0.7F}}) {
            const Frame frame{levels.data(), nullptr, height, width, false};
            expect_sets_agree(
                [&, xy = sigma_xy, rgb = sigma_rgb] { return Lattice(frame, xy, rgb, built()); },
                height * width,
                std::to_string(height) + " x " + std::to_string(width) + ", sigma_rgb " +
                    std::to_string(sigma_rgb));
        }
    }
}

void test_sets_agree_on_features() {
    for (int dims = 1; dims <= kMaxDims; ++dims) {
        const auto features = normals(600 * static_cast<std::size_t>(dims), 43);
        expect_sets_agree([&] { return Lattice(features.data(), 600, dims, built()); }, 600,
                          "d = " + std::to_string(dims));
    }
}

}  // namespace
}  // namespace weakseg::testing

int main() {
    using namespace weakseg::testing;  // NOLINT: the tests' own names
    test_names();
    test_sets_agree_on_frames();
    test_sets_agree_on_features();
    return finish("instruction sets");
}
