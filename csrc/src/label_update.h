// Probabilities of labels out of energies and the kernels' sums, row by row.
#pragma once

#include <cstddef>

#include "class_rows.h"
#include "pool.h"
#include "strided_copy.h"
#include "tile_kernels.h"
#include "weakseg/mean_field.h"
#include "weakseg/parallel.h"

namespace weakseg {

/// Energies of all points, and what arrays of labels are given and wanted as.
///
/// Probabilities are held in rows of `channels`: of two labels, only the difference of the second
/// and the first, since the kernels of a Potts model see nothing else.
class LabelUpdate {
  public:
    LabelUpdate(const float* unary, const float* start, std::size_t points, std::size_t labels,
                const MeanFieldOptions& options)
        : start_(start),
          labels_(labels),
          channels_(labels == 2 ? 1 : row_width(labels)),
          point_step_(options.planes ? 1 : labels),
          label_step_(options.planes ? points : 1),
          energies_(points * channels_) {
        parallel_for(points, options.threads, [&](std::size_t begin, std::size_t end) {
            prepare_energies(unary, begin, end);
        });
    }

    std::size_t channels() const { return channels_; }

    void prefetch(std::size_t point, std::size_t count) const {
        prefetch_floats(&energies_[point * channels_], count * channels_);
    }

    /// The first probabilities of `count` points: those given, or softmax(-energies).
    void begin(std::size_t point, std::size_t count, float* row) const {
        if (start_ == nullptr) return follow(point, count, nullptr, row);
        if (labels_ > 2) {
            return widen(points_of(start_, point), count, labels_, channels_, 0.0F, row);
        }
        for (std::size_t x = 0; x < count; ++x) row[x] = -lead_of_first(start_, point + x);
    }

    /// Replace a row of sums by the probabilities that follow.
    void advance(std::size_t point, std::size_t count, float* row) const {
        follow(point, count, row, row);
    }

    /// Write those that follow to `out`, as arrays are wanted; the row is used up.
    void finish(std::size_t point, std::size_t count, float* row, float* out) const {
        float* const first = out + point * point_step_;
        if (labels_ > 2) {
            follow(point, count, row, row);
            return copy_strided({row, channels_, 1}, {first, point_step_, label_step_}, count,
                                labels_);
        }
        const float* const spread = row;
        tile_kernels().logistic(0, count, &energies_[point], &spread, &kOne, 1, row);
        for (std::size_t x = 0; x < count; ++x) {
            first[x * point_step_] = 1.0F - row[x];
            first[x * point_step_ + label_step_] = row[x];
        }
    }

  private:
    static constexpr float kOne = 1.0F;

    /// `sums` may be null for none.
    void follow(std::size_t point, std::size_t count, const float* sums, float* row) const {
        const float* const energies = &energies_[point * channels_];
        const std::size_t terms = sums == nullptr ? 0 : 1;
        if (labels_ == 2) {
            tile_kernels().tanh_half(0, count, energies, &sums, &kOne, terms, row);
        } else {
            tile_kernels().softmax(channels_, 0, count, energies, &sums, &kOne, terms, row);
        }
    }

    /// Of two labels the first's less the second's; of more, rows as wide as the kernels take them.
    void prepare_energies(const float* unary, std::size_t begin, std::size_t end) {
        if (labels_ > 2) {
            return widen_energies(points_of(unary, begin), end - begin, labels_, channels_,
                                  &energies_[begin * channels_]);
        }
        for (std::size_t i = begin; i < end; ++i) energies_[i] = lead_of_first(unary, i);
    }

    Strided<const float> points_of(const float* array, std::size_t first) const {
        return {array + first * point_step_, point_step_, label_step_};
    }

    /// Of an array of two labels: the first's value less the second's.
    float lead_of_first(const float* array, std::size_t point) const {
        const float* const first = array + point * point_step_;
        return first[0] - first[label_step_];
    }

    const float* start_;
    std::size_t labels_;
    std::size_t channels_;
    // Of the arrays given and wanted.
    std::size_t point_step_;
    std::size_t label_step_;
    PooledVector<float> energies_;
};

}  // namespace weakseg
