// However mean field is computed - by tiles or by whole kernels, of rows or of planes, on any
// threads, by any instructions, of energies of any size - it is the same.
#include <algorithm>
#include <cmath>
#include <string>
#include <vector>

#include "testing.h"
#include "weakseg/lattice.h"
#include "weakseg/mean_field.h"
#include "weakseg/position_kernel.h"

namespace weakseg::testing {
namespace {

constexpr Normalisation kNormalisations[] = {Normalisation::kNone, Normalisation::kBefore,
                                             Normalisation::kAfter, Normalisation::kSymmetric};

/// (labels, labels) of a Potts model: like labels attract.
std::vector<float> potts(std::size_t labels, float weight) {
    std::vector<float> matrix(labels * labels, 0.0F);
    for (std::size_t k = 0; k < labels; ++k) matrix[k * labels + k] = -weight;
    return matrix;
}

/// Kernels of one frame: tiles serve their models, unless one asks for whole kernels.
class FrameModel {
  public:
    FrameModel(std::size_t height, std::size_t width)
        : points_(height * width),
          levels_(shaded_frame(height, width, 71)),
          smooth_({levels_.data(), nullptr, height, width, false}, 20.0F, 13.0F, built()),
          sharp_({levels_.data(), nullptr, height, width, false}, 5.0F, 2.0F, built()),
          position_(height, width, 3.0F, 2.0F),
          wide_(height, width, 4.5F, 3.5F),
          flat_(height, width, 2.0F, 6.0F),
          none_(std::vector<float>(points_ * 2, 0.0F).data(), points_, 2, built()) {}

    std::size_t points() const { return points_; }

    /// Three kernels of position and two of the frame, the sharp one of many vertices.
    std::vector<PairwiseTerm> terms(std::size_t labels, Normalisation normalisation,
                                    float times = 1.0F) const {
        // Without normalisation sums are large: weak kernels keep labels undecided.
        const float strength = times * (normalisation == Normalisation::kNone ? 0.02F : 1.0F);
        return {{nullptr, &position_, normalisation, potts(labels, 0.6F * strength)},
                {nullptr, &wide_, normalisation, potts(labels, 0.2F * strength)},
                {nullptr, &flat_, normalisation, potts(labels, 0.2F * strength)},
                {&smooth_, nullptr, normalisation, potts(labels, 2.0F * strength)},
                {&sharp_, nullptr, normalisation, potts(labels, 1.5F * strength)}};
    }

    /// The same, and a lattice that is no frame's, of no weight: tiles do not serve it.
    std::vector<PairwiseTerm> untiled(std::vector<PairwiseTerm> terms, std::size_t labels) const {
        terms.push_back({&none_, nullptr, Normalisation::kNone, potts(labels, 0.0F)});
        return terms;
    }

    std::vector<float> energies(std::size_t labels) const {
        // Noise, and waves of each label's own that kernels do not smooth away.
        auto unary = uniforms(points_ * labels, 72);
        for (std::size_t i = 0; i < unary.size(); ++i) {
            const auto pixel = static_cast<double>(i / labels);
            const auto label = static_cast<double>(i % labels);
            unary[i] += 2.0F * static_cast<float>(std::sin(0.004 * pixel + 1.7 * label));
        }
        return unary;
    }

    /// Probabilities of every point.
    std::vector<float> start(std::size_t labels) const {
        auto q = uniforms(points_ * labels, 73);
        for (std::size_t i = 0; i < points_; ++i) {
            float sum = 0.0F;
            for (std::size_t k = 0; k < labels; ++k) sum += q[i * labels + k];
            for (std::size_t k = 0; k < labels; ++k) q[i * labels + k] /= sum;
        }
        return q;
    }

