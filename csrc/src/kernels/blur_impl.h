// Blur of the vertices' values along an axis of the lattice.
#pragma once

#include <cstddef>
#include <cstdint>

#include "../tile_kernels.h"
#include "vectors_impl.h"

namespace weakseg {
namespace {

template <int kChannels>
void blur_rows(const BlurAxis& axis, std::size_t begin, std::size_t end, const float* source,
               float* target) {
    for (std::size_t row = begin; row < end; ++row) {
        const std::int32_t pair[2] = {axis.pairs[2 * row], axis.pairs[2 * row + 1]};
        const float centre_factor = axis.centre_factor[(pair[0] == 0) + (pair[1] == 0)];
        const float* below = source + static_cast<std::size_t>(pair[0]) * kChannels;
        const float* above = source + static_cast<std::size_t>(pair[1]) * kChannels;
        const float* centre = source + row * kChannels;
        float* to = target + row * kChannels;
        if constexpr (kChannels < 4) {
            for (int c = 0; c < kChannels; ++c) {
                to[c] = centre_factor * centre[c] + axis.weight * (below[c] + above[c]);
            }
        } else {
            for_parts<kChannels>([&](auto part) {
                const auto sides = part.load(below) + part.load(above);
                part.store(to, centre_factor * part.load(centre) + axis.weight * sides);
            });
        }
    }
}

void blur(int channels, const BlurAxis& axis, std::size_t begin, std::size_t end,
          const float* source, float* target) {
    switch (channels) {
        case 1:
            return blur_rows<1>(axis, begin, end, source, target);
        case 2:
            return blur_rows<2>(axis, begin, end, source, target);
        case 4:
            return blur_rows<4>(axis, begin, end, source, target);
        case 8:
            return blur_rows<8>(axis, begin, end, source, target);
        case 16:
            return blur_rows<16>(axis, begin, end, source, target);
        default:
            return blur_rows<24>(axis, begin, end, source, target);
    }
}

}  // namespace
}  // namespace weakseg
