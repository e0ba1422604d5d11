// Mean-field inference.
#include <pybind11/numpy.h>
#include <pybind11/stl.h>

#include <stdexcept>
#include <string>
#include <variant>
#include <vector>

#include "arrays.h"
#include "bindings.h"
#include "weakseg/mean_field.h"

namespace weakseg {

namespace {

using Kernel = std::variant<const Lattice*, const PositionKernel*>;

Normalisation normalisation_of(const std::string& name) {
    if (name == "none") return Normalisation::kNone;
    if (name == "before") return Normalisation::kBefore;
    if (name == "after") return Normalisation::kAfter;
    if (name == "symmetric") return Normalisation::kSymmetric;
    throw std::invalid_argument(
        "normalisation must be one of 'none', 'before', 'after', 'symmetric', got '" + name + "'");
}

std::size_t points_of(const Kernel& kernel) {
    return std::visit([](const auto* held) { return held->points(); }, kernel);
}

void check_rows(const char* name, const FloatArray& array, const FloatArray& unary) {
    if (array.ndim() != 2 || array.shape(0) != unary.shape(0) || array.shape(1) != unary.shape(1)) {
        throw std::invalid_argument(std::string(name) + " must have the shape of unary, " +
                                    shape_of(unary) + ", got " + shape_of(array));
    }
}

py::array_t<float> infer(const FloatArray& unary, const std::vector<Kernel>& kernels,
                         const std::vector<std::string>& normalisations,
                         const std::vector<FloatArray>& compatibilities,
                         const std::optional<FloatArray>& start, int iterations, bool planes,
                         bool symmetric, int threads) {
    check_threads(threads);
    if (unary.ndim() != 2 || unary.size() == 0) {
        throw std::invalid_argument(std::string("unary must have shape ") +
                                    (planes ? "(labels, points)" : "(points, labels)") + ", got " +
                                    shape_of(unary));
    }
    if (iterations < 0) {
        throw std::invalid_argument("iterations must be at least 0, got " +
                                    std::to_string(iterations));
    }
    if (normalisations.size() != kernels.size() || compatibilities.size() != kernels.size()) {
        throw std::invalid_argument(
            "kernels, normalisations and compatibilities must be as many, got " +
            std::to_string(kernels.size()) + ", " + std::to_string(normalisations.size()) +
            " and " + std::to_string(compatibilities.size()));
    }
    if (start) check_rows("start", *start, unary);
    const auto points = static_cast<std::size_t>(unary.shape(planes ? 1 : 0));
    const auto labels = static_cast<std::size_t>(unary.shape(planes ? 0 : 1));
    std::vector<PairwiseTerm> terms(kernels.size());
    for (std::size_t m = 0; m < terms.size(); ++m) {
        if (std::visit([](const auto* held) { return held == nullptr; }, kernels[m])) {
            throw py::type_error("kernels must be Lattice or PositionKernel, got None");
        }
        if (points_of(kernels[m]) != points) {
            throw std::invalid_argument("kernels must be over the " + std::to_string(points) +
                                        " points of unary, got one over " +
                                        std::to_string(points_of(kernels[m])));
        }
        if (const auto* lattice = std::get_if<const Lattice*>(&kernels[m])) {
            terms[m].lattice = *lattice;
        } else {
            terms[m].position = std::get<const PositionKernel*>(kernels[m]);
        }
        terms[m].normalisation = normalisation_of(normalisations[m]);
        const FloatArray& mu = compatibilities[m];
        if (mu.ndim() != 2 || static_cast<std::size_t>(mu.shape(0)) != labels ||
            static_cast<std::size_t>(mu.shape(1)) != labels) {
            const std::string count = std::to_string(labels);
            throw std::invalid_argument("compatibilities must have shape (" + count + ", " + count +
                                        "), got " + shape_of(mu));
        }
        terms[m].compatibility.assign(mu.data(), mu.data() + mu.size());
    }
    MeanFieldOptions options;
    options.iterations = iterations;
    options.planes = planes;
    options.symmetric = symmetric;
    options.threads = threads;
    py::array_t<float> out = new_like(unary);
    const float* energies = unary.data();
    const float* first = start ? start->data() : nullptr;
    float* target = out.mutable_data();
    {
        const py::gil_scoped_release release;
        mean_field(energies, first, points, labels, terms, options, target);
    }
    return out;
}

}  // namespace

void bind_mean_field(py::module_& module) {
    module.def("mean_field", &infer, py::arg("unary"), py::arg("kernels"),
               py::arg("normalisations"), py::arg("compatibilities"), py::kw_only(),
               py::arg("start") = py::none(), py::arg("iterations"), py::arg("planes") = false,
               py::arg("symmetric") = true, py::arg("threads") = 0);
}

}  // namespace weakseg
