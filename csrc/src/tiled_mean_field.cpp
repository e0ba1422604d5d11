#include "tiled_mean_field.h"

#include <algorithm>
#include <cstring>
#include <functional>
#include <vector>

#include "class_rows.h"
#include "strided_copy.h"
#include "weakseg/parallel.h"

namespace weakseg {

namespace {

/// What the probabilities of `labels` labels are held as. Of two, only the difference of the
/// second and the first: the kernels of a Potts model see nothing else.
struct State {
    std::size_t labels;
    std::size_t channels;

    explicit State(std::size_t count)
        : labels(count), channels(count == 2 ? 1 : row_width(count)) {}
};

class TiledMeanField {
  public:
    TiledMeanField(const float* unary, const float* start, std::size_t labels,
                   const std::vector<TiledTerm>& terms, const MeanFieldOptions& options)
        : unary_(unary),
          start_(start),
          state_(labels),
          label_step_(options.planes ? 0 : 1),
          point_step_(options.planes ? 1 : labels),
          terms_(terms),
          options_(options),
          frame_(*std::find_if(terms.begin(), terms.end(),
                               [](const TiledTerm& term) { return term.lattice != nullptr; })
                      ->lattice),
          points_(frame_.points()),
          energies_(points_ * state_.channels),
          q_(points_ * state_.channels),
          next_q_(points_ * state_.channels),
          splatted_(terms.size()) {
        start_splats();
        if (options.planes) label_step_ = points_;
        parallel_for(points_, options.threads,
                     [&](std::size_t begin, std::size_t end) { prepare_energies(begin, end); });
    }

    void infer(float* out) {
        for (int iteration = 0; iteration <= options_.iterations; ++iteration) {
            const bool is_first = iteration == 0;
            const bool is_last = iteration == options_.iterations;
            std::vector<TiledLattice::VertexValues> blurred = std::move(splatted_);
            if (!is_first) {
                for (std::size_t m = 0; m < terms_.size(); ++m) {
                    if (terms_[m].lattice != nullptr) terms_[m].lattice->blur(blurred[m]);
                }
            }
            if (!is_last) start_splats();
            parallel_items(frame_.tiles(), threads_, [&](const std::function<std::size_t()>& next) {
                Buffers buffers(state_.channels);
                for (std::size_t tile = next(); tile < frame_.tiles(); tile = next()) {
                    if (!is_first) add_terms(tile, blurred, buffers);
                    update(tile, is_first, is_last, buffers, out);
                    if (!is_last) splat(tile, buffers);
                }
            });
            q_.swap(next_q_);
        }
    }

  private:
    /// Of one thread; (kTilePoints, channels) each.
    struct Buffers {
        explicit Buffers(std::size_t channels)
            : sums(kTilePoints * channels), more(kTilePoints * channels) {}
        PooledVector<float> sums;
        PooledVector<float> more;
        std::vector<float> scratch;
    };

    void start_splats() {
        splatted_.clear();
        splatted_.resize(terms_.size());
        threads_ = 1;
        for (std::size_t m = 0; m < terms_.size(); ++m) {
            if (terms_[m].lattice == nullptr) continue;
            splatted_[m] = terms_[m].lattice->start(static_cast<int>(state_.channels),
                                                    options_.symmetric, options_.threads);
            threads_ = splatted_[m].threads;
        }
    }

    std::size_t first_point(const TileRect& rect) const {
        return rect.top * frame_.width() + rect.left;
    }

    TileValues in_tile(float* buffer, const TileRect& rect, const float* factors) const {
        const std::size_t row_step = kTileSide * state_.channels;
        if (factors == nullptr) return {buffer, row_step, {nullptr, 0}};
        return {buffer, row_step, {factors + first_point(rect), frame_.width()}};
    }

    /// Call body(point in the frame, place in the tile) for the first of every row.
    template <class Body>
    void for_rows(const TileRect& rect, const Body& body) const {
        for (std::size_t row = 0; row < rect.rows; ++row) {
            body(first_point(rect) + row * frame_.width(), row * kTileSide);
        }
    }

