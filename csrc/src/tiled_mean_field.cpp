#include "tiled_mean_field.h"

#include <algorithm>
#include <functional>
#include <vector>

#include "class_rows.h"
#include "label_update.h"
#include "position_tiles.h"
#include "weakseg/parallel.h"

namespace weakseg {

namespace {

class TiledMeanField {
  public:
    TiledMeanField(const float* unary, const float* start, std::size_t labels,
                   const std::vector<TiledTerm>& terms, const MeanFieldOptions& options)
        : terms_(terms),
          options_(options),
          frame_(*std::find_if(terms.begin(), terms.end(),
                               [](const TiledTerm& term) { return term.lattice != nullptr; })
                      ->lattice),
          labels_(unary, start, frame_.points(), labels, options),
          splatted_(terms.size()) {
        for (const TiledTerm& term : terms) {
            if (term.position == nullptr) continue;
            positions_.push_back(
                {PositionTiles(*term.position, frame_, labels_.channels()), &term});
        }
    }

    void infer(float* out) {
        for (int iteration = 0; iteration <= options_.iterations; ++iteration) {
            const Step step{iteration == 0, iteration == options_.iterations, out};
            std::vector<TiledLattice::VertexValues> blurred = std::move(splatted_);
            if (!step.is_first) {
                for (std::size_t m = 0; m < terms_.size(); ++m) {
                    if (terms_[m].lattice != nullptr) terms_[m].lattice->blur(blurred[m]);
                }
            }
            if (!step.is_last) start_splats();
            parallel_items(frame_.tiles(), threads_, [&](const std::function<std::size_t()>& next) {
                Buffers buffers(labels_.channels(), positions_);
                for (std::size_t tile = next(); tile < frame_.tiles(); tile = next()) {
                    if (!step.is_first) slice(tile, blurred, buffers);
                    update(tile, step, buffers);
                    if (!step.is_last) splat(tile, buffers);
                }
            });
            for (Position& position : positions_) position.tiles.turn();
        }
    }

  private:
    struct Step {
        bool is_first;
        bool is_last;
        float* out;
    };

    struct Position {
        PositionTiles tiles;
        const TiledTerm* term;
    };

    /// Of one thread.
    struct Buffers {
        Buffers(std::size_t channels, const std::vector<Position>& positions)
            : sums(kTilePoints * channels), more(kTilePoints * channels) {
            for (const Position& position : positions) memories.emplace_back(position.tiles);
        }
        // (kTilePoints, channels): of all terms, then the new probabilities; and of one term.
        PooledVector<float> sums;
        PooledVector<float> more;
        std::vector<PositionTiles::Memory> memories;  // of every position kernel
    };

    void start_splats() {
        splatted_.clear();
        splatted_.resize(terms_.size());
        threads_ = 1;
        for (std::size_t m = 0; m < terms_.size(); ++m) {
            if (terms_[m].lattice == nullptr) continue;
            splatted_[m] = terms_[m].lattice->start(static_cast<int>(labels_.channels()),
                                                    options_.symmetric, options_.threads);
            threads_ = splatted_[m].threads;
        }
    }

    std::size_t first_point(const TileRect& rect) const {
        return rect.top * frame_.width() + rect.left;
    }

    TileValues in_tile(PooledVector<float>& buffer, std::size_t tile, const TiledLattice& lattice,
                       const float* factors) const {
        return {buffer.data(), kTileSide * labels_.channels(), lattice.of_tile(tile, factors)};
    }

    float* row_of(PooledVector<float>& buffer, std::size_t row) const {
        return buffer.data() + row * kTileSide * labels_.channels();
    }

    const float* factors_of(const float* factors, const TileRect& rect, std::size_t row) const {
        return factors == nullptr ? nullptr : factors + first_point(rect) + row * frame_.width();
    }

