#include "weakseg/mean_field.h"

#include <algorithm>
#include <memory>
#include <vector>

#include "class_rows.h"
#include "lattice_base.h"
#include "pool.h"
#include "strided_copy.h"
#include "tile_kernels.h"
#include "tiled_mean_field.h"
#include "weakseg/parallel.h"

namespace weakseg {

namespace {

/// A term, ready to be applied to rows of values.
class Spread {
  public:
    /// Factors of lattices lie as records do where `takes_tiles`, and as points otherwise.
    Spread(const PairwiseTerm& term, std::size_t points, bool takes_tiles,
           const MeanFieldOptions& options)
        : term_(term) {
        options_.symmetric = options.symmetric;
        options_.threads = options.threads;
        if (term.normalisation == Normalisation::kNone) return;
        if (term.lattice != nullptr && takes_tiles) {
            factor_ = term.lattice->base().as_tiled()->sum_weights(options_);
        } else {
            factor_.resize(points);
            sum_weights();
        }
        const bool takes_roots = term.normalisation == Normalisation::kSymmetric;
        parallel_for(factor_.size(), options.threads, [&](std::size_t begin, std::size_t end) {
            tile_kernels().invert(end - begin, takes_roots, factor_.data() + begin);
        });
        if (term.normalisation != Normalisation::kAfter) options_.before = factor_.data();
        if (term.normalisation != Normalisation::kBefore) options_.after = factor_.data();
    }

    Spread(const Spread&) = delete;
    Spread& operator=(const Spread&) = delete;

    void apply(const float* rows, std::size_t channels, float* out) const {
        if (term_.lattice != nullptr) {
            term_.lattice->filter(rows, channels, out, options_);
        } else {
            term_.position->filter(rows, channels, out, options_);
        }
    }

    const std::vector<float>& compatibility() const { return term_.compatibility; }

    TiledTerm tiled() const {
        return {term_.lattice == nullptr ? nullptr : term_.lattice->base().as_tiled(),
                term_.position, -term_.compatibility[0], options_.before, options_.after};
    }

  private:
    void sum_weights() {
        if (term_.lattice == nullptr)
            return term_.position->sum_weights(factor_.data(), options_.threads);
        const PooledVector<float> ones(factor_.size(), 1.0F);
        term_.lattice->filter(ones.data(), 1, factor_.data(), options_);
    }