    /// Sum up weight * (K q) of all terms.
    void add_terms(std::size_t tile, const std::vector<TiledLattice::VertexValues>& blurred,
                   Buffers& buffers) const {
        const TileRect& rect = frame_.rect(tile);
        bool is_empty = true;
        for (std::size_t m = 0; m < terms_.size(); ++m) {
            const TiledTerm& term = terms_[m];
            float* const own = is_empty ? buffers.sums.data() : buffers.more.data();
            std::size_t row_step = kTileSide * state_.channels;
            bool has_factors = term.after != nullptr;
            float weight = term.weight;
            if (term.lattice != nullptr) {
                // Rows take factors in the kernel, planes do not.
                const bool in_kernel = state_.channels > 2;
                term.lattice->slice(tile, blurred[m], weight,
                                    in_tile(own, rect, in_kernel ? term.after : nullptr));
                weight = 1.0F;
                has_factors = has_factors && !in_kernel;
                if (is_empty && !has_factors) {
                    is_empty = false;
                    continue;
                }
            } else {
                row_step = rect.columns * state_.channels;
                term.position->filter_part(q_.data(), state_.channels, term.before,
                                           {rect.top, rect.left, rect.rows, rect.columns},
                                           buffers.scratch, buffers.more.data());
            }
            const float* const from = term.lattice != nullptr ? own : buffers.more.data();
            add_rows(rect, from, row_step, weight, has_factors ? term.after : nullptr, is_empty,
                     buffers.sums.data());
            is_empty = false;
        }
    }

    /// sums (+)= weight * factors * from.
    void add_rows(const TileRect& rect, const float* from, std::size_t row_step, float weight,
                  const float* factors, bool is_first, float* sums) const {
        const std::size_t channels = state_.channels;
        std::size_t row = 0;
        for_rows(rect, [&](std::size_t point, std::size_t place) {
            tile_kernels().add_scaled(rect.columns, channels, from + row++ * row_step, weight,
                                      factors == nullptr ? nullptr : factors + point, is_first,
                                      sums + place * channels);
        });
    }

    /// Take the probabilities that follow from the sums; those of two labels replace them, too.
    void update(std::size_t tile, bool is_first, bool is_last, Buffers& buffers, float* out) {
        const TileRect& rect = frame_.rect(tile);
        for_rows(rect, [&](std::size_t point, std::size_t place) {
            if (state_.labels == 2) {
                update_two(point, rect.columns, is_first, is_last, buffers.sums.data() + place,
                           out);
            } else {
                update_many(point, rect.columns, is_first, is_last,
                            buffers.sums.data() + place * state_.channels, out);
            }
        });
    }

    /// Of two labels the first's less the second's; of more, rows as wide as the kernels take them.
    void prepare_energies(std::size_t begin, std::size_t end) {
        if (state_.labels == 2) {
            for (std::size_t i = begin; i < end; ++i) energies_[i] = lead_of_first(unary_, i);
            return;
        }
        widen_energies(points_of(unary_, begin), end - begin, state_.labels, state_.channels,
                       &energies_[begin * state_.channels]);
    }

    Strided<const float> points_of(const float* array, std::size_t first) const {
        return {array + first * point_step_, point_step_, label_step_};
    }

    /// Of an array of two labels: the first's value less the second's.
    float lead_of_first(const float* array, std::size_t point) const {
        const float* const first = array + point * point_step_;
        return first[0] - first[label_step_];
    }

    void update_two(std::size_t point, std::size_t count, bool is_first, bool is_last, float* sums,
                    float* out) {
        const TileKernels& kernels = tile_kernels();
        const float one = 1.0F;
        const float* const spread = sums;
        const std::size_t terms = is_first ? 0 : 1;
        if (is_last) {
            float second[kTileSide];
            kernels.logistic(0, count, &energies_[point], &spread, &one, terms, second);
            for (std::size_t x = 0; x < count; ++x) {
                float* const to = out + (point + x) * point_step_;
                to[0] = 1.0F - second[x];
                to[label_step_] = second[x];
            }
            return;
        }
        if (is_first && start_ != nullptr) {
            for (std::size_t x = 0; x < count; ++x) {
                sums[x] = -lead_of_first(start_, point + x);
            }
        } else {
            kernels.tanh_half(0, count, &energies_[point], &spread, &one, terms, sums);
        }
        std::memcpy(&next_q_[point], sums, count * sizeof(float));
    }

