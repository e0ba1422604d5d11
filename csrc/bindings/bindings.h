// One function a topic, each in its own file.
#pragma once

#include <pybind11/pybind11.h>

namespace weakseg {

void bind_filter(pybind11::module_& module);

}  // namespace weakseg