    const PairwiseTerm& term_;
    FilterOptions options_;
    PooledVector<float> factor_;
};

/// Two labels: one plane q of the second's probabilities does, since the first's are 1 - q.
///
/// The energies' difference is a constant plus, for every term, a multiple of K q.
void infer_two(const float* unary, const float* start, std::size_t points,
               const std::vector<std::unique_ptr<Spread>>& spreads, int iterations, int threads,
               float* out) {
    const TileKernels& kernels = tile_kernels();
    PooledVector<float> constant(points);  // of -(E_1 - E_0)
    PooledVector<float> q(points);
    parallel_for(points, threads, [&](std::size_t begin, std::size_t end) {
        for (std::size_t i = begin; i < end; ++i) constant[i] = unary[2 * i] - unary[2 * i + 1];
        if (start == nullptr) {
            kernels.logistic(begin, end, constant.data(), nullptr, nullptr, 0, q.data());
        } else {
            for (std::size_t i = begin; i < end; ++i) q[i] = start[2 * i + 1];
        }
    });
    std::vector<PooledVector<float>> spread(spreads.size());
    std::vector<const float*> planes;
    std::vector<float> weights;
    for (std::size_t m = 0; m < spreads.size(); ++m) {
        const std::vector<float>& mu = spreads[m]->compatibility();
        const float beside_first = mu[0] - mu[2];
        const float beside_second = mu[1] - mu[3];
        spread[m].resize(points);
        planes.push_back(spread[m].data());
        weights.push_back(beside_second - beside_first);
        PooledVector<float> ones(points);
        std::fill(ones.begin(), ones.end(), 1.0F);
        spreads[m]->apply(ones.data(), 1, spread[m].data());
        for (std::size_t i = 0; i < points; ++i) constant[i] += beside_first * spread[m][i];
    }
    for (int iteration = 0; iteration < iterations; ++iteration) {
        for (std::size_t m = 0; m < spreads.size(); ++m) {
            spreads[m]->apply(q.data(), 1, spread[m].data());
        }
        parallel_for(points, threads, [&](std::size_t begin, std::size_t end) {
            kernels.logistic(begin, end, constant.data(), planes.data(), weights.data(),
                             planes.size(), q.data());
        });
    }
    for (std::size_t i = 0; i < points; ++i) {
        out[2 * i] = 1.0F - q[i];
        out[2 * i + 1] = q[i];
    }
}

/// rows = -mu rows.
void mix_labels(const std::vector<float>& mu, std::size_t labels, std::size_t width,
                std::size_t begin, std::size_t end, float* rows) {
    std::vector<float> mixed(labels);
    for (std::size_t i = begin; i < end; ++i) {
        float* const row = rows + i * width;
        for (std::size_t k = 0; k < labels; ++k) {
            mixed[k] = 0.0F;
            for (std::size_t j = 0; j < labels; ++j) mixed[k] -= mu[k * labels + j] * row[j];
        }
        std::copy(mixed.begin(), mixed.end(), row);
    }
}

void infer_many(const float* unary, const float* start, std::size_t points, std::size_t labels,
                const std::vector<std::unique_ptr<Spread>>& spreads, int iterations, int threads,
                float* out) {
    const TileKernels& kernels = tile_kernels();
    const std::size_t width = row_width(labels);
    PooledVector<float> energies(points * width);
    widen_energies({unary, labels, 1}, points, labels, width, energies.data());
    PooledVector<float> q(points * width);
    const auto update = [&](const std::vector<const float*>& rows,
                            const std::vector<float>& weights) {
        parallel_for(points, threads, [&](std::size_t begin, std::size_t end) {
            kernels.softmax(width, begin, end, energies.data(), rows.data(), weights.data(),
                            rows.size(), q.data());
        });
    };
    if (start == nullptr) {
        update({}, {});
    } else {
        widen({start, labels, 1}, points, labels, width, 0.0F, q.data());
    }
    std::vector<PooledVector<float>> spread(spreads.size());
    std::vector<const float*> rows;
    std::vector<float> weights;
    for (std::size_t m = 0; m < spreads.size(); ++m) {
        spread[m].resize(points * width);
        rows.push_back(spread[m].data());
        const std::vector<float>& mu = spreads[m]->compatibility();
        weights.push_back(is_potts(mu, labels) ? -mu[0] : 1.0F);
    }
    for (int iteration = 0; iteration < iterations; ++iteration) {
        for (std::size_t m = 0; m < spreads.size(); ++m) {
            spreads[m]->apply(q.data(), width, spread[m].data());
            const std::vector<float>& mu = spreads[m]->compatibility();
            if (is_potts(mu, labels)) continue;
            parallel_for(points, threads, [&](std::size_t begin, std::size_t end) {
                mix_labels(mu, labels, width, begin, end, spread[m].data());
            });
        }
        update(rows, weights);
    }
    for (std::size_t i = 0; i < points; ++i) {
        std::copy_n(&q[i * width], labels, out + i * labels);
    }
}

/// Infer with planes turned into rows, and back.
void infer_planes(const float* unary, const float* start, std::size_t points, std::size_t labels,
                  const std::vector<PairwiseTerm>& terms, const MeanFieldOptions& options,
                  float* out) {
    const std::size_t size = points * labels;
    PooledVector<float> unary_rows(size);
    PooledVector<float> start_rows(start == nullptr ? 0 : size);
    PooledVector<float> out_rows(size);
    copy_strided({unary, 1, points}, {unary_rows.data(), labels, 1}, points, labels);
    if (start != nullptr) {
        copy_strided({start, 1, points}, {start_rows.data(), labels, 1}, points, labels);
    }
    MeanFieldOptions rows = options;
    rows.planes = false;
    mean_field(unary_rows.data(), start == nullptr ? nullptr : start_rows.data(), points, labels,
               terms, rows, out_rows.data());
    copy_strided({out_rows.data(), labels, 1}, {out, 1, points}, points, labels);
}

}  // namespace

void mean_field(const float* unary, const float* start, std::size_t points, std::size_t labels,
                const std::vector<PairwiseTerm>& terms, const MeanFieldOptions& options,
                float* out) {
    const bool takes_tiles = options.iterations > 0 && suits_tiles(terms, labels);
    if (options.planes && !takes_tiles) {
        return infer_planes(unary, start, points, labels, terms, options, out);
    }
    std::vector<std::unique_ptr<Spread>> spreads;
    for (const PairwiseTerm& term : terms) {
        spreads.push_back(std::make_unique<Spread>(term, points, takes_tiles, options));
    }
    if (takes_tiles) {
        std::vector<TiledTerm> tiled;
        for (const auto& spread : spreads) tiled.push_back(spread->tiled());
        tiled_mean_field(unary, start, labels, tiled, options, out);
    } else if (labels == 2) {
        infer_two(unary, start, points, spreads, options.iterations, options.threads, out);
    } else {
        infer_many(unary, start, points, labels, spreads, options.iterations, options.threads, out);
    }
}

}  // namespace weakseg
