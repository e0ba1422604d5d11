// The lattice for any dimension up to 16, and for features of any spread.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "lattice_base.h"

namespace weakseg {

class VertexTable;

class GeneralLattice final : public Lattice::Base {
  public:
    /// As in lattice.h.
    GeneralLattice(const float* features, std::size_t points, int dims,
                   const LatticeOptions& options);

    void filter(const float* values, std::size_t channels, float* out,
                const FilterOptions& options) const override;
    std::size_t points() const override { return points_; }
    int dims() const override { return dims_; }
    std::size_t vertices() const override { return vertices_; }
    std::size_t bytes() const override;

  private:
    struct Simplices;

    Simplices locate(const float* features, const LatticeOptions& options);
    void number_vertices(const Simplices& simplices, int threads);
    void add_zero(VertexTable& table) const;
    void add_ring(VertexTable& table) const;
    void sort_by_vertex();

    void filter_rows(const float* values, std::size_t channels, float* out, bool symmetric,
                     int threads) const;
    template <std::size_t kChannels>
    void filter_channels(const float* values, std::size_t channels, float* out, bool symmetric,
                         int threads) const;
    template <std::size_t kChannels>
    void splat(const float* values, std::size_t channels, float* lattice, int threads) const;
    template <std::size_t kChannels>
    void blur(std::vector<float>& lattice, std::size_t channels, bool reversed, int threads) const;
    template <std::size_t kChannels>
    void slice(const float* lattice, std::size_t channels, float scale, float* out,
               int threads) const;

    std::size_t points_;
    int dims_;
    LatticeMode mode_;
    bool adds_zero_;
    std::size_t vertices_ = 0;
    // Per point, dims + 1 corners of its simplex. Rows of vertices start at 1: row 0 stands for
    // every missing vertex and stays zero.
    std::vector<std::int32_t> corner_vertex_;
    std::vector<float> corner_weight_;
    // The same corners sorted by vertex, points ascending: vertex v owns [start[v], start[v + 1]).
    std::vector<std::int32_t> splat_start_;
    std::vector<std::int32_t> splat_point_;
    std::vector<float> splat_weight_;
    // Both neighbours of every vertex along every axis: (dims + 1, vertices, 2).
    std::vector<std::int32_t> neighbours_;
};

}  // namespace weakseg
