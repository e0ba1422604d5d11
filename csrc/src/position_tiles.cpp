#include "position_tiles.h"

#include <algorithm>
#include <vector>

namespace weakseg {

namespace {

constexpr std::size_t kRecentRows = 8;

std::size_t own_cells(const PositionAxis& axis) { return kTileSide / axis.pixels_per_cell; }

}  // namespace

bool PositionTiles::suits(const PositionKernel& kernel) {
    const auto is_near = [](const PositionAxis& axis) {
        return axis.reach() + 2 * axis.margin <= own_cells(axis);
    };
    return is_near(kernel.axis_x()) && is_near(kernel.axis_y());
}

PositionTiles::PositionTiles(const PositionKernel& kernel, const TiledLattice& frame,
                             std::size_t channels)
    : kernel_(kernel),
      frame_(frame),
      channels_(channels),
      tiles_across_((frame.width() + kTileSide - 1) / kTileSide),
      tile_floats_(cell_rows(0) * cell_floats(0)),
      taken_(frame.tiles() * tile_floats_),
      summed_(frame.tiles() * tile_floats_) {}

PositionTiles::Memory::Memory(const PositionTiles& tiles)
    : pixels(kTileSide, tiles.channels_),
      line(tiles.axis_x(), tiles.axis_x().cells(kTileSide) * tiles.channels_, tiles.channels_),
      step(row_step(tiles.axis_x().cells(kTileSide) * tiles.channels_)),
      recent(kRecentRows * step + kRowSlack),
      across((tiles.axis_y().cells(kTileSide) + 2 * tiles.axis_y().reach()) * step + kRowSlack),
      smooth(tiles.axis_y().cells(kTileSide) * step + kRowSlack),
      row(step + kRowSlack) {}

void PositionTiles::take_row(std::size_t tile, std::size_t row, const float* values,
                             const float* factors, Memory& memory) {
    const std::size_t columns = rect(tile).columns;
    const std::size_t rows = rect(tile).rows;
    const std::size_t floats = cell_floats(tile);
    float* const cells = taken_.data() + tile * tile_floats_;
    if (row == 0) memory.pixels.clear_after(columns);
    memory.pixels.fill(columns, values, factors);
    if (axis_y().pixels_per_cell == 1) {
        return memory.pixels.to_cells(axis_x(), columns, cells + row * floats);
    }
    const auto recent = [&](std::size_t y) {
        return memory.recent.data() + y % kRecentRows * memory.step;
    };
    memory.pixels.to_cells(axis_x(), columns, recent(row));
    // Cells whose last row this is, and behind the last row all others.
    const bool is_last = row + 1 == rows;
    const std::size_t end = is_last ? cell_rows(tile) : row / 2 + 1;
    for (std::size_t j = row % 2 == 0 ? row / 2 : row / 2 + 1; j < end; ++j) {
        RowsOfCell(axis_y(), j, rows).sum(recent, floats, cells + j * floats);
    }
}

/// Add the cells that tiles have in a row of the frame's cells, from the left end of `line` on.
void PositionTiles::add_cells(std::size_t tile, std::ptrdiff_t row, float* line) const {
    const auto own = static_cast<std::ptrdiff_t>(own_cells(axis_x()));
    const auto reach = static_cast<std::ptrdiff_t>(axis_x().reach());
    const std::size_t column = tile % tiles_across_;
    const auto end = static_cast<std::ptrdiff_t>(cell_columns(tile)) + reach;
    for (std::size_t other = column == 0 ? 0 : column - 1;
         other < std::min(column + 2, tiles_across_); ++other) {
        const std::size_t neighbour = tile - column + other;
        const auto cells = static_cast<std::ptrdiff_t>(cell_columns(neighbour));
        // Where it begins, from the tile's first cell on; margins of both begin alike.
        const std::ptrdiff_t shift =
            (static_cast<std::ptrdiff_t>(other) - static_cast<std::ptrdiff_t>(column)) * own;
        const std::ptrdiff_t from = std::max(shift, -reach);
        const std::ptrdiff_t to = std::min(shift + cells, end);
        if (from >= to) continue;
        const auto channels = static_cast<std::ptrdiff_t>(channels_);
        const float* const values = summed_.data() + neighbour * tile_floats_ +
                                    static_cast<std::size_t>(row) * cell_floats(neighbour) +
                                    static_cast<std::size_t>((from - shift) * channels);
        const auto count = static_cast<std::size_t>((to - from) * channels);
        tile_kernels().add_scaled(count, 1, values, 1.0F, nullptr, false,
                                  line + (from + reach) * channels);
    }
}

void PositionTiles::sum(std::size_t tile, Memory& memory) const {
    const auto own = static_cast<std::ptrdiff_t>(own_cells(axis_y()));
    const auto reach = static_cast<std::ptrdiff_t>(axis_y().reach());
    const std::size_t rows = cell_rows(tile);
    const std::size_t floats = cell_columns(tile) * channels_;
    const std::size_t pad = axis_x().reach() * channels_;
    const std::size_t tile_row = tile / tiles_across_;
    const std::size_t tile_rows = frame_.tiles() / tiles_across_;
    float* const inner = memory.line.inner();
    for (std::ptrdiff_t j = -reach; j < static_cast<std::ptrdiff_t>(rows) + reach; ++j) {
        std::fill(inner - pad, inner + floats + pad, 0.0F);
        for (std::size_t other = tile_row == 0 ? 0 : tile_row - 1;
             other < std::min(tile_row + 2, tile_rows); ++other) {
            const std::size_t neighbour = tile + other * tiles_across_ - tile_row * tiles_across_;
            const std::ptrdiff_t row =
                j -
                (static_cast<std::ptrdiff_t>(other) - static_cast<std::ptrdiff_t>(tile_row)) * own;
            if (row < 0 || row >= static_cast<std::ptrdiff_t>(cell_rows(neighbour))) continue;
            add_cells(neighbour, row, inner - pad);
        }
        float* const to = memory.across.data() + static_cast<std::size_t>(j + reach) * memory.step;
        memory.line.convolve(axis_x(), floats, to);
    }
    tile_kernels().convolve(memory.across.data() + axis_y().reach() * memory.step,
                            axis_y().taps.data(), static_cast<int>(reach),
                            static_cast<std::ptrdiff_t>(memory.step), rows, whole_vectors(floats),
                            memory.smooth.data(), static_cast<std::ptrdiff_t>(memory.step));
}

void PositionTiles::add_row(std::size_t tile, std::size_t row, float weight, const float* factors,
                            Memory& memory, float* sums) const {
    const CellsOfRow cells(axis_y(), row);
    cells.sum([&](std::size_t j) { return memory.smooth.data() + j * memory.step; },
              cell_floats(tile), memory.row.data());
    add_from_cells(axis_x(), rect(tile).columns, channels_, memory.row.data(), weight, factors,
                   false, sums);
}

}  // namespace weakseg
