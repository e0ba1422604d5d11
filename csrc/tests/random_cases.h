// Draw one lattice and its values from a seed: mostly tiny, of every kind a caller may bring.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <random>
#include <string>
#include <vector>

#include "testing.h"
#include "weakseg/instructions.h"
#include "weakseg/lattice.h"

namespace weakseg::testing {

/// What to build a lattice over, what to filter, and how.
struct RandomCase {
    unsigned seed = 0;
    std::string kind;
    // A frame's levels (height, width, 3), or else features (points, dims).
    std::size_t height = 0;
    std::size_t width = 0;
    std::vector<std::uint8_t> bytes;
    std::vector<float> floats;
    float sigma_xy = 1.0F;
    float sigma_rgb = 1.0F;
    bool frame_planes = false;
    std::vector<float> features;
    std::size_t points = 0;
    std::size_t dims = 5;
    std::size_t channels = 1;
    std::vector<float> values;  // (points, channels)
    bool symmetric = true;
    bool compatible = false;
    Quality quality = Quality::kStandard;
    int threads = 1;
    Instructions instructions = Instructions::kPortable;
    /// No two points tie, and no number is so large or small that rounding shows: then even the
    /// instruction sets, which round otherwise, agree.
    bool generic = false;

    bool is_frame() const { return height > 0; }

    Lattice build(int with_threads) const {
        const LatticeOptions options = built(with_threads, compatible, quality);
        if (!is_frame()) return {features.data(), points, static_cast<int>(dims), options};
        const Frame frame{bytes.empty() ? nullptr : bytes.data(),
                          bytes.empty() ? floats.data() : nullptr, height, width, frame_planes};
        return {frame, sigma_xy, sigma_rgb, options};
    }

    std::string told() const {
        return "case " + std::to_string(seed) + " (" + kind + ", " + std::to_string(points) +
               " points, d = " + std::to_string(dims) + ", C = " + std::to_string(channels) +
               ", threads " + std::to_string(threads) + ", " + name_of(instructions) +
               (symmetric ? "" : ", one order") + (compatible ? ", compatible" : "") +
               (quality == Quality::kHigh ? ", high quality" : "") + ")";
    }
};

class CaseDrawer {
  public:
    explicit CaseDrawer(unsigned seed) : rng_(seed) { drawn_.seed = seed; }

    RandomCase draw() {
        drawn_.symmetric = chance(0.7);
        drawn_.compatible = chance(0.2);
        if (chance(0.3)) drawn_.quality = Quality::kHigh;
        drawn_.threads = chance(0.5) ? 1 : pick(2, 4);
        const auto sets = supported_sets();
        drawn_.instructions =
            sets[static_cast<std::size_t>(pick(0, static_cast<int>(sets.size()) - 1))];
        if (chance(0.4)) {
            draw_frame();
        } else {
            draw_features();
        }
        draw_values();
        return std::move(drawn_);
    }

  private:
    bool chance(double share) { return std::uniform_real_distribution<>()(rng_) < share; }
    int pick(int low, int high) { return std::uniform_int_distribution<>(low, high)(rng_); }
    std::size_t size(int low, int high) { return static_cast<std::size_t>(pick(low, high)); }
    float gaussian(double deviation) {
        return static_cast<float>(std::normal_distribution<>(0.0, deviation)(rng_));
    }
    /// A number of any magnitude between 10^low and 10^high.
    float decades(double low, double high) {
        return static_cast<float>(
            std::pow(10.0, std::uniform_real_distribution<>(low, high)(rng_)));
    }

