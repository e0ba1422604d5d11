// Gaussian filtering of scattered points in up to 16 dimensions, in time linear in the points.
//
// Adams, Baek and Davis, "Fast High-Dimensional Filtering Using the Permutohedral Lattice",
// Eurographics 2010. Differences: keys of full width, sums in an order that threads do not change,
// a scale derived from the lattice's volume, a symmetric operator, missing neighbours that give
// back part of their share, and colours in an opponent basis.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>

namespace weakseg {

constexpr int kMaxDims = 16;

/// Features beyond this overflow the lattice's integer keys.
constexpr float kMaxFeature = 1e6F;

/// Colours of a frame, levels 0 to 255: bytes or floats, (height, width, 3) or, with `planes`,
/// (3, height, width).
struct Frame {
    const std::uint8_t* bytes = nullptr;
    const float* floats = nullptr;
    std::size_t height = 0;
    std::size_t width = 0;
    bool planes = false;
};

/// Of the sums, against those over all pairs. High takes some half more time.
enum class Quality { kStandard, kHigh };

struct LatticeOptions {
    Quality quality = Quality::kStandard;
    /// Give the sums of pydensecrf instead, vertex for vertex; filter without `symmetric` then.
    bool compatible = false;
    int threads = 0;  // 0: all
};

struct FilterOptions {
    bool planes = false;  // values and out are (channels, points) instead of (points, channels)
    bool symmetric = true;
    /// Factors of every point's values, before and after the sums; null for 1.
    const float* before = nullptr;
    const float* after = nullptr;
    int threads = 0;  // 0: all
};

/// Lattice over fixed points: built once, filters any number of value arrays, from any thread.
class Lattice {
  public:
    /// Over `features`, (points, dims) row by row, in units of the kernel's standard deviation,
    /// finite, at most kMaxFeature in size; points * (dims + 1) < 2^31.
    Lattice(const float* features, std::size_t points, int dims, const LatticeOptions& options);

    /// Over the place and colour of a frame's pixels, sigmas > 0, and such that all features stay
    /// within kMaxFeature.
    Lattice(const Frame& frame, float sigma_xy_pixels, float sigma_rgb_levels,
            const LatticeOptions& options);

    Lattice(Lattice&&) noexcept;
    Lattice& operator=(Lattice&&) noexcept;
    ~Lattice();

    /// Write to `out` the sums over j of about exp(-|f_i - f_j|^2 / 2) values_j, j = i included.
    ///
    /// `values` and `out` may not overlap. The blurs along the lattice's axes do not commute where
    /// vertices are missing: with `symmetric`, the mean of both orders is taken, which makes the
    /// operator its own transpose. That of high quality goes there and back, and always is.
    void filter(const float* values, std::size_t channels, float* out,
                const FilterOptions& options) const;

    std::size_t points() const;
    int dims() const;
    std::size_t vertices() const;

    /// Memory held.
    std::size_t bytes() const;

    struct Base;
    const Base& base() const { return *lattice_; }

  private:
    std::unique_ptr<const Base> lattice_;
};

}  // namespace weakseg
