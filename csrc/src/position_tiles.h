// A position kernel tile by tile: cells of new values while a tile is at hand, their sums later.
//
// Only cells go through memory: of a wide kernel, a quarter of the pixels. Every tile keeps cells
// of its own, margins included, so that threads never add to the same; a tile's sums add up those
// of its neighbours.
#pragma once

#include <cstddef>
#include <vector>

#include "pool.h"
#include "position_cells.h"
#include "tiled_lattice.h"
#include "weakseg/position_kernel.h"

namespace weakseg {

class PositionTiles {
  public:
    PositionTiles(const PositionKernel& kernel, const TiledLattice& frame, std::size_t channels);

    /// Whether no sum reaches farther than the next tile.
    static bool suits(const PositionKernel& kernel);

    /// Memory of one thread.
    struct Memory {
        Memory(const PositionTiles& tiles);

        PixelRow pixels;
        CellRow line;
        std::size_t step;            // of the rows below
        PooledVector<float> recent;  // rows of cells of the last eight rows of pixels
        PooledVector<float> across;  // convolved along x
        PooledVector<float> smooth;  // along y, too
        std::vector<float> row;
    };

    /// Take new values of a tile, its rows one after the other; `factors` may be null.
    void take_row(std::size_t tile, std::size_t row, const float* values, const float* factors,
                  Memory& memory);
    /// All are taken: they are those that sums are of from now on.
    void turn() { taken_.swap(summed_); }

    /// Prepare a tile's sums, then add them, row by row: sums += weight * factors * own.
    void sum(std::size_t tile, Memory& memory) const;
    void add_row(std::size_t tile, std::size_t row, float weight, const float* factors,
                 Memory& memory, float* sums) const;

  private:
    const TileRect& rect(std::size_t tile) const { return frame_.rect(tile); }
    std::size_t cell_columns(std::size_t tile) const { return axis_x().cells(rect(tile).columns); }
    /// Floats of a row of cells, in whole vectors.
    std::size_t cell_floats(std::size_t tile) const {
        return whole_vectors(cell_columns(tile) * channels_);
    }
    std::size_t cell_rows(std::size_t tile) const { return axis_y().cells(rect(tile).rows); }
    const PositionAxis& axis_x() const { return kernel_.axis_x(); }
    const PositionAxis& axis_y() const { return kernel_.axis_y(); }
    void add_cells(std::size_t tile, std::ptrdiff_t row, float* line) const;

    const PositionKernel& kernel_;
    const TiledLattice& frame_;
    std::size_t channels_;
    std::size_t tiles_across_;
    std::size_t tile_floats_;  // of the first, the largest
    // (tiles, rows of cells, cells, channels)
    PooledVector<float> taken_;
    PooledVector<float> summed_;
};

}  // namespace weakseg
