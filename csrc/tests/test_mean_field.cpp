// Mean field is the formula, step by step, on the kernels' own matrices.
#include <algorithm>
#include <cmath>
#include <cstddef>
#include <string>
#include <vector>

#include "testing.h"
#include "weakseg/lattice.h"
#include "weakseg/mean_field.h"
#include "weakseg/position_kernel.h"

namespace weakseg::testing {
namespace {

constexpr std::size_t kHeight = 6;
constexpr std::size_t kWidth = 11;
constexpr std::size_t kPoints = kHeight * kWidth;

/// One kernel of the model: its filter as a dense matrix, and what is done with it.
struct DenseKernel {
    std::vector<double> weights;  // (points, points)
    Normalisation normalisation;
    std::vector<float> compatibility;  // (labels, labels)
};

template <typename Kernel>
std::vector<double> as_matrix(const Kernel& kernel, bool symmetric) {
    std::vector<float> identity(kPoints * kPoints, 0.0F);
    for (std::size_t i = 0; i < kPoints; ++i) identity[i * kPoints + i] = 1.0F;
    std::vector<float> matrix(kPoints * kPoints);
    kernel.filter(identity.data(), kPoints, matrix.data(), rows(symmetric));
    return {matrix.begin(), matrix.end()};
}

/// Scale rows and columns by the powers of the row sums that the normalisation asks for.
void normalise(DenseKernel& kernel) {
    std::vector<double> degree(kPoints, 0.0);
    for (std::size_t i = 0; i < kPoints; ++i) {
        for (std::size_t j = 0; j < kPoints; ++j) degree[i] += kernel.weights[i * kPoints + j];
    }
    double row_power = 0.0;
    double column_power = 0.0;
    if (kernel.normalisation == Normalisation::kSymmetric) row_power = column_power = -0.5;
    if (kernel.normalisation == Normalisation::kBefore) column_power = -1.0;
    if (kernel.normalisation == Normalisation::kAfter) row_power = -1.0;
    for (std::size_t i = 0; i < kPoints; ++i) {
        for (std::size_t j = 0; j < kPoints; ++j) {
            kernel.weights[i * kPoints + j] *=
                std::pow(degree[i], row_power) * std::pow(degree[j], column_power);
        }
    }
}

std::vector<double> softmax(std::vector<double> energies, std::size_t labels) {
    for (std::size_t i = 0; i < kPoints; ++i) {
        double* row = &energies[i * labels];
        const double largest = *std::max_element(row, row + labels);
        double sum = 0.0;
        for (std::size_t k = 0; k < labels; ++k) sum += row[k] = std::exp(row[k] - largest);
        for (std::size_t k = 0; k < labels; ++k) row[k] /= sum;
    }
    return energies;
}

/// Q = softmax(-unary - sum_m mu_m (K_m Q)), `iterations` times.
std::vector<double> exact_mean_field(const std::vector<float>& unary, std::size_t labels,
                                     const std::vector<DenseKernel>& kernels, int iterations) {
    std::vector<double> negative(unary.begin(), unary.end());
    for (double& energy : negative) energy = -energy;
    std::vector<double> q = softmax(negative, labels);
    for (int iteration = 0; iteration < iterations; ++iteration) {
        std::vector<double> energies = negative;
        for (const DenseKernel& kernel : kernels) {
            for (std::size_t i = 0; i < kPoints; ++i) {
                std::vector<double> spread(labels, 0.0);
                for (std::size_t j = 0; j < kPoints; ++j) {
                    for (std::size_t k = 0; k < labels; ++k) {
                        spread[k] += kernel.weights[i * kPoints + j] * q[j * labels + k];
                    }
                }
                for (std::size_t k = 0; k < labels; ++k) {
                    for (std::size_t l = 0; l < labels; ++l) {
                        energies[i * labels + k] -=
                            static_cast<double>(kernel.compatibility[k * labels + l]) * spread[l];
                    }
                }
            }
        }
        q = softmax(energies, labels);
    }
    return q;
}

/// Like labels attract by `weight`; without a seed that is all, else some pairs do too.
std::vector<float> compatibility(std::size_t labels, float weight, unsigned seed) {
    std::vector<float> matrix(labels * labels, 0.0F);
    if (seed != 0) matrix = uniforms(labels * labels, seed);
    for (std::size_t k = 0; k < labels; ++k) matrix[k * labels + k] -= weight;
    return matrix;
}

void test_mean_field_is_the_formula() {
    const auto levels = shaded_frame(kHeight, kWidth, 61);
    const Lattice lattice({levels.data(), nullptr, kHeight, kWidth, false}, 5.0F, 13.0F, built());
    const PositionKernel position(kHeight, kWidth, 1.5F, 1.5F);
    for (const std::size_t labels : {2U, 3U, 5U, 21U}) {
        std::vector<float> unary = uniforms(kPoints * labels, 62);
        for (float& energy : unary) energy *= 4.0F;
        for (const Normalisation normalisation :
             {Normalisation::kNone, Normalisation::kBefore, Normalisation::kAfter,
              Normalisation::kSymmetric}) {
            for (const bool symmetric : {true, false}) {
                for (const unsigned seed : {0U, 63U}) {
                    // Without normalisation sums are large: weak kernels keep labels undecided.
                    const float strength = normalisation == Normalisation::kNone ? 0.05F : 1.0F;
                    std::vector<DenseKernel> dense{{as_matrix(position, symmetric), normalisation,
                                                    compatibility(labels, 1.5F * strength, seed)},
                                                   {as_matrix(lattice, symmetric), normalisation,
                                                    compatibility(labels, 2.0F * strength, seed)}};
                    std::vector<float> found(unary.size());
                    mean_field(unary.data(), nullptr, kPoints, labels,
                               {{nullptr, &position, normalisation, dense[0].compatibility},
                                {&lattice, nullptr, normalisation, dense[1].compatibility}},
                               {4, symmetric, 1}, found.data());
                    for (DenseKernel& kernel : dense) normalise(kernel);
                    const auto exact = exact_mean_field(unary, labels, dense, 4);
                    const double worst = largest_gap(found, exact);
                    // Measured at most 2e-6.
                    expect(
                        worst < 1e-4, "mean field is the formula:",
                        "K = " + std::to_string(labels) + ", largest gap " + std::to_string(worst));
                }
            }
        }
    }
}

void test_iterations_can_be_taken_in_parts() {
    const PositionKernel position(kHeight, kWidth, 1.5F, 1.5F);
    for (const std::size_t labels : {2U, 5U}) {
        const auto unary = uniforms(kPoints * labels, 65);
        const std::vector<PairwiseTerm> terms{
            {nullptr, &position, Normalisation::kSymmetric, compatibility(labels, 2.0F, 66)}};
        std::vector<float> whole(unary.size());
        mean_field(unary.data(), nullptr, kPoints, labels, terms, {5, true, 1}, whole.data());
        std::vector<float> half(unary.size());
        mean_field(unary.data(), nullptr, kPoints, labels, terms, {2, true, 1}, half.data());
        std::vector<float> found(unary.size());
        mean_field(unary.data(), half.data(), kPoints, labels, terms, {3, true, 1}, found.data());
        expect(relative_gap(found, whole) < 1e-6,
               "iterations can be taken in parts: K =", std::to_string(labels));
    }
}

void test_without_kernels_it_is_softmax() {
    const auto unary = uniforms(kPoints * 3, 64);
    std::vector<float> found(unary.size());
    mean_field(unary.data(), nullptr, kPoints, 3, {}, {5, true, 1}, found.data());
    expect(relative_gap(found, exact_mean_field(unary, 3, {}, 0)) < 1e-5, "softmax of energies");
}

}  // namespace
}  // namespace weakseg::testing

int main() {
    using namespace weakseg::testing;  // NOLINT: the tests' own names
    test_mean_field_is_the_formula();
    test_iterations_can_be_taken_in_parts();
    test_without_kernels_it_is_softmax();
    return finish("mean field");
}
