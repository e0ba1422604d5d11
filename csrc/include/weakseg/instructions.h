// Which of the processor's vector instructions the kernels use.
#pragma once

namespace weakseg {

/// Sets of instructions the kernels are compiled for, slowest first.
enum class Instructions { kPortable, kAvx2, kAvx512 };

/// "portable", "avx2" or "avx512".
const char* name_of(Instructions instructions);

/// Whether this build has the kernels and this processor runs them.
bool is_supported(Instructions instructions);

/// The set in use: the fastest supported one, unless `use_instructions` chose another.
Instructions current_instructions();

/// Choose for the whole process; lattices already built keep working. The set must be supported.
void use_instructions(Instructions instructions);

}  // namespace weakseg
