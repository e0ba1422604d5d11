#include "general_lattice.h"

#include <algorithm>
#include <array>
#include <cmath>

#include "vertex_table.h"
#include "weakseg/parallel.h"

namespace weakseg {

namespace {

/// Channels per row: known while compiling when kChannels is not 0.
template <std::size_t kChannels>
constexpr std::size_t width(std::size_t channels) {
    return kChannels == 0 ? channels : kChannels;
}

/// Round down without a call into libm, which portable x86-64 code needs for std::floor.
std::int32_t floor_to_int(double value) {
    const auto truncated = static_cast<std::int32_t>(value);
    return truncated - static_cast<std::int32_t>(value < truncated);
}

/// A point's enclosing simplex: nearest remainder-0 vertex, order of the rest, corner weights.
struct Simplex {
    std::array<std::int32_t, kMaxDims + 1> origin{};
    std::array<int, kMaxDims + 1> rank{};
    std::array<double, kMaxDims + 2> weight{};
};

/// Lift a feature vector onto the hyperplane of dims + 1 coordinates that sum to zero.
void elevate(const float* feature, const std::array<double, kMaxDims>& scales, int dims,
             double* elevated) {
    double sum = 0.0;
    for (int i = dims; i > 0; --i) {
        const double coordinate = feature[i - 1] * scales[static_cast<std::size_t>(i - 1)];
        elevated[i] = sum - i * coordinate;
        sum += coordinate;
    }
    elevated[0] = sum;
}

/// Round to the nearest remainder-0 vertex and rank the remainders, largest first.
void round_and_rank(const double* elevated, int dims, bool compatible, Simplex& simplex) {
    const int side = dims + 1;
    std::array<double, kMaxDims + 1> remainder{};
    int sum = 0;
    for (std::size_t i = 0; i < static_cast<std::size_t>(side); ++i) {
        const auto rounded = floor_to_int(elevated[i] / side + 0.5);
        sum += rounded;
        simplex.origin[i] = rounded * side;
        simplex.rank[i] = 0;
        remainder[i] = elevated[i] - simplex.origin[i];
    }
    for (std::size_t i = 0; i < static_cast<std::size_t>(dims); ++i) {
        for (std::size_t j = i + 1; j < static_cast<std::size_t>(side); ++j) {
            // Of equal remainders the larger index comes first, unless it shall be compatible.
            const bool is_tie = remainder[i] == remainder[j];
            const int j_first = (is_tie ? !compatible : remainder[i] < remainder[j]) ? 1 : 0;
            simplex.rank[i] += j_first;
            simplex.rank[j] += 1 - j_first;
        }
    }
    // The rounded point may lie off the hyperplane: move the coordinates that cost least.
    for (std::size_t i = 0; i < static_cast<std::size_t>(side); ++i) {
        simplex.rank[i] += sum;
        const int wrap = simplex.rank[i] < 0 ? side : (simplex.rank[i] > dims ? -side : 0);
        simplex.rank[i] += wrap;
        simplex.origin[i] += wrap;
    }
}

/// Barycentric weights of the simplex's corners; corner r has remainder r.
void weigh_corners(const double* elevated, int dims, Simplex& simplex) {
    const int side = dims + 1;
    simplex.weight.fill(0.0);
    for (std::size_t i = 0; i < static_cast<std::size_t>(side); ++i) {
        const double share = (elevated[i] - simplex.origin[i]) / side;
        simplex.weight[static_cast<std::size_t>(dims - simplex.rank[i])] += share;
        simplex.weight[static_cast<std::size_t>(dims + 1 - simplex.rank[i])] -= share;
    }
    simplex.weight[0] += 1.0 + simplex.weight[static_cast<std::size_t>(side)];
}

}  // namespace

/// What number_vertices needs of every point's simplex: (points, dims) origins and ranks.
struct GeneralLattice::Simplices {
    std::vector<std::int32_t> origin;
    std::vector<std::int8_t> rank;
};

GeneralLattice::GeneralLattice(const float* features, std::size_t points, int dims,
                               const LatticeOptions& options)
    : points_(points),
      dims_(dims),
      mode_(mode_of(dims, options)),
      adds_zero_(options.compatible && points % 4 != 0) {
    const Simplices simplices = locate(features, options);
    number_vertices(simplices, options.threads);
    sort_by_vertex();
}

GeneralLattice::Simplices GeneralLattice::locate(const float* features,
                                                 const LatticeOptions& options) {
    const auto dims = static_cast<std::size_t>(dims_);
    Simplices simplices{std::vector<std::int32_t>(points_ * dims),
                        std::vector<std::int8_t>(points_ * dims)};
    corner_weight_.resize(points_ * (dims + 1));
    std::array<double, kMaxDims> scales{};
    for (std::size_t i = 0; i < dims; ++i) {
        scales[i] = axis_scale(mode_.deviation, static_cast<int>(i));
    }
    parallel_for(points_, options.threads, [&](std::size_t begin, std::size_t end) {
        std::array<double, kMaxDims + 1> elevated{};
        Simplex simplex;
        for (std::size_t point = begin; point < end; ++point) {
            elevate(features + point * dims, scales, dims_, elevated.data());
            round_and_rank(elevated.data(), dims_, options.compatible, simplex);
            weigh_corners(elevated.data(), dims_, simplex);
            for (std::size_t i = 0; i < dims; ++i) {
                simplices.origin[point * dims + i] = simplex.origin[i];
                simplices.rank[point * dims + i] = static_cast<std::int8_t>(simplex.rank[i]);
            }
            for (std::size_t i = 0; i <= dims; ++i) {
                corner_weight_[point * (dims + 1) + i] = static_cast<float>(simplex.weight[i]);
            }
        }
    });
    return simplices;
}

void GeneralLattice::number_vertices(const Simplices& simplices, int threads) {
    const auto dims = static_cast<std::size_t>(dims_);
    VertexTable table(dims_);
    corner_vertex_.resize(points_ * (dims + 1));
    std::array<std::int32_t, kMaxDims> key{};
    for (std::size_t point = 0; point < points_; ++point) {
        const std::int32_t* origin = &simplices.origin[point * dims];
        const std::int8_t* rank = &simplices.rank[point * dims];
        std::int32_t* corners = &corner_vertex_[point * (dims + 1)];
        // Neighbours in a frame often share their simplex.
        if (point > 0 && std::equal(origin, origin + dims, origin - dims) &&
            std::equal(rank, rank + dims, rank - dims)) {
            std::copy(corners - (dims + 1), corners, corners);
            continue;
        }
        for (int corner = 0; corner <= dims_; ++corner) {
            for (std::size_t i = 0; i < dims; ++i) {
                key[i] = origin[i] + corner - (rank[i] > dims_ - corner ? dims_ + 1 : 0);
            }
            corners[corner] = table.find_or_add(key.data()) + 1;
        }
    }
    if (adds_zero_) add_zero(table);
    if (mode_.ring) add_ring(table);
    vertices_ = table.size();
    check_vertices(vertices_);

    neighbours_.resize((dims + 1) * vertices_ * 2);
    parallel_for(vertices_, threads, [&](std::size_t begin, std::size_t end) {
        std::array<std::int32_t, kMaxDims> below{};
        std::array<std::int32_t, kMaxDims> above{};
        for (std::size_t vertex = begin; vertex < end; ++vertex) {
            const std::int32_t* centre = table.key(vertex);
            for (std::size_t axis = 0; axis <= dims; ++axis) {
                for (std::size_t i = 0; i < dims; ++i) {
                    const std::int32_t step = i == axis ? dims_ : -1;
                    below[i] = centre[i] - step;
                    above[i] = centre[i] + step;
                }
                std::int32_t* pair = &neighbours_[(axis * vertices_ + vertex) * 2];
                pair[0] = table.find(below.data()) + 1;
                pair[1] = table.find(above.data()) + 1;
            }
        }
    });
}

/// pydensecrf takes four points at once: where some are left over, it fills up with zeros, whose
/// corners carry blur between others.
void GeneralLattice::add_zero(VertexTable& table) const {
    // All axes tie: the corners take them from the last on.
    std::array<std::int32_t, kMaxDims + 1> key{};
    table.find_or_add(key.data());
    for (int axis = dims_; axis > 0; --axis) {
        for (std::int32_t& coordinate : key) ++coordinate;
        key[static_cast<std::size_t>(axis)] -= dims_ + 1;
        table.find_or_add(key.data());
    }
}

/// Add the vertices that two others miss as neighbours.
void GeneralLattice::add_ring(VertexTable& table) const {
    const auto dims = static_cast<std::size_t>(dims_);
    VertexTable candidates(dims_);
    std::vector<int> met;
    std::array<std::int32_t, kMaxDims> key{};
    for (std::size_t vertex = 0; vertex < table.size(); ++vertex) {
        for (std::size_t axis = 0; axis <= dims; ++axis) {
            for (const std::int32_t sign : {-1, 1}) {
                const std::int32_t* centre = table.key(vertex);
                for (std::size_t i = 0; i < dims; ++i) {
                    key[i] = centre[i] + sign * (i == axis ? dims_ : -1);
                }
                if (table.find(key.data()) != VertexTable::kMissing) continue;
                const auto number = static_cast<std::size_t>(candidates.find_or_add(key.data()));
                if (number == met.size()) met.push_back(0);
                ++met[number];
            }
        }
    }
    for (std::size_t number = 0; number < met.size(); ++number) {
        if (met[number] > 1) table.find_or_add(candidates.key(number));
    }
}

void GeneralLattice::sort_by_vertex() {
    const std::size_t corners = corner_vertex_.size();
    const auto side = static_cast<std::size_t>(dims_ + 1);
    splat_start_.assign(vertices_ + 2, 0);
    splat_point_.resize(corners);
    splat_weight_.resize(corners);
    // Counting sort. Rows start at 1, so counting row v at v + 1 leaves starts at v when summed.
    for (const std::int32_t row : corner_vertex_) ++splat_start_[static_cast<std::size_t>(row) + 1];
    for (std::size_t v = 1; v < splat_start_.size(); ++v) splat_start_[v] += splat_start_[v - 1];
    std::vector<std::int32_t> next(splat_start_.begin(), splat_start_.end() - 1);
    for (std::size_t corner = 0; corner < corners; ++corner) {
        const auto row = static_cast<std::size_t>(corner_vertex_[corner]);
        const auto place = static_cast<std::size_t>(next[row]++);
        splat_point_[place] = static_cast<std::int32_t>(corner / side);
        splat_weight_[place] = corner_weight_[corner];
    }
}

template <std::size_t kChannels>
void GeneralLattice::splat(const float* values, std::size_t channels, float* lattice,
                           int threads) const {
    const std::size_t wide = width<kChannels>(channels);
    parallel_for(vertices_, threads, [&](std::size_t begin, std::size_t end) {
        for (std::size_t row = begin + 1; row <= end; ++row) {
            float* sum = lattice + row * wide;
            for (std::int32_t e = splat_start_[row]; e < splat_start_[row + 1]; ++e) {
                const auto entry = static_cast<std::size_t>(e);
                const float weight = splat_weight_[entry];
                const float* value = values + static_cast<std::size_t>(splat_point_[entry]) * wide;
                for (std::size_t c = 0; c < wide; ++c) sum[c] += weight * value[c];
            }
        }
    });
}

template <std::size_t kChannels>
void GeneralLattice::blur(std::vector<float>& lattice, std::size_t channels, bool reversed,
                          int threads) const {
    const std::size_t wide = width<kChannels>(channels);
    std::vector<float> blurred(lattice.size(), 0.0F);
    const float given_back = mode_.give_back * mode_.blur;
    for (int step = 0; step <= dims_; ++step) {
        const auto axis = static_cast<std::size_t>(reversed ? dims_ - step : step);
        const std::int32_t* pairs = &neighbours_[axis * vertices_ * 2];
        const float* source = lattice.data();
        float* target = blurred.data();
        parallel_for(vertices_, threads, [&](std::size_t begin, std::size_t end) {
            for (std::size_t vertex = begin; vertex < end; ++vertex) {
                const float* below = source + static_cast<std::size_t>(pairs[2 * vertex]) * wide;
                const float* above =
                    source + static_cast<std::size_t>(pairs[2 * vertex + 1]) * wide;
                const float* centre = source + (vertex + 1) * wide;
                float* sum = target + (vertex + 1) * wide;
                const int missing = (pairs[2 * vertex] == 0) + (pairs[2 * vertex + 1] == 0);
                const float centre_factor = 1.0F + given_back * static_cast<float>(missing);
                for (std::size_t c = 0; c < wide; ++c) {
                    sum[c] = centre_factor * centre[c] + mode_.blur * (below[c] + above[c]);
                }
            }
        });
        lattice.swap(blurred);
    }
}

template <std::size_t kChannels>
void GeneralLattice::slice(const float* lattice, std::size_t channels, float scale, float* out,
                           int threads) const {
    const std::size_t wide = width<kChannels>(channels);
    const auto side = static_cast<std::size_t>(dims_ + 1);
    parallel_for(points_, threads, [&](std::size_t begin, std::size_t end) {
        for (std::size_t point = begin; point < end; ++point) {
            float* sum = out + point * wide;
            for (std::size_t c = 0; c < wide; ++c) sum[c] = 0.0F;
            for (std::size_t corner = point * side; corner < (point + 1) * side; ++corner) {
                const float weight = scale * corner_weight_[corner];
                const float* row =
                    lattice + static_cast<std::size_t>(corner_vertex_[corner]) * wide;
                for (std::size_t c = 0; c < wide; ++c) sum[c] += weight * row[c];
            }
        }
    });
}

template <std::size_t kChannels>
void GeneralLattice::filter_channels(const float* values, std::size_t channels, float* out,
                                     bool symmetric, int threads) const {
    std::vector<float> lattice((vertices_ + 1) * channels, 0.0F);
    splat<kChannels>(values, channels, lattice.data(), threads);
    float scale = mode_.scale;
    if (mode_.there_and_back) {
        blur<kChannels>(lattice, channels, false, threads);
        blur<kChannels>(lattice, channels, true, threads);
    } else if (symmetric) {
        std::vector<float> other = lattice;
        blur<kChannels>(other, channels, true, threads);
        blur<kChannels>(lattice, channels, false, threads);
        for (std::size_t i = 0; i < lattice.size(); ++i) lattice[i] += other[i];
        scale *= 0.5F;
    } else {
        blur<kChannels>(lattice, channels, false, threads);
    }
    slice<kChannels>(lattice.data(), channels, scale, out, threads);
}

void GeneralLattice::filter_rows(const float* values, std::size_t channels, float* out,
                                 bool symmetric, int threads) const {
    switch (channels) {
        case 1:
            return filter_channels<1>(values, channels, out, symmetric, threads);
        case 2:
            return filter_channels<2>(values, channels, out, symmetric, threads);
        case 3:
            return filter_channels<3>(values, channels, out, symmetric, threads);
        case 4:
            return filter_channels<4>(values, channels, out, symmetric, threads);
        default:
            return filter_channels<0>(values, channels, out, symmetric, threads);
    }
}

void GeneralLattice::filter(const float* values, std::size_t channels, float* out,
                            const FilterOptions& options) const {
    std::vector<float> rows(points_ * channels);
    std::vector<float> filtered(points_ * channels);
    const std::size_t point_step = options.planes ? 1 : channels;
    const std::size_t channel_step = options.planes ? points_ : 1;
    for (std::size_t i = 0; i < points_; ++i) {
        const float factor = options.before == nullptr ? 1.0F : options.before[i];
        for (std::size_t c = 0; c < channels; ++c) {
            rows[i * channels + c] = factor * values[i * point_step + c * channel_step];
        }
    }
    filter_rows(rows.data(), channels, filtered.data(), options.symmetric, options.threads);
    for (std::size_t i = 0; i < points_; ++i) {
        const float factor = options.after == nullptr ? 1.0F : options.after[i];
        for (std::size_t c = 0; c < channels; ++c) {
            out[i * point_step + c * channel_step] = factor * filtered[i * channels + c];
        }
    }
}

std::size_t GeneralLattice::bytes() const {
    const auto size = [](const auto& held) { return held.capacity() * sizeof(held[0]); };
    return size(corner_vertex_) + size(corner_weight_) + size(splat_start_) + size(splat_point_) +
           size(splat_weight_) + size(neighbours_);
}

}  // namespace weakseg