    void draw_frame() {
        RandomCase& c = drawn_;
        // Sides about the width of a tile are where tiles begin and end.
        const int long_side = chance(0.005) ? 140 : chance(0.05) ? 70 : 12;
        c.height = chance(0.15) ? 1 : size(1, long_side);
        c.width = chance(0.15) ? 1 : size(1, long_side);
        c.points = c.height * c.width;
        c.sigma_xy = chance(0.6) ? decades(0.0, 2.0) : decades(-3.0, 5.0);
        c.sigma_rgb = chance(0.6) ? decades(0.5, 2.0) : decades(-2.0, 5.0);
        c.frame_planes = chance(0.5);
        const std::size_t levels = c.points * 3;
        const int look = pick(0, 4);
        c.kind = "frame, look " + std::to_string(look);
        c.generic = look == 1 && c.sigma_rgb > 1.0F && c.sigma_xy > 0.1F;
        std::vector<float> drawn(levels);
        const float base = static_cast<float>(pick(0, 255));
        const float spread = decades(0.0, 2.0);
        for (float& level : drawn) {
            if (look == 0) level = base;                                     // constant
            if (look <= 2 && look > 0) level = base + gaussian(spread);      // smooth or noisy
            if (look == 3) level = static_cast<float>(pick(0, 1)) * 255.0F;  // two levels
            if (look == 4) level = static_cast<float>(pick(0, 255));         // noise
        }
        if (look == 1) {
            c.floats = std::move(drawn);  // beyond 0 to 255 too
        } else {
            c.bytes.reserve(levels);
            for (const float level : drawn) {
                c.bytes.push_back(static_cast<std::uint8_t>(std::clamp(level, 0.0F, 255.0F)));
            }
        }
        if (look == 4 && chance(0.3)) {
            c.floats.assign(c.bytes.begin(), c.bytes.end());
            c.bytes.clear();
        }
    }

    void draw_features() {
        RandomCase& c = drawn_;
        c.points = chance(0.003) ? size(5000, 20000) : chance(0.1) ? size(40, 300) : size(1, 40);
        c.dims = chance(0.3) ? 5 : chance(0.3) ? 2 : size(1, kMaxDims);
        if (c.points >= 5000) c.dims = std::min<std::size_t>(c.dims, 6);
        c.features.resize(c.points * c.dims);
        const int kind = pick(0, 7);
        c.kind = "features, kind " + std::to_string(kind);
        c.generic = kind <= 1;
        const float scale = decades(-3.0, 3.0);
        for (float& feature : c.features) {
            switch (kind) {
                case 0:
                case 1:
                    feature = gaussian(0.1 + 2.0 * (c.seed % 2U));
                    break;
                case 2:
                    feature = gaussian(static_cast<double>(scale));
                    break;
                case 3:  // a grid: ties
                    feature = static_cast<float>(pick(-3, 3)) * scale;
                    break;
                case 4:
                    feature = scale;  // all equal
                    break;
                case 5:  // as far apart as allowed
                    feature = static_cast<float>(pick(-1, 1)) * kMaxFeature;
                    break;
                case 6:  // denormal
                    feature = gaussian(1.0) * 1e-40F;
                    break;
                default:  // two clusters and strays
                    feature = gaussian(0.01) + (chance(0.02) ? gaussian(1e3) : 0.0F);
            }
            feature = std::clamp(feature, -kMaxFeature, kMaxFeature);
        }
    }

    void draw_values() {
        RandomCase& c = drawn_;
        c.channels = chance(0.8) ? size(1, 5) : size(1, 40);
        if (c.points >= 5000) c.channels = std::min<std::size_t>(c.channels, 5);
        c.values.resize(c.points * c.channels);
        const int kind = pick(0, 4);
        const float factor = kind == 3   ? decades(-44.0, -38.0)
                             : kind == 4 ? decades(10.0, 20.0)
                                         : 1;
        c.generic = c.generic && kind != 3;
        std::uniform_real_distribution<float> uniform;
        for (float& value : c.values) {
            value = kind == 1 ? static_cast<float>(chance(0.3)) : factor * uniform(rng_);
        }
        if (kind == 2) std::fill(c.values.begin(), c.values.end(), 1.0F);
    }

    std::mt19937 rng_;
    RandomCase drawn_;
};

}  // namespace weakseg::testing
