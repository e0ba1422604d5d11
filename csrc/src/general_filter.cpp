// Splat, blur and slice of a general lattice.
#include <cstddef>
#include <cstdint>
#include <vector>

#include "general_lattice.h"
#include "weakseg/parallel.h"

namespace weakseg {

namespace {

/// Channels per row: known while compiling when kChannels is not 0.
template <std::size_t kChannels>
constexpr std::size_t width(std::size_t channels) {
    return kChannels == 0 ? channels : kChannels;
}

}  // namespace

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

}  // namespace weakseg