    void update_many(std::size_t point, std::size_t count, bool is_first, bool is_last,
                     const float* sums, float* out) {
        const std::size_t channels = state_.channels;
        float* const q = &next_q_[point * channels];
        if (is_first && start_ != nullptr) {
            widen(points_of(start_, point), count, state_.labels, channels, 0.0F, q);
        } else {
            const float one = 1.0F;
            tile_kernels().softmax(channels, 0, count, &energies_[point * channels], &sums, &one,
                                   is_first ? 0 : 1, q);
        }
        if (!is_last) return;
        copy_strided({q, channels, 1}, {out + point * point_step_, point_step_, label_step_}, count,
                     state_.labels);
    }

    void splat(std::size_t tile, Buffers& buffers) {
        const TileRect& rect = frame_.rect(tile);
        for (std::size_t m = 0; m < terms_.size(); ++m) {
            const TiledTerm& term = terms_[m];
            if (term.lattice == nullptr) continue;
            if (state_.channels > 2) {
                const std::size_t first = first_point(rect);
                const PointFactors factors{term.before == nullptr ? nullptr : term.before + first,
                                           frame_.width()};
                term.lattice->splat(
                    tile,
                    {&next_q_[first * state_.channels], frame_.width() * state_.channels, factors},
                    splatted_[m]);
                continue;
            }
            if (term.before == nullptr) {
                term.lattice->splat(tile, in_tile(buffers.sums.data(), rect, nullptr),
                                    splatted_[m]);
                continue;
            }
            for_rows(rect, [&](std::size_t point, std::size_t place) {
                for (std::size_t x = 0; x < rect.columns; ++x) {
                    buffers.more[place + x] = term.before[point + x] * buffers.sums[place + x];
                }
            });
            term.lattice->splat(tile, in_tile(buffers.more.data(), rect, nullptr), splatted_[m]);
        }
    }

    const float* unary_;
    const float* start_;
    State state_;
    // Of the arrays given and wanted.
    std::size_t label_step_;
    std::size_t point_step_;
    const std::vector<TiledTerm>& terms_;
    const MeanFieldOptions& options_;
    const TiledLattice& frame_;
    std::size_t points_;
    int threads_ = 1;
    PooledVector<float> energies_;
    // (points, channels); tiles read each other's, so new ones are written elsewhere.
    PooledVector<float> q_;
    PooledVector<float> next_q_;
    std::vector<TiledLattice::VertexValues> splatted_;
};

}  // namespace

bool suits_tiles(const std::vector<PairwiseTerm>& terms, std::size_t labels) {
    const TiledLattice* frame = nullptr;
    for (const PairwiseTerm& term : terms) {
        if (!is_potts(term.compatibility, labels)) return false;
        if (term.lattice == nullptr) continue;
        const TiledLattice* const tiled = term.lattice->base().as_tiled();
        if (tiled == nullptr || !tiled->is_frame()) return false;
        if (frame != nullptr && frame->width() != tiled->width()) return false;
        frame = tiled;
    }
    // Kernels know rows of up to 24 labels, and reach them by 32 bits.
    if (frame == nullptr || labels < 2 || labels > 24) return false;
    if (kTileSide * frame->width() * 24 >= std::size_t{1} << 31U) return false;
    return std::all_of(terms.begin(), terms.end(), [&](const PairwiseTerm& term) {
        if (term.position == nullptr) return true;
        // Of far reach, tiles would be convolved again and again.
        return term.position->width() == frame->width() && term.position->reach() <= kTileSide / 2;
    });
}

void tiled_mean_field(const float* unary, const float* start, std::size_t labels,
                      const std::vector<TiledTerm>& terms, const MeanFieldOptions& options,
                      float* out) {
    TiledMeanField(unary, start, labels, terms, options).infer(out);
}

}  // namespace weakseg
