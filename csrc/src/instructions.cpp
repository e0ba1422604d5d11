#include "weakseg/instructions.h"

#include <atomic>

#include "tile_kernels.h"

namespace weakseg {

namespace {

Instructions fastest() {
    if (is_supported(Instructions::kAvx512)) return Instructions::kAvx512;
    if (is_supported(Instructions::kAvx2)) return Instructions::kAvx2;
    return Instructions::kPortable;
}

std::atomic<Instructions>& chosen() {
    static std::atomic<Instructions> instructions{fastest()};
    return instructions;
}

}  // namespace

const char* name_of(Instructions instructions) {
    switch (instructions) {
        case Instructions::kAvx512:
            return "avx512";
        case Instructions::kAvx2:
            return "avx2";
        case Instructions::kPortable:
            break;
    }
    return "portable";
}

bool is_supported(Instructions instructions) {
#ifdef WEAKSEG_X86_KERNELS
    switch (instructions) {
        case Instructions::kAvx512:
            return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                   __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl") &&
                   is_supported(Instructions::kAvx2);
        case Instructions::kAvx2:
            return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") &&
                   __builtin_cpu_supports("bmi");
        case Instructions::kPortable:
            break;
    }
#endif
    return instructions == Instructions::kPortable;
}

Instructions current_instructions() { return chosen().load(std::memory_order_relaxed); }

void use_instructions(Instructions instructions) {
    chosen().store(instructions, std::memory_order_relaxed);
}

const TileKernels& tile_kernels() {
#ifdef WEAKSEG_X86_KERNELS
    switch (current_instructions()) {
        case Instructions::kAvx512:
            return avx512_tile_kernels();
        case Instructions::kAvx2:
            return avx2_tile_kernels();
        case Instructions::kPortable:
            break;
    }
#endif
    return portable_tile_kernels();
}

}  // namespace weakseg
