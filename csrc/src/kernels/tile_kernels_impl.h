// The kernels, written once over `Floats` and `Ints` of `kLanes` lanes.
//
// Every file that includes this is compiled for other instructions. So all of it is private to
// that file, and no standard container is used: the linker must never mix their code.
#pragma once

#include "../tile_kernels.h"
#include "blur_impl.h"
#include "cells_impl.h"
#include "convolve_impl.h"
#include "exponential_impl.h"
#include "group_impl.h"
#include "rows_impl.h"
#include "slice_impl.h"
#include "softmax_impl.h"
#include "splat_impl.h"

namespace weakseg {
namespace {

constexpr TileKernels kKernels{locate,   splat,      slice,          blur,           convolve,
                               invert,   add_scaled, to_cells,       add_from_cells, sum_rows,
                               logistic, tanh_half,  subtract_least, softmax};

}  // namespace
}  // namespace weakseg
