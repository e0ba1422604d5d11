// Splat, blur and slice of a tiled lattice, tile by tile.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <utility>

#include "strided_copy.h"
#include "tiled_lattice.h"
#include "weakseg/parallel.h"

namespace weakseg {

int TiledLattice::useful_threads(std::size_t points, int requested) {
    const auto most = std::max<std::size_t>(1, points / points_per_thread());
    return static_cast<int>(
        std::min<std::size_t>(most, static_cast<std::size_t>(resolve_threads(requested))));
}

template <class Body>
void TiledLattice::for_rows(const Tile& tile, const Body& body) const {
    for (std::uint32_t row = 0; row < tile.rect.rows; ++row) {
        const bool is_last = row + 1 == tile.rect.rows;
        body((tile.rect.top + row) * width_ + tile.rect.left, std::size_t{row} * kTileSide,
             std::size_t{is_last ? tile.rect.last_columns : tile.rect.columns});
    }
}

TileView TiledLattice::view(const Tile& tile) const {
    TileView view{};
    view.records = records_.data() + tile.rect.first_record * kRecordWords;
    view.groups = tile.groups.data();
    view.group_count = static_cast<std::uint32_t>(tile.groups.size() - 1);
    view.vertices = corner_rows_.data() + tile.first_vertex;
    return view;
}

PooledVector<float> TiledLattice::sum_weights(const FilterOptions& options) const {
    VertexValues vertices = start(1, options.symmetric, options.threads);
    PooledVector<float> sums(points_ + tiles_.size() * kRecordPadding);
    const auto for_tiles = [&](const auto& body) {
        parallel_items(tiles(), vertices.threads, [&](const std::function<std::size_t()>& next) {
            for (std::size_t at = next(); at < tiles(); at = next()) body(at);
        });
    };
    const PointFactors none{nullptr, 0};
    for_tiles([&](std::size_t tile) { splat(tile, {nullptr, 0, none}, vertices); });
    blur(vertices);
    for_tiles([&](std::size_t tile) {
        float* const own = sums.data() + tiles_[tile].rect.first_record;
        slice(tile, vertices, 1.0F, {own, 0, none});
    });
    return sums;
}

TiledLattice::VertexValues TiledLattice::start(int channels, bool symmetric, int threads) const {
    VertexValues vertices{};
    vertices.channels = channels;
    vertices.symmetric = symmetric;
    vertices.threads = useful_threads(points_, threads);
    const auto wide = static_cast<std::size_t>(channels);
    vertices.values.resize((vertices_ + 1) * wide);
    if (vertices.threads == 1) {
        std::fill(vertices.values.begin(), vertices.values.end(), 0.0F);
    } else {
        vertices.sums.resize(corner_rows_.size() * wide);
    }
    return vertices;
}

void TiledLattice::splat(std::size_t tile, const TileValues& from, VertexValues& vertices) const {
    const bool is_alone = vertices.threads == 1;
    const std::size_t first =
        tiles_[tile].first_vertex * static_cast<std::size_t>(vertices.channels);
    tile_kernels().splat(geometry_.dims, vertices.channels, view(tiles_[tile]), from,
                         is_alone ? vertices.values.data() : nullptr,
                         is_alone ? nullptr : vertices.sums.data() + first);
}

void TiledLattice::add_sums(VertexValues& vertices) const {
    // Every thread adds to rows of its own, in the order in which one thread alone would.
    const auto channels = static_cast<std::size_t>(vertices.channels);
    float* const values = vertices.values.data();
    std::fill_n(values, channels, 0.0F);
    parallel_items(parts(), vertices.threads, [&](const std::function<std::size_t()>& next) {
        for (std::size_t part = next(); part < parts(); part = next()) {
            std::fill(values + part_rows_[part] * channels,
                      values + part_rows_[part + 1] * channels, 0.0F);
            for (const Tile& tile : tiles_) {
                tile.for_part(part, [&](std::size_t i) {
                    const std::size_t at = tile.first_vertex + i;
                    float* const to =
                        values + static_cast<std::size_t>(corner_rows_[at]) * channels;
                    for (std::size_t c = 0; c < channels; ++c) {
                        to[c] += vertices.sums[at * channels + c];
                    }
                });
            }
        }
    });
}

void TiledLattice::blur(VertexValues& vertices) const {
    if (vertices.threads > 1) add_sums(vertices);
    const TileKernels& kernels = tile_kernels();
    const auto channels = static_cast<std::size_t>(vertices.channels);
    const bool is_mean = vertices.symmetric && !mode_.there_and_back;
    const int axes = geometry_.dims + 1;
    // Row 0 stays zero; the kernels write all others.
    const auto prepare = [&](PooledVector<float>& spare) {
        spare.resize(vertices.values.size());
        std::fill_n(spare.begin(), vertices.channels, 0.0F);
    };
    prepare(vertices.spare);
    if (is_mean) {
        prepare(vertices.other);
        prepare(vertices.other_spare);
    }
    const float given_back = mode_.give_back * mode_.blur;
    const auto axis_of = [&](int axis) {
        const auto at = static_cast<std::size_t>(axis < axes ? axis : 2 * axes - 1 - axis);
        return BlurAxis{&neighbours_[at * neighbour_rows_ * 2],
                        {1.0F, 1.0F + given_back, 1.0F + 2.0F * given_back},
                        mode_.blur};
    };
    const int passes = mode_.there_and_back ? 2 * axes : axes;
    const int members = useful_threads(8 * vertices_, vertices.threads);
    run_together(members, [&](int member, int count, Barrier& barrier) {
        const auto part = static_cast<std::size_t>(member);
        const auto parts = static_cast<std::size_t>(count);
        const std::size_t begin = 1 + vertices_ * part / parts;
        const std::size_t end = 1 + vertices_ * (part + 1) / parts;
        float* source = vertices.values.data();
        float* target = vertices.spare.data();
        float* other_source = vertices.other.data();
        float* other_target = vertices.other_spare.data();
        if (is_mean) {
            std::copy(source + begin * channels, source + end * channels,
                      other_source + begin * channels);
            barrier.wait();
        }
        for (int pass = 0; pass < passes; ++pass) {
            kernels.blur(vertices.channels, axis_of(pass), begin, end, source, target);
            if (is_mean) {
                kernels.blur(vertices.channels, axis_of(axes - 1 - pass), begin, end, other_source,
                             other_target);
            }
            barrier.wait();
            std::swap(source, target);
            std::swap(other_source, other_target);
        }
        if (!is_mean) return;
        for (std::size_t i = begin * channels; i < end * channels; ++i) {
            source[i] = 0.5F * (source[i] + other_source[i]);
        }
    });
    if (passes % 2 == 1) vertices.values.swap(vertices.spare);
}

void TiledLattice::slice(std::size_t tile, const VertexValues& vertices, float factor,
                         const TileValues& to) const {
    tile_kernels().slice(geometry_.dims, vertices.channels, view(tiles_[tile]),
                         vertices.values.data(), factor * mode_.scale, to);
}

template <int kChannels>
TileValues TiledLattice::values_of(const Tile& tile, const ChannelBlock& block, float* in_tile,
                                   const float* factors) const {
    const std::size_t point = tile.rect.top * width_ + tile.rect.left;
    if (!block.is_direct) return {in_tile, kTileSide * kChannels, {nullptr, 0}};
    return {block.data + point * kChannels,
            width_ * kChannels,
            {factors == nullptr ? nullptr : factors + point, width_}};
}

void TiledLattice::prefetch_row_ahead(const Tile& tile, std::size_t row, const ChannelBlock& block,
                                      std::size_t columns) const {
    // Asking for all of a tile at once would be more than the processor fetches side by side.
    constexpr std::size_t kRowsAhead = 6;
    if (row + kRowsAhead >= tile.rect.rows) return;
    const std::size_t point = (tile.rect.top + row + kRowsAhead) * width_ + tile.rect.left;
    const float* from = block.data + point * block.point_step;
    if (block.point_step != 1) return prefetch_floats(from, columns * block.point_step);
    for (std::size_t c = 0; c < block.channels; ++c) {
        prefetch_floats(from + c * block.channel_step, columns);
    }
}

template <int kChannels>
void TiledLattice::load_tile(const Tile& tile, const ChannelBlock& block, const float* factors,
                             float* in_tile) const {
    for_rows(tile, [&](std::size_t point, std::size_t place, std::size_t columns) {
        prefetch_row_ahead(tile, place / kTileSide, block, columns);
        const Strided<float> row{in_tile + place * kChannels, kChannels, 1};
        copy_strided({block.data + point * block.point_step, block.point_step, block.channel_step},
                     row, columns, block.channels);
        if (factors != nullptr) multiply_points<kChannels>(row.data, factors + point, columns);
    });
}

template <int kChannels>
void TiledLattice::store_tile(const Tile& tile, const float* in_tile, const float* factors,
                              const ChannelBlock& block) const {
    for_rows(tile, [&](std::size_t point, std::size_t place, std::size_t columns) {
        prefetch_row_ahead(tile, place / kTileSide, block, columns);
        const Strided<float> to{block.data + point * block.point_step, block.point_step,
                                block.channel_step};
        copy_strided({in_tile + place * kChannels, kChannels, 1}, to, columns, block.channels);
        if (factors == nullptr) return;
        for (std::size_t i = 0; i < columns; ++i) {
            for (std::size_t c = 0; c < block.channels; ++c) {
                to.data[i * to.point_step + c * to.channel_step] *= factors[point + i];
            }
        }
    });
}

void TiledLattice::prefetch_tile(std::size_t tile, const ChannelBlock& block) const {
    if (tile >= tiles()) return;
    for_rows(tiles_[tile], [&](std::size_t point, std::size_t, std::size_t columns) {
        prefetch_floats(block.data + point * block.point_step, columns * block.point_step);
    });
}

template <int kChannels>
void TiledLattice::filter_block(const ChannelBlock& given, const ChannelBlock& wanted,
                                const FilterOptions& options) const {
    VertexValues vertices = start(kChannels, options.symmetric, options.threads);
    const std::size_t buffer = given.is_direct ? 0 : kTilePoints * kChannels;
    parallel_items(tiles(), vertices.threads, [&](const std::function<std::size_t()>& next) {
        PooledVector<float> in_tile(buffer);
        std::fill(in_tile.begin(), in_tile.end(), 0.0F);  // channels that are none, too
        for (std::size_t at = next(); at < tiles(); at = next()) {
            if (given.is_direct) {
                // Rows of a tile are too short for the processor to foresee the next one's.
                prefetch_tile(at + static_cast<std::size_t>(vertices.threads), given);
            } else {
                load_tile<kChannels>(tiles_[at], given, options.before, in_tile.data());
            }
            splat(at, values_of<kChannels>(tiles_[at], given, in_tile.data(), options.before),
                  vertices);
        }
    });
    blur(vertices);
    parallel_items(tiles(), vertices.threads, [&](const std::function<std::size_t()>& next) {
        PooledVector<float> in_tile(buffer);
        for (std::size_t at = next(); at < tiles(); at = next()) {
            if (wanted.is_direct) prefetch_tile(at, wanted);
            slice(at, vertices, 1.0F,
                  values_of<kChannels>(tiles_[at], wanted, in_tile.data(), options.after));
            if (!wanted.is_direct) {
                store_tile<kChannels>(tiles_[at], in_tile.data(), options.after, wanted);
            }
        }
    });
}

void TiledLattice::filter(const float* values, std::size_t channels, float* out,
                          const FilterOptions& options) const {
    for (std::size_t first = 0; first < channels;) {
        const std::size_t left = channels - first;
        std::size_t width = 24;
        for (const std::size_t fit : {16, 8, 4, 2, 1}) {
            if (left <= fit) width = fit;
        }
        // Rows of a width that kernels know need no copies; if they fit 32 bits.
        const bool is_direct = !options.planes && channels == width && width > 2 &&
                               kTileSide * width_ * width < std::size_t{1} << 31U;
        ChannelBlock given{};
        given.data = const_cast<float*>(values) + first * (options.planes ? points_ : 1);  // read
        given.point_step = options.planes ? 1 : channels;
        given.channel_step = options.planes ? points_ : 1;
        given.channels = std::min(width, left);
        given.is_direct = is_direct;
        ChannelBlock wanted = given;
        wanted.data = out + first * (options.planes ? points_ : 1);
        switch (width) {
            case 1:
                filter_block<1>(given, wanted, options);
                break;
            case 2:
                filter_block<2>(given, wanted, options);
                break;
            case 4:
                filter_block<4>(given, wanted, options);
                break;
            case 8:
                filter_block<8>(given, wanted, options);
                break;
            case 16:
                filter_block<16>(given, wanted, options);
                break;
            default:
                filter_block<24>(given, wanted, options);
        }
        first += width;
    }
}

}  // namespace weakseg
