#include "simd_portable.h"
// After the lanes it is written in.
#include "tile_kernels_impl.h"

namespace weakseg {

const TileKernels& portable_tile_kernels() { return kKernels; }

}  // namespace weakseg
