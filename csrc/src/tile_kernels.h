// The loops over the points of a tile, compiled once for every set of instructions.
//
// Points are grouped by hub: the lattice vertex of remainder 0 of the simplex that holds the
// point. All vertices of such simplices are the hub less a set S of axes, 0 < |S| < dims + 1, so a
// group's vertices fit a table of a few vector registers, and a point's corners are lanes in it:
// S grows by one axis from corner to corner. A lane is the XOR of the codes of the axes in S (of
// those not in S, where these are fewer); the codes are chosen so that no two sets share a lane.
#pragma once

#include <cstddef>
#include <cstdint>

namespace weakseg {

constexpr int kTileShift = 6;
constexpr std::uint32_t kTileSide = 1U << kTileShift;
constexpr std::uint32_t kTilePoints = kTileSide * kTileSide;
constexpr int kMaxTiledDims = 5;
constexpr int kLanesPerBlock = 16;
constexpr int kMaxBlocks = 6;
constexpr int kMaxTableLanes = kMaxBlocks * kLanesPerBlock;

/// A point's record: the weights of corners 1, 2, ... in 1 / 65535, two a word; in the upper half
/// of the word behind them the place in the tile; and the lanes of its corners.
constexpr int kRecordWords = 4;
constexpr int kPlaceWord = 2;
constexpr int kLanesWord = 3;

/// Kernels read whole vectors: so many records of zeros follow a tile's.
constexpr std::size_t kRecordPadding = 16;

/// Where every level of corners (|S| = 1, 2, ...) lies in a group's table and in `corners`.
template <int kDims>
struct TableLayout;

template <>
struct TableLayout<2> {
    static constexpr int kBlocks = 2;
    static constexpr int kLevelOfBlock[2] = {0, 1};
    static constexpr int kHubLane = 3;
    static constexpr int kFirstLane[2] = {0, 16};
    static constexpr int kShift[2] = {0, 4};
    static constexpr int kCode[3] = {0, 1, 2};
};

template <>
struct TableLayout<5> {
    static constexpr int kBlocks = 6;
    static constexpr int kLevelOfBlock[6] = {0, 1, 2, 2, 3, 4};
    static constexpr int kHubLane = 16;  // a pair's XOR is never 0
    static constexpr int kFirstLane[5] = {0, 16, 32, 64, 80};
    static constexpr int kShift[5] = {0, 4, 8, 13, 17};
    // All pairs differ in the low four bits, all triples in the low five.
    static constexpr int kCode[6] = {0, 1, 2, 4, 8, 31};
};

/// Constants of one lattice. A vertex's key packs its coordinates, divided by dims + 1 and
/// rounded down, and in the lowest three bits their common remainder.
struct TileGeometry {
    int dims;
    bool is_wide;                          // keys take 64 bits, not 32
    float scale[kMaxTiledDims];            // standard deviations to lattice units
    std::int32_t code[kMaxTiledDims + 1];  // of every axis
    std::int32_t low[kMaxTiledDims + 1];   // key step of every axis, its low and high half
    std::int32_t high[kMaxTiledDims + 1];
    std::int32_t low_by_code[kLanesPerBlock];
    std::int32_t high_by_code[kLanesPerBlock];
    std::int32_t first_low;  // key of the vertex 0
    std::int32_t first_high;
    std::uint64_t lane_step[kMaxTableLanes];  // key of a lane's vertex less its hub's
};

/// What the points are: pixels of a frame, or (points, dims) features in standard deviations.
struct TileSource {
    const float* features;
    const std::uint8_t* bytes;
    const float* floats;
    std::size_t width;        // of the frame
    std::size_t plane;        // levels between two colours' planes, 0 for interleaved colours
    const float* scaled_x;    // of every column, in lattice units
    const float* scaled_y;    // of every row
    float opponent_scale[3];  // r - b, r - 2 g + b, r + g + b: to lattice units
    /// Instead of these, in red, green, blue: divide by it, then scale, in two roundings.
    float sigma_level;
};

/// A part of the frame; of features, points [64 top, 64 top + 64 (rows - 1) + columns).
struct TileRect {
    std::size_t top;
    std::size_t left;
    std::uint32_t rows;
    std::uint32_t columns;       // at most kTileSide
    std::uint32_t last_columns;  // of the last row: fewer where features end
    std::size_t first_record;
};

/// Points that share a hub; the next group's entries end this one's.
struct HubGroup {
    std::uint32_t first_record;  // within the tile
    std::uint32_t first_vertex;  // within the tile
    std::uint16_t used[kMaxBlocks];
};

/// Neighbours in a row of the tile that share their group, as most do.
struct GroupRun {
    std::uint16_t place;  // of the first
    std::uint16_t group;
    std::uint16_t points;
};

/// Memory for `locate`, one a thread.
struct TileScratch {
    static constexpr std::uint32_t kSlots = 8 * kTilePoints;

    template <class Key>
    struct Slot {
        Key key;
        std::uint32_t group;
    };

