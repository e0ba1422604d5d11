// Checks of the arrays that Python hands over.
#pragma once

#include <pybind11/numpy.h>

#include <cmath>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>

#include "pool.h"

namespace weakseg {

namespace py = pybind11;

/// Converted and copied only if it is not already that.
using FloatArray = py::array_t<float, py::array::c_style | py::array::forcecast>;

inline std::string shape_of(const py::array& array) {
    std::string text = "(";
    for (py::ssize_t axis = 0; axis < array.ndim(); ++axis) {
        text += (axis == 0 ? "" : ", ") + std::to_string(array.shape(axis));
    }
    return text + ")";
}

inline void check_threads(int threads) {
    if (threads < 0) {
        throw std::invalid_argument("threads must be at least 0 (0: all), got " +
                                    std::to_string(threads));
    }
}

inline void check_sigma(const char* name, double sigma) {
    if (!(sigma > 0.0) || !std::isfinite(static_cast<float>(sigma)) ||
        static_cast<float>(sigma) <= 0.0F) {
        throw std::invalid_argument(std::string(name) + " must be above 0 and finite, got " +
                                    std::to_string(sigma));
    }
}

/// Values of `points` points: (points, channels), or (channels, points) with `planes`.
inline void check_values(const FloatArray& values, std::size_t points, bool planes) {
    const py::ssize_t axis = planes ? 1 : 0;
    if (values.ndim() != 2 || static_cast<std::size_t>(values.shape(axis)) != points) {
        const std::string count = std::to_string(points);
        throw std::invalid_argument(
            "values must have shape " +
            (planes ? "(channels, " + count + ")" : "(" + count + ", channels)") + ", got " +
            shape_of(values));
    }
}

/// A new array of the shape of `like`, in memory that is kept for the next one when it goes.
inline py::array_t<float> new_like(const FloatArray& like) {
    struct Held {
        void* memory;
        std::size_t bytes;
    };
    const auto bytes = static_cast<std::size_t>(like.nbytes());
    auto held = std::make_unique<Held>(Held{take_from_pool(bytes), bytes});
    const py::capsule owner(held.get(), [](void* pointer) {
        const std::unique_ptr<Held> gone(static_cast<Held*>(pointer));
        give_to_pool(gone->memory, gone->bytes);
    });
    const auto* memory = static_cast<float*>(held.release()->memory);
    return py::array_t<float>({like.shape(0), like.shape(1)}, memory, owner);
}

/// Optional factors of `points` points.
inline const float* factors_of(const char* name, const std::optional<FloatArray>& factors,
                               std::size_t points) {
    if (!factors) return nullptr;
    if (factors->ndim() != 1 || static_cast<std::size_t>(factors->shape(0)) != points) {
        throw std::invalid_argument(std::string(name) + " must have shape (" +
                                    std::to_string(points) + ",), got " + shape_of(*factors));
    }
    return factors->data();
}

}  // namespace weakseg
