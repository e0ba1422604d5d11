#include "simd_avx2.h"
// After the lanes it is written in.
#include "tile_kernels_impl.h"

namespace weakseg {

const TileKernels& avx2_tile_kernels() { return kKernels; }

}  // namespace weakseg
