// Gaussian filtering of scattered points.
#include <pybind11/numpy.h>

#include <cmath>
#include <limits>
#include <stdexcept>
#include <string>

#include "bindings.h"
#include "weakseg/permutohedral.h"

namespace py = pybind11;

namespace weakseg {

namespace {

using FloatArray = py::array_t<float, py::array::c_style | py::array::forcecast>;

std::string shape_of(const FloatArray& array) {
    std::string text = "(";
    for (py::ssize_t axis = 0; axis < array.ndim(); ++axis) {
        text += (axis == 0 ? "" : ", ") + std::to_string(array.shape(axis));
    }
    return text + ")";
}

void check_threads(int threads) {
    if (threads < 0) {
        throw std::invalid_argument("threads must be at least 0 (0: all), got " +
                                    std::to_string(threads));
    }
}

void check_features(const FloatArray& features) {
    if (features.ndim() != 2 || features.shape(0) < 1 || features.shape(1) < 1 ||
        features.shape(1) > kMaxDims) {
        throw std::invalid_argument("features must have shape (points, 1 to 16), got " +
                                    shape_of(features));
    }
    if (features.shape(0) > std::numeric_limits<std::int32_t>::max() / (features.shape(1) + 1)) {
        throw std::invalid_argument("features holds too many points for one lattice: " +
                                    shape_of(features));
    }
    const float* data = features.data();
    for (py::ssize_t i = 0; i < features.size(); ++i) {
        // Written so that NaN fails too.
        if (!(std::abs(data[i]) <= kMaxFeature)) {
            throw std::invalid_argument(
                "features must be finite and at most 1e6 standard deviations in size, got " +
                std::to_string(data[i]));
        }
    }
}

Permutohedral make_lattice(const FloatArray& features, int threads) {
    check_threads(threads);
    check_features(features);
    const auto points = static_cast<std::size_t>(features.shape(0));
    const auto dims = static_cast<int>(features.shape(1));
    const float* data = features.data();
    const py::gil_scoped_release release;
    return {data, points, dims, threads};
}

py::array_t<float> filter(const Permutohedral& lattice, const FloatArray& values, bool symmetric,
                          int threads) {
    check_threads(threads);
    if (values.ndim() != 2 || static_cast<std::size_t>(values.shape(0)) != lattice.points()) {
        throw std::invalid_argument("values must have shape (" + std::to_string(lattice.points()) +
                                    ", channels), got " + shape_of(values));
    }
    py::array_t<float> out({values.shape(0), values.shape(1)});
    const float* source = values.data();
    float* target = out.mutable_data();
    const auto channels = static_cast<std::size_t>(values.shape(1));
    if (channels > 0) {
        const py::gil_scoped_release release;
        lattice.filter(source, channels, target, symmetric, threads);
    }
    return out;
}

}  // namespace

void bind_filter(py::module_& module) {
    py::class_<Permutohedral>(module, "Lattice", "Permutohedral lattice over fixed points.")
        .def(py::init(&make_lattice), py::arg("features"), py::kw_only(), py::arg("threads") = 0)
        .def("filter", &filter, py::arg("values"), py::kw_only(), py::arg("symmetric") = true,
             py::arg("threads") = 0)
        .def_property_readonly("points", &Permutohedral::points)
        .def_property_readonly("dims", &Permutohedral::dims)
        .def_property_readonly("vertices", &Permutohedral::vertices);
    module.def(
        "gaussian_filter",
        [](const FloatArray& values, const FloatArray& features, int threads, bool symmetric) {
            return filter(make_lattice(features, threads), values, symmetric, threads);
        },
        py::arg("values"), py::arg("features"), py::kw_only(), py::arg("threads") = 0,
        py::arg("symmetric") = true);
}

}  // namespace weakseg