    /// Sum up weight * (K q) of the lattices, and prepare the other kernels' sums.
    void slice(std::size_t tile, const std::vector<TiledLattice::VertexValues>& blurred,
               Buffers& buffers) const {
        bool is_empty = true;
        for (std::size_t m = 0; m < terms_.size(); ++m) {
            const TiledTerm& term = terms_[m];
            if (term.lattice == nullptr) continue;
            PooledVector<float>& own = is_empty ? buffers.sums : buffers.more;
            term.lattice->slice(tile, blurred[m], term.weight,
                                in_tile(own, tile, *term.lattice, term.after));
            if (!is_empty) add_more(frame_.rect(tile), buffers);
            is_empty = false;
        }
        for (std::size_t p = 0; p < positions_.size(); ++p) {
            positions_[p].tiles.sum(tile, buffers.memories[p]);
        }
    }

    void add_more(const TileRect& rect, Buffers& buffers) const {
        for (std::size_t row = 0; row < rect.rows; ++row) {
            tile_kernels().add_scaled(rect.columns, labels_.channels(), row_of(buffers.more, row),
                                      1.0F, nullptr, false, row_of(buffers.sums, row));
        }
    }

    /// Replace the sums by the probabilities that follow, and hand these to the position kernels,
    /// row by row; or write them to `out` at the end.
    void update(std::size_t tile, const Step& step, Buffers& buffers) {
        const TileRect& rect = frame_.rect(tile);
        const std::size_t count = rect.columns;
        for (std::size_t row = 0; row < rect.rows; ++row) {
            const std::size_t point = first_point(rect) + row * frame_.width();
            float* const values = row_of(buffers.sums, row);
            if (row + 1 < rect.rows) prefetch(rect, row + 1);
            if (step.is_first) {
                labels_.begin(point, count, values);
            } else {
                add_positions(tile, row, buffers, values);
                if (step.is_last) {
                    labels_.finish(point, count, values, step.out);
                    continue;
                }
                labels_.advance(point, count, values);
            }
            for (std::size_t p = 0; p < positions_.size(); ++p) {
                positions_[p].tiles.take_row(tile, row, values,
                                             factors_of(positions_[p].term->before, rect, row),
                                             buffers.memories[p]);
            }
        }
    }

    /// Read ahead: rows of a tile are too short for the processor to foresee the next one's.
    void prefetch(const TileRect& rect, std::size_t row) const {
        labels_.prefetch(first_point(rect) + row * frame_.width(), rect.columns);
        for (const Position& position : positions_) {
            for (const float* factors : {position.term->before, position.term->after}) {
                if (factors == nullptr) continue;
                prefetch_floats(factors_of(factors, rect, row), rect.columns);
            }
        }
    }

    void add_positions(std::size_t tile, std::size_t row, Buffers& buffers, float* sums) const {
        for (std::size_t p = 0; p < positions_.size(); ++p) {
            const TiledTerm& term = *positions_[p].term;
            positions_[p].tiles.add_row(tile, row, term.weight,
                                        factors_of(term.after, frame_.rect(tile), row),
                                        buffers.memories[p], sums);
        }
    }

    void splat(std::size_t tile, Buffers& buffers) {
        for (std::size_t m = 0; m < terms_.size(); ++m) {
            const TiledTerm& term = terms_[m];
            if (term.lattice == nullptr) continue;
            term.lattice->splat(tile, in_tile(buffers.sums, tile, *term.lattice, term.before),
                                splatted_[m]);
        }
    }

    const std::vector<TiledTerm>& terms_;
    const MeanFieldOptions& options_;
    const TiledLattice& frame_;
    LabelUpdate labels_;
    int threads_ = 1;
    std::vector<TiledLattice::VertexValues> splatted_;
    std::vector<Position> positions_;
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
    // Kernels know rows of up to 24 labels.
    if (frame == nullptr || labels < 2 || labels > 24) return false;
    return std::all_of(terms.begin(), terms.end(), [&](const PairwiseTerm& term) {
        return term.position == nullptr ||
               (term.position->width() == frame->width() && PositionTiles::suits(*term.position));
    });
}

void tiled_mean_field(const float* unary, const float* start, std::size_t labels,
                      const std::vector<TiledTerm>& terms, const MeanFieldOptions& options,
                      float* out) {
    TiledMeanField(unary, start, labels, terms, options).infer(out);
}

}  // namespace weakseg