    // By place.
    std::uint32_t records[kTilePoints * kRecordWords];
    GroupRun runs[kTilePoints];
    // By group.
    std::uint64_t hub_key[kTilePoints];
    std::uint32_t next_record[kTilePoints];
    Slot<std::uint32_t> slots[kSlots];  // or
    Slot<std::uint64_t> wide_slots[kSlots];
    // Results.
    std::uint32_t group_count;
    std::uint32_t vertex_count;
    HubGroup groups[kTilePoints + 1];
    std::uint32_t keys[kTilePoints * (kMaxTiledDims + 1)];  // of vertices, or
    std::uint64_t wide_keys[kTilePoints * (kMaxTiledDims + 1)];
};

/// One tile of a built lattice.
struct TileView {
    const std::uint32_t* records;
    const HubGroup* groups;  // one more than group_count: the end
    std::uint32_t group_count;
    const std::int32_t* vertices;  // rows of the lattice's values, of every group in turn
};

/// target = centre_factor[neighbours missing] * centre + weight * (below + above).
struct BlurAxis {
    const std::int32_t* pairs;  // rows of both neighbours; 0 stands for a missing one
    float centre_factor[3];
    float weight;
};

/// Factors of a tile's points, from the first on; none without `data`. They lie as in the frame,
/// or with a step of 0 as the records do: that is faster where they are used again and again.
struct PointFactors {
    const float* data;
    std::size_t row_step;
};

/// Convolutions of this radius are fast: that of cells, and a deviation of three pixels.
constexpr int kFastRadius = 5;

/// Cells of two pixels: what of a pixel goes to the cell it lies in, to the next ones, and so on.
/// A binomial of eight pixels: of every pixel, one half in all.
constexpr float kCellWeights[4] = {35.0F / 128.0F, 21.0F / 128.0F, 7.0F / 128.0F, 1.0F / 128.0F};
/// Variance and fourth cumulant of these weights, in pixels.
constexpr double kCellVariance = 7.0 / 4.0;
constexpr double kCellCumulant = -7.0 / 8.0;
/// Cells beyond the pixels' own, on either side, that get some of them.
constexpr std::size_t kCellMargin = 2;
/// Zeros that rows of pixels need on either side, and floats that may be read behind cells.
constexpr std::size_t kCellPadding = 8;
constexpr std::size_t kRowSlack = 2 * kLanesPerBlock;

/// Values of a tile's points, 1, 2, 4, 8, 16 or 24 channels a point, `row_step` floats from one row
/// of points to the next; of 1 or 2 channels always kTileSide points. But slice writes one channel
/// in the order of the records where `row_step` is 0, and splat takes one channel without `data` as
/// 1 everywhere.
struct TileValues {
    float* data;
    std::size_t row_step;
    PointFactors factors;  // of 1 or 2 channels only as records lie
};

struct TileKernels {
    void (*locate)(const TileGeometry&, const TileSource&, const TileRect&, TileScratch&,
                   std::uint32_t* records);
    /// Add a tile's points to rows of the lattice; or, without `lattice`, write every group's sums
    /// to `sums`, one row for every entry of `vertices`.
    void (*splat)(int dims, int channels, const TileView&, const TileValues&, float* lattice,
                  float* sums);
    /// Write scale * lattice at a tile's points.
    void (*slice)(int dims, int channels, const TileView&, const float* lattice, float scale,
                  const TileValues&);
    /// Blur rows [begin, end) along one axis.
    void (*blur)(int channels, const BlurAxis&, std::size_t begin, std::size_t end,
                 const float* source, float* target);
    /// out_(y, i) = taps_0 v_(y, i) + sum over k of taps_k (v_(y - k, i) + v_(y + k, i)), where
    /// `centre` is v_(0, 0) and rows are `step` floats apart, and `out_step` in `out`.
    void (*convolve)(const float* centre, const float* taps, int radius, std::ptrdiff_t step,
                     std::size_t rows, std::size_t count, float* out, std::ptrdiff_t out_step);
    /// values = 1 / max(values, 1e-20), or the roots of that.
    void (*invert)(std::size_t count, bool takes_roots, float* values);
    /// sums (+)= weight * factors * from, of rows of channels; `factors` may be null.
    void (*add_scaled)(std::size_t points, std::size_t channels, const float* from, float weight,
                       const float* factors, bool is_first, float* sums);
    /// Cells of a row of points, kCellMargin more on either side, and whole vectors of them;
    /// kCellPadding points of zeros surround the row, and kRowSlack floats follow.
    void (*to_cells)(std::size_t points, std::size_t channels, const float* values, float* cells);
    /// sums (+)= weight * factors * what the points read off these cells; `factors` may be null.
    void (*add_from_cells)(std::size_t points, std::size_t channels, const float* cells,
                           float weight, const float* factors, bool is_first, float* sums);
    /// out = sum over rows of weights_row * from_row.
    void (*sum_rows)(std::size_t rows, const float* const* from, const float* weights,
                     std::size_t count, float* out);
    /// out = 1 / (1 + exp(-x)), x = constant + sum over terms of weight * spread, of points
    /// [begin, end). As in the next two, `out` may be one of `spread`.
    void (*logistic)(std::size_t begin, std::size_t end, const float* constant,
                     const float* const* spread, const float* weights, std::size_t terms,
                     float* out);
    /// out = tanh(x / 2) for the same x: the difference of the two labels' probabilities.
    void (*tanh_half)(std::size_t begin, std::size_t end, const float* constant,
                      const float* const* spread, const float* weights, std::size_t terms,
                      float* out);
    /// rows = rows less the least of every row of labels, a multiple of 4.
    void (*subtract_least)(std::size_t labels, std::size_t points, float* rows);
    /// out = softmax(-energies + sum over terms of weight * spread) of rows of labels, a multiple
    /// of 4, points [begin, end).
    void (*softmax)(std::size_t labels, std::size_t begin, std::size_t end, const float* energies,
                    const float* const* spread, const float* weights, std::size_t terms,
                    float* out);
};

const TileKernels& portable_tile_kernels();
const TileKernels& avx2_tile_kernels();
const TileKernels& avx512_tile_kernels();

/// Those of the instructions in use.
const TileKernels& tile_kernels();

}  // namespace weakseg
