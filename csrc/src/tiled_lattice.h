// The fast lattice: 2 or 5 dimensions, points that lie near each other in memory and in features.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "key_table.h"
#include "lattice_base.h"
#include "pool.h"
#include "tile_kernels.h"

namespace weakseg {

class TiledLattice final : public Lattice::Base {
  public:
    /// As in lattice.h; null if the features spread too far for this kind's keys.
    static std::unique_ptr<TiledLattice> over(const float* features, std::size_t points, int dims,
                                              const LatticeOptions& options);
    static std::unique_ptr<TiledLattice> over(const Frame& frame, float sigma_xy_pixels,
                                              float sigma_rgb_levels,
                                              const LatticeOptions& options);

    void filter(const float* values, std::size_t channels, float* out,
                const FilterOptions& options) const override;
    std::size_t points() const override { return points_; }
    int dims() const override { return geometry_.dims; }
    std::size_t vertices() const override { return vertices_; }
    std::size_t bytes() const override;
    const TiledLattice* as_tiled() const override { return this; }

    /// Values at the vertices: splatted tile by tile, blurred, sliced tile by tile.
    struct VertexValues {
        int channels;  // one, two, or a width of rows that the kernels know
        bool symmetric;
        int threads;
        PooledVector<float> sums;  // of every group, where threads share the splat
        PooledVector<float> values;
        PooledVector<float> spare;
        PooledVector<float> other;  // blurred in the other order
        PooledVector<float> other_spare;
    };

    std::size_t tiles() const { return tiles_.size(); }
    const TileRect& rect(std::size_t tile) const { return tiles_[tile].rect; }
    std::size_t width() const { return width_; }
    bool is_frame() const { return is_frame_; }

    /// Every point's weights summed up, as `filter` of ones would, in the order of the records.
    /// What lies behind a tile's last one is of no use.
    PooledVector<float> sum_weights(const FilterOptions& options) const;
    /// A tile's part of factors that lie as the records do; none for null.
    PointFactors of_tile(std::size_t tile, const float* by_record) const {
        if (by_record == nullptr) return {nullptr, 0};
        return {by_record + tiles_[tile].rect.first_record, 0};
    }

    VertexValues start(int channels, bool symmetric, int threads) const;
    void splat(std::size_t tile, const TileValues& from, VertexValues& vertices) const;
    void blur(VertexValues& vertices) const;
    /// Write `factor` times the sums.
    void slice(std::size_t tile, const VertexValues& vertices, float factor,
               const TileValues& to) const;

  private:
    struct Tile {
        TileRect rect;
        PooledVector<HubGroup> groups;  // and one that marks the end
        std::size_t first_vertex;       // in corner_rows_
        // While building, one of them.
        PooledVector<std::uint32_t> keys;
        PooledVector<std::uint64_t> wide_keys;
        // Where several threads number vertices, each its own: which of the tile's are whose.
        PooledVector<std::uint16_t> by_part;
        std::vector<std::uint32_t> part_ends;

        template <class Key, class PartOf>
        void sort_by_part(const PooledVector<Key>& own_keys, std::size_t parts,
                          const PartOf& part_of);
        /// Call body(i) for the tile's vertices of a part, in their order.
        template <class Body>
        void for_part(std::size_t part, const Body& body) const {
            if (part_ends.empty()) {
                for (std::uint32_t i = 0; i < groups.back().first_vertex; ++i) body(i);
                return;
            }
            const std::uint32_t begin = part == 0 ? 0 : part_ends[part - 1];
            for (std::uint32_t at = begin; at < part_ends[part]; ++at) body(by_part[at]);
        }
    };

    TiledLattice(std::size_t points, int dims, const LatticeOptions& options);

    /// As many of the requested threads as so many points keep busy.
    static int useful_threads(std::size_t points, int requested);

    void cut_features();
    void cut_frame(std::size_t height, std::size_t width);
    void build(const TileSource& source, int threads);
    void locate_all(const TileSource& source, int threads);
    template <class Key>
    void number_vertices(PooledVector<Key> Tile::* keys_of, int threads);
    /// Keys of the corners of a point whose features are all zero.
    std::vector<std::uint64_t> zero_keys() const;
    /// Add the vertices that two others miss.
    template <class Key, class PartOf>
    void add_ring(std::vector<KeyTable<Key>>& tables, const PartOf& part_of, int threads) const;
    template <class Key, class PartOf>
    void find_neighbours(const std::vector<KeyTable<Key>>& tables, const PartOf& part_of,
                         int threads);
    std::size_t parts() const { return part_rows_.size() - 1; }

    /// Call body(first point, first place in the tile, points) for every row of the tile.
    template <class Body>
    void for_rows(const Tile& tile, const Body& body) const;
    /// Add the groups' sums at their vertices.
    void add_sums(VertexValues& vertices) const;

    /// Some channels of an array of values.
    struct ChannelBlock {
        float* data;  // of the first point and channel
        std::size_t point_step;
        std::size_t channel_step;
        std::size_t channels;
        bool is_direct;  // kernels take it as it is
    };

    template <int kChannels>
    TileValues values_of(const Tile& tile, const ChannelBlock& block, float* in_tile,
                         const float* factors) const;
    template <int kChannels>
    void load_tile(const Tile& tile, const ChannelBlock& block, const float* factors,
                   float* in_tile) const;
    /// Ask for a row some way below this one.
    void prefetch_row_ahead(const Tile& tile, std::size_t row, const ChannelBlock& block,
                            std::size_t columns) const;
    void prefetch_tile(std::size_t tile, const ChannelBlock& block) const;
    template <int kChannels>
    void store_tile(const Tile& tile, const float* in_tile, const float* factors,
                    const ChannelBlock& block) const;
    template <int kChannels>
    void filter_block(const ChannelBlock& given, const ChannelBlock& wanted,
                      const FilterOptions& options) const;
    TileView view(const Tile& tile) const;

    std::size_t points_;
    LatticeMode mode_;
    bool adds_zero_;
    TileGeometry geometry_{};
    bool is_frame_ = false;
    std::size_t width_ = kTileSide;  // points in a row of the frame; of features, in a tile's row
    std::size_t vertices_ = 0;
    // Of the vertices: each part was numbered by one thread. The first row of every part, and of
    // none behind the last.
    std::vector<std::size_t> part_rows_;
    std::vector<Tile> tiles_;
    PooledVector<std::uint32_t> records_;
    // Rows of the lattice's values start at 1: row 0 stands for every missing vertex, and is zero.
    PooledVector<std::int32_t> corner_rows_;
    // Both neighbours of every row along every axis: (dims + 1, neighbour_rows_, 2).
    std::size_t neighbour_rows_ = 0;
    PooledVector<std::int32_t> neighbours_;
};

}  // namespace weakseg
