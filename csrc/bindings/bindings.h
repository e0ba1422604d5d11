// One function for every topic of the Python module.
#pragma once

#include <pybind11/pybind11.h>

namespace weakseg {

void bind_lattice(pybind11::module_& module);
void bind_mean_field(pybind11::module_& module);
void bind_instructions(pybind11::module_& module);

}  // namespace weakseg
