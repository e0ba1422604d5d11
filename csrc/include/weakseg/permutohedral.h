// Gaussian filtering of scattered points in up to 16 dimensions, in time linear in the points.
//
// Adams, Baek and Davis, "Fast High-Dimensional Filtering Using the Permutohedral Lattice",
// Eurographics 2010. Differences: integer keys of full width, a splat that sums in the order of
// the points (so threads do not change the result), a scale derived from the lattice's volume,
// and an optional symmetric operator.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace weakseg {

constexpr int kMaxDims = 16;

/// Features beyond this overflow the lattice's integer keys.
constexpr float kMaxFeature = 1e6F;

/// Lattice over fixed points: built once, filters any number of value arrays.
class Permutohedral {
  public:
    /// Build over `features`, (points, dims) row by row, finite, at most kMaxFeature in size,
    /// in units of the kernel's standard deviation. points * (dims + 1) must stay below 2^31.
    Permutohedral(const float* features, std::size_t points, int dims, int threads);

    /// Write to `out` the sums over j of about exp(-|f_i - f_j|^2 / 2) values_j, j = i included.
    ///
    /// `values` and `out` are (points, channels) row by row and may not overlap. The blurs along
    /// the lattice's axes do not commute where vertices are missing: with `symmetric`, the mean of
    /// both orders is taken, which makes the operator its own transpose.
    void filter(const float* values, std::size_t channels, float* out, bool symmetric,
                int threads) const;

    std::size_t points() const { return points_; }
    int dims() const { return dims_; }
    std::size_t vertices() const { return vertices_; }

  private:
    struct Simplices;

    Simplices locate(const float* features, int threads);
    void number_vertices(const Simplices& simplices, int threads);
    void sort_by_vertex();

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
