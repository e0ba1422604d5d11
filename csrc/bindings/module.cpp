#include <pybind11/pybind11.h>

#include "bindings.h"

PYBIND11_MODULE(_core, module) {
    module.doc() = "Run weakseg's hot loops in C++.";
    weakseg::bind_lattice(module);
    weakseg::bind_mean_field(module);
    weakseg::bind_instructions(module);
}
