// Gaussian filters: lattices over points and frames, and the convolution of a frame.
#include <pybind11/numpy.h>
#include <pybind11/stl.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <stdexcept>
#include <string>

#include "arrays.h"
#include "bindings.h"
#include "weakseg/lattice.h"
#include "weakseg/position_kernel.h"

namespace weakseg {

namespace {

void check_size(std::size_t points, std::size_t dims, const std::string& what) {
    if (points > static_cast<std::size_t>(std::numeric_limits<std::int32_t>::max()) / (dims + 1)) {
        throw std::invalid_argument(what + " is too large for one lattice: cut it into parts");
    }
}

void check_features(const FloatArray& features) {
    if (features.ndim() != 2 || features.shape(0) < 1 || features.shape(1) < 1 ||
        features.shape(1) > kMaxDims) {
        throw std::invalid_argument("features must have shape (points, 1 to 16), got " +
                                    shape_of(features));
    }
    check_size(static_cast<std::size_t>(features.shape(0)),
               static_cast<std::size_t>(features.shape(1)), "features " + shape_of(features));
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

LatticeOptions options_of(const std::string& quality, bool compatible, int threads) {
    check_threads(threads);
    LatticeOptions options;
    if (quality == "high") {
        options.quality = Quality::kHigh;
    } else if (quality != "standard") {
        throw std::invalid_argument("quality must be one of 'standard', 'high', got '" + quality +
                                    "'");
    }
    if (compatible && quality == "high") {
        throw std::invalid_argument("compatible needs quality='standard': pydensecrf has no other");
    }
    options.compatible = compatible;
    options.threads = threads;
    return options;
}

Lattice make_lattice(const FloatArray& features, const std::string& quality, bool compatible,
                     int threads) {
    const LatticeOptions options = options_of(quality, compatible, threads);
    check_features(features);
    const auto points = static_cast<std::size_t>(features.shape(0));
    const auto dims = static_cast<int>(features.shape(1));
    const float* data = features.data();
    const py::gil_scoped_release release;
    return {data, points, dims, options};
}

/// Keeps what a Frame points to.
struct HeldFrame {
    py::array array;
    Frame frame;
};

HeldFrame hold_frame(const py::array& given, bool planes) {
    const py::ssize_t colours = planes ? 0 : 2;
    if (given.ndim() != 3 || given.shape(colours) != 3 || given.size() == 0) {
        throw std::invalid_argument(std::string("frame must have shape ") +
                                    (planes ? "(3, height, width)" : "(height, width, 3)") +
                                    " and hold pixels, got " + shape_of(given));
    }
    HeldFrame held;
    held.frame.planes = planes;
    held.frame.height = static_cast<std::size_t>(given.shape(planes ? 1 : 0));
    held.frame.width = static_cast<std::size_t>(given.shape(planes ? 2 : 1));
    check_size(held.frame.height * held.frame.width, 5, "frame " + shape_of(given));
    if (given.dtype().is(py::dtype::of<std::uint8_t>())) {
        using ByteArray = py::array_t<std::uint8_t, py::array::c_style | py::array::forcecast>;
        ByteArray bytes = ByteArray::ensure(given);
        if (!bytes) throw py::error_already_set();
        held.frame.bytes = bytes.data();
        held.array = std::move(bytes);
    } else {
        FloatArray floats = FloatArray::ensure(given);
        if (!floats) {
            if (PyErr_ExceptionMatches(PyExc_MemoryError)) throw py::error_already_set();
            PyErr_Clear();
            throw py::type_error("frame must hold numbers");
        }
        held.frame.floats = floats.data();
        held.array = std::move(floats);
    }
    return held;
}

void check_spread(const HeldFrame& held, float sigma_xy_pixels, float sigma_rgb_levels) {
    const Frame& frame = held.frame;
    float largest = 255.0F;
    if (frame.floats != nullptr) {
        largest = 0.0F;
        for (py::ssize_t i = 0; i < held.array.size(); ++i) {
            const float level = std::abs(frame.floats[i]);
            if (!std::isfinite(level)) {
                throw std::invalid_argument("frame must be finite, got " +
                                            std::to_string(frame.floats[i]));
            }
            largest = std::max(largest, level);
        }
    }
    const auto side = static_cast<float>(std::max(frame.height, frame.width));
    // Three times, since opponent colours add up to as much.
    if (!(3.0F * largest / sigma_rgb_levels <= kMaxFeature &&
          side / sigma_xy_pixels <= kMaxFeature)) {
        throw std::invalid_argument(
            "the frame's features spread over more than 1e6 standard deviations: sigma_xy_pixels " +
            std::to_string(sigma_xy_pixels) + " or sigma_rgb_levels " +
            std::to_string(sigma_rgb_levels) + " is too small for it");
    }
}

Lattice make_frame_lattice(const py::array& given, double sigma_xy_pixels, double sigma_rgb_levels,
                           bool planes, const std::string& quality, bool compatible, int threads) {
    const LatticeOptions options = options_of(quality, compatible, threads);
    check_sigma("sigma_xy_pixels", sigma_xy_pixels);
    check_sigma("sigma_rgb_levels", sigma_rgb_levels);
    const HeldFrame held = hold_frame(given, planes);
    const auto sigma_xy = static_cast<float>(sigma_xy_pixels);
    const auto sigma_rgb = static_cast<float>(sigma_rgb_levels);
    check_spread(held, sigma_xy, sigma_rgb);
    const py::gil_scoped_release release;
    return {held.frame, sigma_xy, sigma_rgb, options};
}

template <class Kernel>
py::array_t<float> filter(const Kernel& kernel, const FloatArray& values, bool planes,
                          bool symmetric, const std::optional<FloatArray>& before,
                          const std::optional<FloatArray>& after, int threads) {
    check_threads(threads);
    check_values(values, kernel.points(), planes);
    FilterOptions options;
    options.planes = planes;
    options.symmetric = symmetric;
    options.before = factors_of("before", before, kernel.points());
    options.after = factors_of("after", after, kernel.points());
    options.threads = threads;
    py::array_t<float> out = new_like(values);
    const float* source = values.data();
    float* target = out.mutable_data();
    const auto channels = static_cast<std::size_t>(values.shape(planes ? 0 : 1));
    if (channels > 0) {
        const py::gil_scoped_release release;
        kernel.filter(source, channels, target, options);
    }
    return out;
}

PositionKernel make_position_kernel(std::int64_t height, std::int64_t width, double sigma_x_pixels,
                                    double sigma_y_pixels) {
    if (height < 1 || width < 1) {
        throw std::invalid_argument("height and width must be at least 1, got " +
                                    std::to_string(height) + " and " + std::to_string(width));
    }
    if (height > std::numeric_limits<std::int32_t>::max() / width) {
        throw std::invalid_argument("a frame of " + std::to_string(height) + " x " +
                                    std::to_string(width) +
                                    " pixels is too large: at most 2147483647 in all");
    }
    check_sigma("sigma_x_pixels", sigma_x_pixels);
    check_sigma("sigma_y_pixels", sigma_y_pixels);
    return {static_cast<std::size_t>(height), static_cast<std::size_t>(width),
            static_cast<float>(sigma_x_pixels), static_cast<float>(sigma_y_pixels)};
}

}  // namespace

void bind_lattice(py::module_& module) {
    py::class_<Lattice>(module, "Lattice", "Permutohedral lattice over fixed points.")
        .def(py::init(&make_lattice), py::arg("features"), py::kw_only(),
             py::arg("quality") = "standard", py::arg("compatible") = false, py::arg("threads") = 0)
        .def_static("from_image", &make_frame_lattice, py::arg("frame"), py::kw_only(),
                    py::arg("sigma_xy_pixels"), py::arg("sigma_rgb_levels"),
                    py::arg("planes") = false, py::arg("quality") = "standard",
                    py::arg("compatible") = false, py::arg("threads") = 0)
        .def("filter", &filter<Lattice>, py::arg("values"), py::kw_only(),
             py::arg("planes") = false, py::arg("symmetric") = true, py::arg("before") = py::none(),
             py::arg("after") = py::none(), py::arg("threads") = 0)
        .def_property_readonly("points", &Lattice::points)
        .def_property_readonly("dims", &Lattice::dims)
        .def_property_readonly("vertices", &Lattice::vertices)
        .def_property_readonly("nbytes", &Lattice::bytes);
    py::class_<PositionKernel>(module, "PositionKernel", "Gaussian of the pixels' places.")
        .def(py::init(&make_position_kernel), py::arg("height"), py::arg("width"),
             py::arg("sigma_x_pixels"), py::arg("sigma_y_pixels"))
        .def(
            "filter",
            [](const PositionKernel& kernel, const FloatArray& values, bool planes,
               const std::optional<FloatArray>& before, const std::optional<FloatArray>& after,
               int threads) {
                return filter(kernel, values, planes, true, before, after, threads);
            },
            py::arg("values"), py::kw_only(), py::arg("planes") = false,
            py::arg("before") = py::none(), py::arg("after") = py::none(), py::arg("threads") = 0)
        .def_property_readonly("points", &PositionKernel::points);
}

}  // namespace weakseg
