#include "tiled_lattice.h"

#include <algorithm>
#include <array>
#include <cmath>

#include "strided_copy.h"
#include "weakseg/parallel.h"

namespace weakseg {

namespace {

struct Range {
    double low;
    double high;
};

/// Neighbours' hash slots are fetched so many vertices before they are read.
constexpr std::size_t kAhead = 3;

int useful_threads(std::size_t points, int requested) {
    const auto most = std::max<std::size_t>(1, points / points_per_thread());
    return static_cast<int>(
        std::min<std::size_t>(most, static_cast<std::size_t>(resolve_threads(requested))));
}

template <int kDims>
void set_codes(TileGeometry& geometry, bool compatible) {
    // The larger code is sorted first, which settles ties.
    for (int axis = 0; axis <= kDims; ++axis) {
        geometry.code[axis] = TableLayout<kDims>::kCode[compatible ? kDims - axis : axis];
    }
}

/// Key steps of every lane of a group's table, found by going through all sets of axes.
template <int kDims>
void set_lanes(TileGeometry& geometry) {
    using Layout = TableLayout<kDims>;
    constexpr int kSide = kDims + 1;
    for (unsigned set = 1; set + 1 < 1U << kSide; ++set) {
        int corner = 0;
        std::uint64_t step = 0;
        unsigned inside = 0;
        unsigned outside = 0;
        for (int axis = 0; axis < kSide; ++axis) {
            const auto code = static_cast<unsigned>(geometry.code[axis]);
            if ((set >> axis & 1U) == 0) {
                outside ^= code;
                continue;
            }
            ++corner;
            inside ^= code;
            step -= static_cast<std::uint32_t>(geometry.low[axis]);
            step -= static_cast<std::uint64_t>(static_cast<std::uint32_t>(geometry.high[axis]))
                    << 32U;
        }
        const unsigned mask = 2 * corner == kSide ? 31 : 15;
        const unsigned lane = (2 * corner <= kSide ? inside : outside) & mask;
        geometry.lane_step[static_cast<unsigned>(Layout::kFirstLane[corner - 1]) + lane] =
            step + static_cast<unsigned>(corner);
    }
    geometry.lane_step[Layout::kHubLane] = 0;
}

/// Set up `geometry` for features in `ranges`; false if the keys have no room for them.
bool set_geometry(TileGeometry& geometry, int dims, const std::array<Range, kMaxTiledDims>& ranges,
                  float deviation, bool compatible) {
    geometry.dims = dims;
    std::array<Range, kMaxTiledDims> scaled{};
    for (int i = 0; i < dims; ++i) {
        geometry.scale[i] = axis_scale(deviation, i);
        scaled[static_cast<std::size_t>(i)] = {
            ranges[static_cast<std::size_t>(i)].low * geometry.scale[i],
            ranges[static_cast<std::size_t>(i)].high * geometry.scale[i]};
    }
    // Coordinates that a vertex, or a neighbour of one, can have: the last follows from the rest.
    std::array<double, kMaxTiledDims> least{};
    std::array<double, kMaxTiledDims> count{};
    double all = 8.0;  // three bits hold the remainder
    for (int axis = 0; axis < dims; ++axis) {
        const auto at = static_cast<std::size_t>(axis);
        Range elevated{0.0, 0.0};
        for (std::size_t i = at; i < static_cast<std::size_t>(dims); ++i) {
            elevated.low += scaled[i].low;
            elevated.high += scaled[i].high;
        }
        if (axis > 0) {
            elevated.low -= axis * scaled[at - 1].high;
            elevated.high -= axis * scaled[at - 1].low;
        }
        // A hub's own move, a corner's, a neighbour's, and a neighbour's of one that was added.
        least[at] = std::floor(elevated.low / (dims + 1)) - 4.0;
        count[at] = std::ceil(elevated.high / (dims + 1)) + 4.0 - least[at];
        if (!(count[at] < 65536.0)) return false;
        all *= count[at];
    }
    // In one half, unless they are too many; of five, then, three and two.
    constexpr double kMostKeys = 2147483648.0;
    geometry.is_wide = all >= kMostKeys;
    std::array<double, 2> room{8.0, 1.0};
    for (int axis = 0; axis < dims; ++axis) {
        const auto at = static_cast<std::size_t>(axis);
        const std::size_t half = geometry.is_wide && axis >= 3 ? 1 : 0;
        const auto step = static_cast<std::int64_t>(room[half]);
        room[half] *= count[at];
        if (!(room[half] < kMostKeys)) return false;
        (half == 0 ? geometry.low : geometry.high)[axis] = static_cast<std::int32_t>(step);
        std::int32_t& first = half == 0 ? geometry.first_low : geometry.first_high;
        first = static_cast<std::int32_t>(first - static_cast<std::int64_t>(least[at]) * step);
    }
    dims == 2 ? set_codes<2>(geometry, compatible) : set_codes<5>(geometry, compatible);
    for (int axis = 0; axis <= dims; ++axis) {
        geometry.low_by_code[geometry.code[axis] & 15] = geometry.low[axis];
        geometry.high_by_code[geometry.code[axis] & 15] = geometry.high[axis];
    }
    dims == 2 ? set_lanes<2>(geometry) : set_lanes<5>(geometry);
    return true;
}

/// Of a frame's features x, y, r, g, b.
std::array<Range, kMaxTiledDims> plain_ranges(const Frame& frame, const Range& levels,
                                              float sigma_xy_pixels, float sigma_rgb_levels) {
    const Range colours{std::min(0.0, levels.low) / sigma_rgb_levels,
                        std::max(0.0, levels.high) / sigma_rgb_levels};
    return {Range{0.0, static_cast<double>(frame.width - 1) / sigma_xy_pixels},
            Range{0.0, static_cast<double>(frame.height - 1) / sigma_xy_pixels}, colours, colours,
            colours};
}

/// Factors that make (r - b, r - 2 g + b, r + g + b) an orthonormal basis of the colours.
const std::array<double, 3> kOpponentNorm{1.0 / std::sqrt(2.0), 1.0 / std::sqrt(6.0),
                                          1.0 / std::sqrt(3.0)};

/// Of a frame's features x, y, and colours in that basis.
std::array<Range, kMaxTiledDims> opponent_ranges(const Frame& frame, const Range& levels,
                                                 float sigma_xy_pixels, float sigma_rgb_levels) {
    auto ranges = plain_ranges(frame, levels, sigma_xy_pixels, sigma_rgb_levels);
    const double span = (levels.high - levels.low) / sigma_rgb_levels;
    ranges[2] = {-span * kOpponentNorm[0], span * kOpponentNorm[0]};
    ranges[3] = {-2.0 * span * kOpponentNorm[1], 2.0 * span * kOpponentNorm[1]};
    ranges[4] = {3.0 * levels.low / sigma_rgb_levels * kOpponentNorm[2],
                 3.0 * levels.high / sigma_rgb_levels * kOpponentNorm[2]};
    return ranges;
}

std::uint64_t key_step(const TileGeometry& geometry, int axis) {
    return static_cast<std::uint32_t>(geometry.low[axis]) +
           (static_cast<std::uint64_t>(static_cast<std::uint32_t>(geometry.high[axis])) << 32U);
}

/// Key steps to a vertex's neighbours: along axis i the next one has every coordinate one larger,
/// and the i-th dims smaller.
template <class Key>
class AxisSteps {
  public:
    explicit AxisSteps(const TileGeometry& geometry) : dims_(static_cast<Key>(geometry.dims)) {
        std::uint64_t all = 0;
        for (int axis = 0; axis < geometry.dims; ++axis) all += key_step(geometry, axis);
        for (int axis = 0; axis <= geometry.dims; ++axis) {
            const auto at = static_cast<std::size_t>(axis);
            const std::uint64_t own = key_step(geometry, axis);
            step_[at] = static_cast<Key>(1 - own);
            wrapping_step_[at] =
                static_cast<Key>(all - own - static_cast<std::uint64_t>(geometry.dims));
        }
    }

