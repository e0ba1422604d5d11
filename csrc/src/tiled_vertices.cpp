// Number a tiled lattice's vertices, and find their neighbours.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <vector>

#include "axis_steps.h"
#include "key_table.h"
#include "lattice_base.h"
#include "tiled_lattice.h"
#include "weakseg/parallel.h"

namespace weakseg {

namespace {

/// Neighbours' hash slots are fetched so many vertices before they are read.
constexpr std::size_t kAhead = 3;

}  // namespace

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

template <class Key, class PartOf>
void TiledLattice::find_neighbours(const std::vector<KeyTable<Key>>& tables, const PartOf& part_of,
                                   int threads) {
    const AxisSteps<Key> steps(geometry_);
    const int dims = geometry_.dims;
    // Behind the rows, every chunk has one to write to where there is no neighbour: a branch that
    // nobody can foresee costs more.
    const auto chunks = static_cast<std::size_t>(threads);
    neighbour_rows_ = vertices_ + 1 + chunks;
    neighbours_.resize(static_cast<std::size_t>(dims + 1) * neighbour_rows_ * 2);
    parallel_for(neighbours_.size(), threads, [&](std::size_t begin, std::size_t end) {
        std::fill(neighbours_.data() + begin, neighbours_.data() + end, 0);
    });
    parallel_items(chunks, threads, [&](const std::function<std::size_t()>& next) {
        for (std::size_t chunk = next(); chunk < chunks; chunk = next()) {
            const std::size_t spare = vertices_ + 1 + chunk;
            for (std::size_t part = 0; part < tables.size(); ++part) {
                const PooledVector<Key>& keys = tables[part].keys();
                const std::size_t end = keys.size() * (chunk + 1) / chunks;
                for (std::size_t vertex = keys.size() * chunk / chunks; vertex < end; ++vertex) {
                    const Key key = keys[vertex];
                    const std::size_t row = part_rows_[part] + vertex;
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
                        const std::size_t other =
                            part_rows_[its_part] + static_cast<std::size_t>(number);
                        const std::size_t place = is_there ? other : spare;
                        pairs[2 * row + 1] = static_cast<std::int32_t>(is_there ? other : 0);
                        pairs[2 * place] = static_cast<std::int32_t>(row);
                        pairs += 2 * neighbour_rows_;
                    }
                }
            }
        }
    });
}

template <class Key, class PartOf>
void TiledLattice::Tile::sort_by_part(const PooledVector<Key>& own_keys, std::size_t parts,
                                      const PartOf& part_of) {
    static_assert(kTilePoints * (kMaxTiledDims + 1) <= 1U << 16U, "numbers have 16 bits");
    std::vector<std::uint32_t> next(parts + 1, 0);
    for (const Key key : own_keys) ++next[part_of(key) + 1];
    for (std::size_t part = 0; part < parts; ++part) next[part + 1] += next[part];
    part_ends.assign(next.begin() + 1, next.end());
    by_part.resize(own_keys.size());
    for (std::size_t i = 0; i < own_keys.size(); ++i) {
        by_part[next[part_of(own_keys[i])]++] = static_cast<std::uint16_t>(i);
    }
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
    const auto for_items = [&](std::size_t count, const auto& body) {
        parallel_items(count, threads, [&](const std::function<std::size_t()>& next) {
            for (std::size_t at = next(); at < count; at = next()) body(at);
        });
    };
    if (parts > 1) {
        for_items(tiles_.size(), [&](std::size_t at) {
            tiles_[at].sort_by_part(tiles_[at].*keys_of, parts, part_of);
        });
    }
    std::vector<KeyTable<Key>> tables(parts, KeyTable<Key>(0));
    for_items(parts, [&](std::size_t part) {
        // Groups share vertices with their neighbours: some four groups a vertex on photos.
        tables[part] = KeyTable<Key>(corner_rows_.size() / (4 * parts));
        for (const Tile& tile : tiles_) {
            std::int32_t* const row = corner_rows_.data() + tile.first_vertex;
            const PooledVector<Key>& keys = tile.*keys_of;
            tile.for_part(part,
                          [&](std::size_t i) { row[i] = tables[part].find_or_add(keys[i]) + 1; });
        }
    });
    if (adds_zero_) {
        for (const std::uint64_t key : zero_keys()) {
            tables[part_of(static_cast<Key>(key))].find_or_add(static_cast<Key>(key));
        }
    }
    if (mode_.ring) add_ring(tables, part_of, threads);
    part_rows_ = {1};
    for (const KeyTable<Key>& table : tables) {
        vertices_ += table.size();
        check_vertices(vertices_);
        part_rows_.push_back(1 + vertices_);
    }
    if (parts > 1) {
        for_items(tiles_.size(), [&](std::size_t at) {
            std::int32_t* const row = corner_rows_.data() + tiles_[at].first_vertex;
            for (std::size_t part = 1; part < parts; ++part) {
                const auto before = static_cast<std::int32_t>(part_rows_[part] - 1);
                tiles_[at].for_part(part, [&](std::size_t i) { row[i] += before; });
            }
        });
    }
    find_neighbours(tables, part_of, threads);
}

template void TiledLattice::number_vertices(PooledVector<std::uint32_t> Tile::* keys_of,
                                            int threads);
template void TiledLattice::number_vertices(PooledVector<std::uint64_t> Tile::* keys_of,
                                            int threads);

}  // namespace weakseg
