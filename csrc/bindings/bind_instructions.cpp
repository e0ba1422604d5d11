// The processor's vector instructions.
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <stdexcept>
#include <string>
#include <vector>

#include "bindings.h"
#include "weakseg/instructions.h"

namespace weakseg {

namespace {

constexpr Instructions kFastestFirst[] = {Instructions::kAvx512, Instructions::kAvx2,
                                          Instructions::kPortable};

std::vector<std::string> supported() {
    std::vector<std::string> names;
    for (const Instructions set : kFastestFirst) {
        if (is_supported(set)) names.emplace_back(name_of(set));
    }
    return names;
}

void use(const std::string& name) {
    for (const Instructions set : kFastestFirst) {
        if (name == name_of(set) && is_supported(set)) return use_instructions(set);
    }
    std::string known;
    for (const std::string& one : supported()) known += (known.empty() ? "'" : ", '") + one + "'";
    throw std::invalid_argument("name must be one of " + known + " here, got '" + name + "'");
}

}  // namespace

void bind_instructions(pybind11::module_& module) {
    module.def("instruction_sets", &supported);
    module.def("use_instructions", &use, pybind11::arg("name"));
}

}  // namespace weakseg