    /// Of every axis; wrapping are those from remainder dims to 0.
    const Key* to_above(Key key) const {
        return remainder(key) == dims_ ? wrapping_step_.data() : step_.data();
    }

    /// To subtract.
    const Key* from_below(Key key) const {
        return remainder(key) == 0 ? wrapping_step_.data() : step_.data();
    }

  private:
    static Key remainder(Key key) { return key & 7U; }

    Key dims_;
    std::array<Key, kMaxTiledDims + 1> step_{};
    std::array<Key, kMaxTiledDims + 1> wrapping_step_{};
};

}  // namespace

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

template <class Key>
void TiledLattice::number_vertices(PooledVector<Key> Tile::* keys_of, int threads) {
    // One table a thread, chosen by the hash's topmost bits. The numbers depend on how many there
    // are; the filter's sums do not.
    int bits = 0;
    while (bits < 4 && 1 << bits < threads) ++bits;
    const std::size_t parts = std::size_t{1} << bits;
    const auto part_of = [&](Key key) {
        return bits == 0 ? 0 : static_cast<std::size_t>(hash_key(key) >> (64 - bits));
    };
    // Groups share vertices with their neighbours: some four groups a vertex on photos.
    std::vector<KeyTable<Key>> tables(parts, KeyTable<Key>(corner_rows_.size() / (4 * parts)));
    parallel_items(parts, threads, [&](const std::function<std::size_t()>& next) {
        for (std::size_t part = next(); part < parts; part = next()) {
            KeyTable<Key>& table = tables[part];
            for (const Tile& tile : tiles_) {
                std::int32_t* row = corner_rows_.data() + tile.first_vertex;
                const PooledVector<Key>& keys = tile.*keys_of;
                for (std::size_t i = 0; i < keys.size(); ++i) {
                    if (part_of(keys[i]) == part) row[i] = table.find_or_add(keys[i]) + 1;
                }
            }
        }
    });
    if (adds_zero_) {
        for (const std::uint64_t key : zero_keys()) {
            tables[part_of(static_cast<Key>(key))].find_or_add(static_cast<Key>(key));
        }
    }
    if (mode_.ring) add_ring(tables, part_of, threads);
    std::vector<std::int32_t> first(parts);
    for (std::size_t part = 0; part < parts; ++part) {
        first[part] = static_cast<std::int32_t>(vertices_);
        vertices_ += tables[part].size();
        check_vertices(vertices_);
    }
    if (parts > 1) {
        parallel_items(tiles_.size(), threads, [&](const std::function<std::size_t()>& next) {
            for (std::size_t at = next(); at < tiles_.size(); at = next()) {
                std::int32_t* row = corner_rows_.data() + tiles_[at].first_vertex;
                for (const Key key : tiles_[at].*keys_of) {
                    *row++ += first[part_of(key)];
                }
            }
        });
    }

    const AxisSteps<Key> steps(geometry_);
    const int dims = geometry_.dims;
    // Behind the rows, every chunk has one to write to where there is no neighbour: a branch that
    // nobody can foresee costs more.
    const auto chunks = static_cast<std::size_t>(threads);
    neighbour_rows_ = vertices_ + 1 + chunks;
    neighbours_.resize(static_cast<std::size_t>(dims + 1) * neighbour_rows_ * 2);
    std::fill(neighbours_.begin(), neighbours_.end(), 0);
    parallel_items(chunks, threads, [&](const std::function<std::size_t()>& next) {
        for (std::size_t chunk = next(); chunk < chunks; chunk = next()) {
            const std::size_t spare = vertices_ + 1 + chunk;
            for (std::size_t part = 0; part < parts; ++part) {
                const PooledVector<Key>& keys = tables[part].keys();
                const std::size_t end = keys.size() * (chunk + 1) / chunks;
                for (std::size_t vertex = keys.size() * chunk / chunks; vertex < end; ++vertex) {
                    const Key key = keys[vertex];
                    const auto row = static_cast<std::size_t>(first[part]) + vertex + 1;
                    const Key* to_above = steps.to_above(key);
                    const Key ahead = keys[std::min(vertex + kAhead, end - 1)];
                    for (int axis = 0; axis <= dims; ++axis) {
                        const Key above = ahead + steps.to_above(ahead)[axis];
                        tables[part_of(above)].prefetch(above);
                    }
                    std::int32_t* pairs = neighbours_.data();
                    for (int axis = 0; axis <= dims; ++axis) {
                        const Key above = key + to_above[axis];
                        const std::size_t its_part = part_of(above);
                        const std::int32_t number = tables[its_part].find(above);
                        const bool is_there = number != KeyTable<Key>::kMissing;
                        const std::int32_t other = is_there ? first[its_part] + number + 1 : 0;
                        const std::size_t place =
                            is_there ? static_cast<std::size_t>(other) : spare;
                        pairs[2 * row + 1] = other;
                        pairs[2 * place] = static_cast<std::int32_t>(row);
                        pairs += 2 * neighbour_rows_;
                    }
                }
            }
        }
    });
}

std::vector<std::uint64_t> TiledLattice::zero_keys() const {
    // All axes tie: the corners take them from the last on.
    std::uint64_t key = static_cast<std::uint32_t>(geometry_.first_low) |
                        static_cast<std::uint64_t>(static_cast<std::uint32_t>(geometry_.first_high))
                            << 32U;
    std::vector<std::uint64_t> keys{key};
    for (int axis = geometry_.dims; axis > 0; --axis) {
        key += 1 - key_step(geometry_, axis);
        keys.push_back(key);
    }
    return keys;
}

template <class Key, class PartOf>
void TiledLattice::add_ring(std::vector<KeyTable<Key>>& tables, const PartOf& part_of,
                            int threads) const {
    const AxisSteps<Key> steps(geometry_);
    std::vector<PooledVector<Key>> added(tables.size());
    parallel_items(tables.size(), threads, [&](const std::function<std::size_t()>& next) {
        for (std::size_t part = next(); part < tables.size(); part = next()) {
            KeyTable<Key> candidates(4 * tables[part].size());
            std::vector<bool> is_twice;
            const auto meet = [&](Key key) {
                if (part_of(key) != part || tables[part].find(key) != KeyTable<Key>::kMissing)
                    return;
                const auto number = static_cast<std::size_t>(candidates.find_or_add(key));
                if (number == is_twice.size()) return is_twice.push_back(false);
                if (!is_twice[number]) added[part].push_back(key);
                is_twice[number] = true;
            };
            for (const KeyTable<Key>& table : tables) {
                for (const Key key : table.keys()) {
                    for (int axis = 0; axis <= geometry_.dims; ++axis) {
                        meet(key + steps.to_above(key)[axis]);
                        meet(key - steps.from_below(key)[axis]);
                    }
                }
            }
        }
    });
    for (std::size_t part = 0; part < tables.size(); ++part) {
        for (const Key key : added[part]) tables[part].find_or_add(key);
    }
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

TiledLattice::VertexValues TiledLattice::start(int channels, bool symmetric, int threads) const {
    VertexValues vertices{};
    vertices.channels = channels;
    vertices.symmetric = symmetric;
    vertices.threads = useful_threads(points_, threads);
    const auto wide = static_cast<std::size_t>(channels);
    vertices.values.assign((vertices_ + 1) * wide, 0.0F);
    if (vertices.threads > 1) vertices.sums.resize(corner_rows_.size() * wide);
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
    const auto parts = static_cast<std::size_t>(vertices.threads);
    const auto channels = static_cast<std::size_t>(vertices.channels);
    parallel_items(parts, vertices.threads, [&](const std::function<std::size_t()>& next) {
        for (std::size_t part = next(); part < parts; part = next()) {
            const auto begin = static_cast<std::int32_t>(1 + vertices_ * part / parts);
            const auto end = static_cast<std::int32_t>(1 + vertices_ * (part + 1) / parts);
            for (std::size_t at = 0; at < corner_rows_.size(); ++at) {
                const std::int32_t row = corner_rows_[at];
                if (row < begin || row >= end) continue;
                float* to = &vertices.values[static_cast<std::size_t>(row) * channels];
                for (std::size_t c = 0; c < channels; ++c) {
                    to[c] += vertices.sums[at * channels + c];
                }
            }
        }
    });
}

void TiledLattice::blur(VertexValues& vertices) const {
    if (vertices.threads > 1) add_sums(vertices);
    const TileKernels& kernels = tile_kernels();
    const bool is_mean = takes_mean(vertices);
    const int axes = geometry_.dims + 1;
    // Row 0 stays zero; the kernels write all others.
    const auto prepare = [&](PooledVector<float>& spare) {
        spare.resize(vertices.values.size());
        std::fill_n(spare.begin(), vertices.channels, 0.0F);
    };
    prepare(vertices.spare);
    if (is_mean) {
        vertices.other = vertices.values;
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
    });
    if (passes % 2 == 1) {
        vertices.values.swap(vertices.spare);
        vertices.other.swap(vertices.other_spare);
    }
}

void TiledLattice::slice(std::size_t tile, const VertexValues& vertices, float factor,
                         const TileValues& to) const {
    const bool is_mean = takes_mean(vertices);
    tile_kernels().slice(geometry_.dims, vertices.channels, view(tiles_[tile]),
                         vertices.values.data(), is_mean ? vertices.other.data() : nullptr,
                         factor * mode_.scale * (is_mean ? 0.5F : 1.0F), to);
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

template <int kChannels>
void TiledLattice::load_tile(const Tile& tile, const ChannelBlock& block, const float* factors,
                             float* in_tile) const {
    constexpr std::size_t kPointStep = kChannels <= 2 ? 1 : kChannels;
    constexpr std::size_t kChannelStep = kChannels <= 2 ? kTilePoints : 1;
    for_rows(tile, [&](std::size_t point, std::size_t place, std::size_t columns) {
        const Strided<float> row{in_tile + place * kPointStep, kPointStep, kChannelStep};
        copy_strided({block.data + point * block.point_step, block.point_step, block.channel_step},
                     row, columns, block.channels);
        if (factors != nullptr) multiply_points<kChannels>(row, factors + point, columns);
    });
}

template <int kChannels>
void TiledLattice::store_tile(const Tile& tile, const float* in_tile, const float* factors,
                              const ChannelBlock& block) const {
    constexpr std::size_t kPointStep = kChannels <= 2 ? 1 : kChannels;
    constexpr std::size_t kChannelStep = kChannels <= 2 ? kTilePoints : 1;
    for_rows(tile, [&](std::size_t point, std::size_t place, std::size_t columns) {
        const Strided<float> to{block.data + point * block.point_step, block.point_step,
                                block.channel_step};
        copy_strided({in_tile + place * kPointStep, kPointStep, kChannelStep}, to, columns,
                     block.channels);
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
    constexpr std::size_t kLine = 64 / sizeof(float);
    const bool is_planes = block.point_step == 1;
    for_rows(tiles_[tile], [&](std::size_t point, std::size_t, std::size_t columns) {
        const std::size_t planes = is_planes ? block.channels : 1;
        for (std::size_t c = 0; c < planes; ++c) {
            const float* row =
                block.data + point * block.point_step + (is_planes ? c * block.channel_step : 0);
            const std::size_t floats = columns * block.point_step;
            for (std::size_t i = 0; i < floats; i += kLine) __builtin_prefetch(row + i);
        }
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
            if (!given.is_direct) {
                load_tile<kChannels>(tiles_[at], given, options.before, in_tile.data());
            }
            // Rows of a tile are too short for the processor to foresee the next one's.
            prefetch_tile(at + static_cast<std::size_t>(vertices.threads), given);
            splat(at, values_of<kChannels>(tiles_[at], given, in_tile.data(), options.before),
                  vertices);
        }
    });
    blur(vertices);
    parallel_items(tiles(), vertices.threads, [&](const std::function<std::size_t()>& next) {
        PooledVector<float> in_tile(buffer);
        for (std::size_t at = next(); at < tiles(); at = next()) {
            prefetch_tile(at, wanted);
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

std::size_t TiledLattice::bytes() const {
    std::size_t total =
        4 * (records_.capacity() + corner_rows_.capacity() + neighbours_.capacity());
    for (const Tile& tile : tiles_) {
        total += sizeof(Tile) + tile.groups.capacity() * sizeof(HubGroup);
    }
    return total;
}

}  // namespace weakseg
