// Features of a row of a tile, in lattice units.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>

#include "../tile_kernels.h"
#include "vectors_impl.h"

namespace weakseg {
namespace {

/// Separate colours while vectors of pixels are full; returns how many pixels that were.
inline std::uint32_t read_whole_vectors(const std::uint8_t* from, std::uint32_t columns,
                                        float (*colours)[kTileSide]) {
    std::uint32_t column = 0;
    for (; column + kLanes <= columns; column += kLanes) {
        const Ints pixels = load_pixels(from + 3 * column);
        for (int colour = 0; colour < 3; ++colour) {
            store(colours[colour] + column, to_floats((pixels >> (8 * colour)) & 255));
        }
    }
    return column;
}

inline std::uint32_t read_whole_vectors(const float*, std::uint32_t, float (*)[kTileSide]) {
    return 0;
}

/// Rows of a tile are too short for the processor to foresee the next ones.
constexpr std::uint32_t kRowsAhead = 4;

/// Separate a row's colours: (3, kTileSide). Asks for the row `ahead` pixels on, if there is one.
template <class Level>
inline void read_levels(const Level* levels, std::size_t plane, std::size_t first,
                        std::size_t ahead, std::uint32_t columns, float (*colours)[kTileSide]) {
    if (plane == 0) {
        const Level* from = levels + 3 * first;
        if (ahead > 0) prefetch(from + 3 * ahead, 3 * columns * sizeof(Level));
        for (std::uint32_t column = read_whole_vectors(from, columns, colours); column < columns;
             ++column) {
            for (int colour = 0; colour < 3; ++colour) {
                colours[colour][column] =
                    static_cast<float>(from[3 * column + static_cast<unsigned>(colour)]);
            }
        }
        return;
    }
    for (std::size_t colour = 0; colour < 3; ++colour) {
        const Level* from = levels + colour * plane + first;
        if (ahead > 0) prefetch(from + ahead, columns * sizeof(Level));
        for (std::uint32_t column = 0; column < columns; ++column) {
            colours[colour][column] = static_cast<float>(from[column]);
        }
    }
}

/// Bring colours to lattice units, in a basis whose last axis is grey: photos mostly vary along
/// it, and the lattice has neighbours in line along its last axis.
inline void scale_levels(const TileGeometry& geometry, const TileSource& source,
                         float (*colours)[kTileSide], std::uint32_t column) {
    const Floats red = load_floats(colours[0] + column);
    const Floats green = load_floats(colours[1] + column);
    const Floats blue = load_floats(colours[2] + column);
    if (source.sigma_level > 0.0F) {
        store(colours[0] + column, red / source.sigma_level * geometry.scale[2]);
        store(colours[1] + column, green / source.sigma_level * geometry.scale[3]);
        store(colours[2] + column, blue / source.sigma_level * geometry.scale[4]);
        return;
    }
    // Differences before factors: grey is exactly 0 then, for every shade.
    store(colours[0] + column, (red - blue) * source.opponent_scale[0]);
    store(colours[1] + column, ((red + blue) - 2.0F * green) * source.opponent_scale[1]);
    store(colours[2] + column, ((red + green) + blue) * source.opponent_scale[2]);
}

/// Write the features of a row of the tile in lattice units, (kDims, kTileSide).
template <int kDims>
inline void scale_row(const TileGeometry& geometry, const TileSource& source, const TileRect& rect,
                      std::uint32_t row, std::uint32_t columns, float (*scaled)[kTileSide]) {
    if (source.features != nullptr) {
        const float* features = source.features + (rect.top + row) * kTileSide * kDims;
        for (std::uint32_t column = 0; column < columns; ++column) {
            for (int i = 0; i < kDims; ++i) {
                scaled[i][column] = features[column * kDims + i] * geometry.scale[i];
            }
        }
        return;
    }
    if constexpr (kDims == 5) {
        const std::size_t y = rect.top + row;
        const std::size_t first = y * source.width + rect.left;
        std::memcpy(scaled[0], source.scaled_x + rect.left, columns * sizeof(float));
        for (std::uint32_t column = 0; column < columns; ++column) {
            scaled[1][column] = source.scaled_y[y];
        }
        const std::size_t ahead = row + kRowsAhead < rect.rows ? kRowsAhead * source.width : 0;
        if (source.bytes != nullptr) {
            read_levels(source.bytes, source.plane, first, ahead, columns, scaled + 2);
        } else {
            read_levels(source.floats, source.plane, first, ahead, columns, scaled + 2);
        }
        for (std::uint32_t column = 0; column < kTileSide; column += kLanes) {
            scale_levels(geometry, source, scaled + 2, column);
        }
    }
}

}  // namespace
}  // namespace weakseg
