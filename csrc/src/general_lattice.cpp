// Build a general lattice: locate its points, and number the vertices.
#include "general_lattice.h"

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "general_simplex.h"
#include "vertex_table.h"
#include "weakseg/parallel.h"

namespace weakseg {

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
                // Rounding may leave a weight of a corner that is far off just below 0.
                corner_weight_[point * (dims + 1) + i] =
                    static_cast<float>(std::max(simplex.weight[i], 0.0));
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

std::size_t GeneralLattice::bytes() const {
    const auto size = [](const auto& held) { return held.capacity() * sizeof(held[0]); };
    return size(corner_vertex_) + size(corner_weight_) + size(splat_start_) + size(splat_point_) +
           size(splat_weight_) + size(neighbours_);
}

}  // namespace weakseg
