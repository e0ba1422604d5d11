// Eight lanes of AVX2: the intrinsics behind small names.
#pragma once

#include <immintrin.h>

#include <cstdint>
#include <cstring>

namespace weakseg {
namespace {

constexpr int kLanes = 8;
typedef float Floats __attribute__((vector_size(32)));
typedef std::int32_t Ints __attribute__((vector_size(32)));

/// Sixteen floats, looked up by the low four bits of every lane.
struct Table16 {
    Floats lower;
    Floats upper;
};

inline Table16 load_table(const float* entries) {
    Table16 table;
    std::memcpy(&table.lower, entries, sizeof(table.lower));
    std::memcpy(&table.upper, entries + 8, sizeof(table.upper));
    return table;
}

/// `upper` where bit `kBit` of `index` is set.
template <int kBit>
inline Floats blend_by_bit(Floats lower, Floats upper, Ints index) {
    return _mm256_blendv_ps(lower, upper, reinterpret_cast<__m256>(index << (31 - kBit)));
}

inline Floats lookup(const Table16& table, Ints index) {
    const auto lanes = reinterpret_cast<__m256i>(index);  // the instruction reads three bits
    return blend_by_bit<3>(_mm256_permutevar8x32_ps(table.lower, lanes),
                           _mm256_permutevar8x32_ps(table.upper, lanes), index);
}

/// Thirty-two floats, by the low five bits.
inline Floats lookup(const Table16& lower, const Table16& upper, Ints index) {
    return blend_by_bit<4>(lookup(lower, index), lookup(upper, index), index);
}

inline Floats gather(const float* base, Ints index) {
    return _mm256_i32gather_ps(base, reinterpret_cast<__m256i>(index), 4);
}

/// Read kLanes pixels of three bytes: red in the lowest byte of a lane, then green and blue.
inline Ints load_pixels(const std::uint8_t* from) {
    // Four pixels to every 128 bits, and there a byte to its place.
    const __m256i fours = _mm256_setr_epi32(0, 1, 2, 2, 3, 4, 5, 5);
    const __m256i bytes = _mm256_broadcastsi128_si256(
        _mm_setr_epi8(0, 1, 2, -1, 3, 4, 5, -1, 6, 7, 8, -1, 9, 10, 11, -1));
    const __m256i six = _mm256_setr_epi32(-1, -1, -1, -1, -1, -1, 0, 0);
    const __m256i packed = _mm256_maskload_epi32(reinterpret_cast<const int*>(from), six);
    return reinterpret_cast<Ints>(
        _mm256_shuffle_epi8(_mm256_permutevar8x32_epi32(packed, fours), bytes));
}

inline Ints round_to_ints(Floats values) {
    return reinterpret_cast<Ints>(_mm256_cvtps_epi32(values));
}

inline Floats multiply_add(Floats a, Floats b, Floats c) { return _mm256_fmadd_ps(a, b, c); }

typedef float FourFloats __attribute__((vector_size(16)));

inline FourFloats multiply_add(FourFloats a, FourFloats b, FourFloats c) {
    return _mm_fmadd_ps(a, b, c);
}

inline Ints minimum(Ints a, Ints b) {
    return reinterpret_cast<Ints>(
        _mm256_min_epi32(reinterpret_cast<__m256i>(a), reinterpret_cast<__m256i>(b)));
}

inline Ints maximum(Ints a, Ints b) {
    return reinterpret_cast<Ints>(
        _mm256_max_epi32(reinterpret_cast<__m256i>(a), reinterpret_cast<__m256i>(b)));
}

inline Ints shift_left(Ints values, Ints counts) {
    return reinterpret_cast<Ints>(
        _mm256_sllv_epi32(reinterpret_cast<__m256i>(values), reinterpret_cast<__m256i>(counts)));
}

/// sum + added where a and b are equal.
inline Floats add_where_equal(Ints a, Ints b, Floats added, Floats sum) {
    return sum + reinterpret_cast<Floats>((a == b) & reinterpret_cast<Ints>(added));
}

inline float sum_lanes(Floats values) {
    const __m128 four =
        _mm_add_ps(_mm256_castps256_ps128(values), _mm256_extractf128_ps(values, 1));
    const __m128 two = _mm_add_ps(four, _mm_movehl_ps(four, four));
    return _mm_cvtss_f32(_mm_add_ss(two, _mm_movehdup_ps(two)));
}

/// The lanes of a and b at even places, and those at odd places.
inline void split_pairs(Floats a, Floats b, Floats& even, Floats& odd) {
    const __m256 low = _mm256_permute2f128_ps(a, b, 0x20);
    const __m256 high = _mm256_permute2f128_ps(a, b, 0x31);
    // Within every 128 bits.
    even = _mm256_shuffle_ps(low, high, 0x88);
    odd = _mm256_shuffle_ps(low, high, 0xDD);
}

/// base[2 * index] and the float behind it.
inline void gather_pairs(const float* base, Ints index, Floats& first, Floats& second) {
    const auto places = reinterpret_cast<__m256i>(index);
    const auto* pairs = reinterpret_cast<const double*>(base);
    const __m256d low = _mm256_i32gather_pd(pairs, _mm256_castsi256_si128(places), 8);
    const __m256d high = _mm256_i32gather_pd(pairs, _mm256_extracti128_si256(places, 1), 8);
    split_pairs(_mm256_castpd_ps(low), _mm256_castpd_ps(high), first, second);
}

/// Store a, b, a, b, ...
inline void store_interleaved(float* to, Floats a, Floats b) {
    const __m256 low = _mm256_unpacklo_ps(a, b);
    const __m256 high = _mm256_unpackhi_ps(a, b);
    _mm256_storeu_ps(to, _mm256_permute2f128_ps(low, high, 0x20));
    _mm256_storeu_ps(to + kLanes, _mm256_permute2f128_ps(low, high, 0x31));
}

/// Four 4 x 4 transposes at once: within every 128 bits, rows become columns.
inline void transpose_halves(__m256i (&rows)[4]) {
    const __m256i ab_low = _mm256_unpacklo_epi32(rows[0], rows[1]);
    const __m256i ab_high = _mm256_unpackhi_epi32(rows[0], rows[1]);
    const __m256i cd_low = _mm256_unpacklo_epi32(rows[2], rows[3]);
    const __m256i cd_high = _mm256_unpackhi_epi32(rows[2], rows[3]);
    rows[0] = _mm256_unpacklo_epi64(ab_low, cd_low);
    rows[1] = _mm256_unpackhi_epi64(ab_low, cd_low);
    rows[2] = _mm256_unpacklo_epi64(ab_high, cd_high);
    rows[3] = _mm256_unpackhi_epi64(ab_high, cd_high);
}

/// Read kLanes records of four words.
inline void load_records(const std::uint32_t* from, Ints (&words)[4]) {
    const auto* records = reinterpret_cast<const __m128i*>(from);
    __m256i rows[4];
    for (int i = 0; i < 4; ++i) {
        rows[i] = _mm256_inserti128_si256(_mm256_castsi128_si256(_mm_loadu_si128(records + i)),
                                          _mm_loadu_si128(records + i + 4), 1);
    }
    transpose_halves(rows);
    for (int i = 0; i < 4; ++i) words[i] = reinterpret_cast<Ints>(rows[i]);
}

/// Write them.
inline void store_records(std::uint32_t* to, const Ints (&words)[4]) {
    auto* records = reinterpret_cast<__m128i*>(to);
    __m256i rows[4];
    for (int i = 0; i < 4; ++i) rows[i] = reinterpret_cast<__m256i>(words[i]);
    transpose_halves(rows);
    for (int i = 0; i < 4; ++i) {
        _mm_storeu_si128(records + i, _mm256_castsi256_si128(rows[i]));
        _mm_storeu_si128(records + i + 4, _mm256_extracti128_si256(rows[i], 1));
    }
}

/// Copy some records of four words, at least one.
inline void copy_records(const std::uint32_t* from, std::uint32_t count, std::uint32_t* to) {
    for (std::uint32_t i = 0; i < count; ++i) std::memcpy(to + 4 * i, from + 4 * i, 16);
}

/// The lanes moved up by one, behind the last lane of `before`.
inline Ints shifted(Ints before, Ints lanes) {
    return __builtin_shufflevector(before, lanes, 7, 8, 9, 10, 11, 12, 13, 14);
}

/// A bit for every lane that is not 0, but -1.
inline std::uint32_t mask_of(Ints lanes) {
    return static_cast<std::uint32_t>(_mm256_movemask_ps(reinterpret_cast<__m256>(lanes)));
}

inline std::uint32_t or_lanes(Ints values) {
    std::uint32_t lanes[kLanes];
    std::memcpy(lanes, &values, sizeof(lanes));
    std::uint32_t bits = 0;
    for (const std::uint32_t lane : lanes) bits |= lane;
    return bits;
}

}  // namespace
}  // namespace weakseg
