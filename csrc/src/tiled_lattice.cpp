// Build a tiled lattice: cut its points into tiles, and locate them.
#include "tiled_lattice.h"

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <utility>
#include <vector>

#include "tile_geometry.h"
#include "weakseg/parallel.h"

namespace weakseg {

TiledLattice::TiledLattice(std::size_t points, int dims, const LatticeOptions& options)
    // pydensecrf takes four points at once: where some are left over, it fills up with zeros.
    : points_(points),
      mode_(mode_of(dims, options)),
      adds_zero_(options.compatible && points % 4 != 0) {}

std::unique_ptr<TiledLattice> TiledLattice::over(const float* features, std::size_t points,
                                                 int dims, const LatticeOptions& options) {
    if (dims != 2 && dims != 5) return nullptr;
    std::array<Range, kMaxTiledDims> ranges{};
    const auto wide = static_cast<std::size_t>(dims);
    if (!options.compatible) {
        for (std::size_t i = 0; i < wide; ++i) ranges[i] = {features[i], features[i]};
    }
    for (std::size_t point = 0; point < points; ++point) {
        for (std::size_t i = 0; i < wide; ++i) {
            const double value = features[point * wide + i];
            ranges[i] = {std::min(ranges[i].low, value), std::max(ranges[i].high, value)};
        }
    }
    std::unique_ptr<TiledLattice> lattice(new TiledLattice(points, dims, options));
    if (!set_geometry(lattice->geometry_, dims, ranges, lattice->mode_.deviation,
                      options.compatible)) {
        return nullptr;
    }
    lattice->cut_features();
    TileSource source{};
    source.features = features;
    lattice->build(source, options.threads);
    return lattice;
}

std::unique_ptr<TiledLattice> TiledLattice::over(const Frame& frame, float sigma_xy_pixels,
                                                 float sigma_rgb_levels,
                                                 const LatticeOptions& options) {
    const std::size_t pixels = frame.height * frame.width;
    Range levels{0.0, 255.0};
    if (frame.floats != nullptr) {
        const auto ends = std::minmax_element(frame.floats, frame.floats + 3 * pixels);
        levels = {*ends.first, *ends.second};
    }
    const std::array<Range, kMaxTiledDims> ranges =
        options.compatible ? plain_ranges(frame, levels, sigma_xy_pixels, sigma_rgb_levels)
                           : opponent_ranges(frame, levels, sigma_xy_pixels, sigma_rgb_levels);
    std::unique_ptr<TiledLattice> lattice(new TiledLattice(pixels, 5, options));
    TileGeometry& geometry = lattice->geometry_;
    if (!set_geometry(geometry, 5, ranges, lattice->mode_.deviation, options.compatible)) {
        return nullptr;
    }
    lattice->cut_frame(frame.height, frame.width);

    std::vector<float> x(frame.width);
    std::vector<float> y(frame.height);
    const auto scale_positions = [&](std::vector<float>& positions, float scale) {
        const auto factor = static_cast<float>(double{scale} / double{sigma_xy_pixels});
        for (std::size_t i = 0; i < positions.size(); ++i) {
            const auto place = static_cast<float>(i);
            positions[i] = options.compatible ? place / sigma_xy_pixels * scale : place * factor;
        }
    };
    scale_positions(x, geometry.scale[0]);
    scale_positions(y, geometry.scale[1]);
    TileSource source{};
    source.bytes = frame.bytes;
    source.floats = frame.floats;
    source.width = frame.width;
    source.plane = frame.planes ? pixels : 0;
    source.scaled_x = x.data();
    source.scaled_y = y.data();
    for (std::size_t i = 0; i < 3; ++i) {
        source.opponent_scale[i] = static_cast<float>(double{geometry.scale[2 + i]} /
                                                      double{sigma_rgb_levels} * kOpponentNorm[i]);
    }
    source.sigma_level = options.compatible ? sigma_rgb_levels : 0.0F;
    lattice->build(source, options.threads);
    return lattice;
}

void TiledLattice::cut_features() {
    for (std::size_t first = 0; first < points_; first += kTilePoints) {
        const std::size_t count = std::min<std::size_t>(kTilePoints, points_ - first);
        const std::size_t rows = (count + kTileSide - 1) / kTileSide;
        Tile tile{};
        tile.rect.top = first / kTileSide;
        tile.rect.rows = static_cast<std::uint32_t>(rows);
        tile.rect.columns = kTileSide;
        tile.rect.last_columns = static_cast<std::uint32_t>(count - (rows - 1) * kTileSide);
        tile.rect.first_record = first + tiles_.size() * kRecordPadding;
        tiles_.push_back(std::move(tile));
    }
}

void TiledLattice::cut_frame(std::size_t height, std::size_t width) {
    is_frame_ = true;
    width_ = width;
    std::size_t first = 0;
    for (std::size_t top = 0; top < height; top += kTileSide) {
        for (std::size_t left = 0; left < width; left += kTileSide) {
            Tile tile{};
            tile.rect.top = top;
            tile.rect.left = left;
            tile.rect.rows =
                static_cast<std::uint32_t>(std::min<std::size_t>(kTileSide, height - top));
            tile.rect.columns =
                static_cast<std::uint32_t>(std::min<std::size_t>(kTileSide, width - left));
            tile.rect.last_columns = tile.rect.columns;
            tile.rect.first_record = first;
            first += std::size_t{tile.rect.rows} * tile.rect.columns + kRecordPadding;
            tiles_.push_back(std::move(tile));
        }
    }
}

void TiledLattice::build(const TileSource& source, int threads) {
    records_.resize((points_ + tiles_.size() * kRecordPadding) * kRecordWords);
    const int useful = useful_threads(points_, threads);
    locate_all(source, useful);
    if (geometry_.is_wide) {
        number_vertices(&Tile::wide_keys, useful);
    } else {
        number_vertices(&Tile::keys, useful);
    }
    for (Tile& tile : tiles_) {
        tile.keys = {};
        tile.wide_keys = {};
    }
}

void TiledLattice::locate_all(const TileSource& source, int threads) {
    const TileKernels& kernels = tile_kernels();
    parallel_items(tiles_.size(), threads, [&](const std::function<std::size_t()>& next) {
        PooledVector<TileScratch> memory(1);
        TileScratch& scratch = memory[0];
        for (std::size_t at = next(); at < tiles_.size(); at = next()) {
            Tile& tile = tiles_[at];
            kernels.locate(geometry_, source, tile.rect, scratch, records_.data());
            tile.groups.assign(scratch.groups, scratch.groups + scratch.group_count + 1);
            if (geometry_.is_wide) {
                tile.wide_keys.assign(scratch.wide_keys, scratch.wide_keys + scratch.vertex_count);
            } else {
                tile.keys.assign(scratch.keys, scratch.keys + scratch.vertex_count);
            }
        }
    });
    std::size_t vertices = 0;
    for (Tile& tile : tiles_) {
        tile.first_vertex = vertices;
        vertices += tile.groups.back().first_vertex;
    }
    corner_rows_.resize(vertices);
}

std::size_t TiledLattice::bytes() const {
    std::size_t total =
        4 * (records_.capacity() + corner_rows_.capacity() + neighbours_.capacity());
    for (const Tile& tile : tiles_) {
        total += sizeof(Tile) + tile.groups.capacity() * sizeof(HubGroup) +
                 tile.by_part.capacity() * sizeof(tile.by_part[0]) +
                 tile.part_ends.capacity() * sizeof(tile.part_ends[0]);
    }
    return total;
}

}  // namespace weakseg