  private:
    std::size_t points_;
    std::vector<std::uint8_t> levels_;
    Lattice smooth_;
    Lattice sharp_;
    PositionKernel position_;
    PositionKernel wide_;  // of cells along both axes
    PositionKernel flat_;  // of cells along y alone
    Lattice none_;
};

std::vector<float> infer(const std::vector<float>& unary, const std::vector<float>& start,
                         std::size_t labels, const std::vector<PairwiseTerm>& terms,
                         const MeanFieldOptions& options) {
    std::vector<float> found(unary.size(), NAN);
    mean_field(unary.data(), start.empty() ? nullptr : start.data(), unary.size() / labels, labels,
               terms, options, found.data());
    return found;
}

std::string told(std::size_t labels, Normalisation normalisation, bool has_start) {
    return "K = " + std::to_string(labels) + ", normalisation " +
           std::to_string(static_cast<int>(normalisation)) + (has_start ? ", a start" : "");
}

/// What the kernels do is much more than the gaps that are allowed.
void expect_kernels_matter(const std::vector<float>& found, const std::vector<float>& unary,
                           std::size_t labels, const std::string& where) {
    const auto alone = infer(unary, {}, labels, {}, {0, true, 1, false});
    // Measured at least 0.033, of 21 labels.
    expect(relative_gap(found, alone) > 0.015, "kernels matter:", where);
}

void test_tiles_change_nothing() {
    // The last tiles have one column, and few rows.
    const FrameModel model(70, 129);
    for (const std::size_t labels : {2U, 3U, 5U, 12U, 21U}) {
        const auto unary = model.energies(labels);
        for (const Normalisation normalisation : kNormalisations) {
            const auto terms = model.terms(labels, normalisation);
            for (const auto& start : {std::vector<float>(), model.start(labels)}) {
                const MeanFieldOptions options{3, start.empty(), 1, false};
                const auto found = infer(unary, start, labels, terms, options);
                const auto expected =
                    infer(unary, start, labels, model.untiled(terms, labels), options);
                const std::string where = told(labels, normalisation, !start.empty());
                expect_kernels_matter(found, unary, labels, where);
                const double gap = largest_gap(found, expected);
                // Measured at most 1.5e-6.
                expect(gap < 1e-5, "tiles change nothing:", where + ": " + std::to_string(gap));
            }
        }
    }
}

void test_planes_are_rows() {
    const FrameModel model(70, 131);
    // 25 labels are more than tiles take.
    for (const std::size_t labels : {2U, 3U, 5U, 21U, 25U}) {
        const auto unary = model.energies(labels);
        const auto terms = model.terms(labels, Normalisation::kSymmetric);
        for (const auto& served : {terms, model.untiled(terms, labels)}) {
            for (const auto& start : {std::vector<float>(), model.start(labels)}) {
                const auto by_rows = infer(unary, start, labels, served, {2, true, 1, false});
                const auto by_planes = infer(transposed(unary, labels), transposed(start, labels),
                                             labels, served, {2, true, 1, true});
                expect(largest_gap(by_planes, transposed(by_rows, labels)) < 1e-6,
                       "planes are rows:", told(labels, Normalisation::kSymmetric, !start.empty()));
            }
        }
    }
}

void test_threads_change_nothing() {
    const FrameModel model(135, 131);
    for (const std::size_t labels : {2U, 3U, 5U, 21U}) {
        const auto unary = model.energies(labels);
        for (const Normalisation normalisation : kNormalisations) {
            const auto terms = model.terms(labels, normalisation);
            const bool is_planes = normalisation == Normalisation::kAfter;
            for (const auto& served : {terms, model.untiled(terms, labels)}) {
                const auto expected = infer(unary, {}, labels, served, {2, true, 1, is_planes});
                for (const int threads : {0, 2, 7}) {
                    expect(
                        infer(unary, {}, labels, served, {2, true, threads, is_planes}) == expected,
                        "threads change nothing:",
                        std::to_string(threads) + ", " + told(labels, normalisation, false));
                }
            }
        }
    }
}

void test_threads_change_nothing_where_powers_overflow() {
    // Sums of hundreds in parts of the frame, for which some points need their largest exponent.
    const FrameModel model(135, 131);
    for (const std::size_t labels : {3U, 5U, 21U}) {
        auto unary = model.energies(labels);
        for (std::size_t i = 0; i < unary.size() / 3; ++i) unary[i] *= 300.0F;
        const auto terms = model.terms(labels, Normalisation::kSymmetric, 60.0F);
        for (const auto& served : {terms, model.untiled(terms, labels)}) {
            const auto expected = infer(unary, {}, labels, served, {2, true, 1, false});
            for (const int threads : {2, 3, 7}) {
                expect(infer(unary, {}, labels, served, {2, true, threads, false}) == expected,
                       "threads change nothing:",
                       std::to_string(threads) + ", large powers, " +
                           told(labels, Normalisation::kSymmetric, false));
            }
        }
        const auto found = infer(unary, {}, labels, terms, {2, true, 1, false});
        const double gap = largest_gap(
            found, infer(unary, {}, labels, model.untiled(terms, labels), {2, true, 1, false}));
        // Exponents of hundreds have roundings of 1e-5 and more.
        expect(gap < 2e-3, "tiles change nothing:", "large powers: " + std::to_string(gap));
    }
}

void test_instructions_change_nothing() {
    const FrameModel model(70, 131);
    const Instructions before = current_instructions();
    for (const std::size_t labels : {2U, 3U, 5U, 21U}) {
        const auto unary = model.energies(labels);
        const auto terms = model.terms(labels, Normalisation::kSymmetric);
        use_instructions(Instructions::kPortable);
        const auto expected = infer(unary, {}, labels, terms, {3, true, 1, false});
        for (const Instructions set : supported_sets()) {
            use_instructions(set);
            // Measured at most 2e-7.
            const auto found = infer(unary, {}, labels, terms, {3, true, 1, false});
            expect(largest_gap(found, expected) < 1e-5, "the same marginals:", name_of(set));
        }
    }
    use_instructions(before);
}

/// Rows sum to one, and hold the label of the least energy where it leads by far.
void expect_marginals(const std::vector<float>& found, const std::vector<float>& unary,
                      std::size_t labels, bool is_certain, const std::string& where) {
    std::size_t sums = 0;
    std::size_t certain = 0;
    for (std::size_t i = 0; i < found.size(); i += labels) {
        double sum = 0.0;
        bool in_range = true;
        for (std::size_t k = 0; k < labels; ++k) {
            in_range = in_range && found[i + k] >= 0.0F && found[i + k] <= 1.0F;
            sum += static_cast<double>(found[i + k]);
        }
        sums += static_cast<std::size_t>(in_range && std::abs(sum - 1.0) < 1e-5);
        const auto row = unary.begin() + static_cast<std::ptrdiff_t>(i);
        const auto least = static_cast<std::size_t>(
            std::min_element(row, row + static_cast<std::ptrdiff_t>(labels)) - row);
        certain += static_cast<std::size_t>(found[i + least] > 0.999F);
    }
    const std::size_t points = found.size() / labels;
    expect(sums == points, "marginals sum to one:", where);
    if (is_certain) expect(certain == points, "the least energy has it all:", where);
}

void test_energies_of_any_size() {
    // Impossible labels, and energies that differ by more than exp can hold, or that all are huge.
    const FrameModel model(9, 70);
    for (const std::size_t labels : {2U, 3U, 5U, 21U}) {
        const auto terms = model.terms(labels, Normalisation::kSymmetric);
        const auto drawn = uniforms(model.points() * labels, 74);
        for (const float size : {0.0F, 1e-30F, 100.0F, 1e4F, 1e20F, 1e31F, 3e38F, -1e31F, -3e38F}) {
            auto unary = drawn;
            // From the largest size of all on of one sign: differences must be floats.
            const float least = std::abs(size) > 1e30F ? 0.0F : 0.5F;
            for (float& energy : unary) energy = size * (energy - least);
            for (const auto& served : {terms, model.untiled(terms, labels)}) {
                expect_marginals(infer(unary, {}, labels, served, {3, true, 1, false}), unary,
                                 labels, std::abs(size) >= 1e20F,
                                 told(labels, Normalisation::kSymmetric, false) + ", energies of " +
                                     std::to_string(size));
            }
        }
    }
}

}  // namespace
}  // namespace weakseg::testing

int main() {
    using namespace weakseg::testing;  // NOLINT: the tests' own names
    share_small_work();
    test_tiles_change_nothing();
    test_planes_are_rows();
    test_threads_change_nothing();
    test_threads_change_nothing_where_powers_overflow();
    test_instructions_change_nothing();
    test_energies_of_any_size();
    return finish("mean field by every path");
}
