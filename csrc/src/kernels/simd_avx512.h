// Sixteen lanes of AVX-512: the intrinsics behind small names.
#pragma once

#include <immintrin.h>

#include <cstdint>
#include <cstring>

namespace weakseg {
namespace {

constexpr int kLanes = 16;
typedef float Floats __attribute__((vector_size(64)));
typedef std::int32_t Ints __attribute__((vector_size(64)));

/// Sixteen floats, looked up by the low four bits of every lane.
struct Table16 {
    Floats entries;
};

inline Table16 load_table(const float* entries) {
    Table16 table;
    std::memcpy(&table.entries, entries, sizeof(table.entries));
    return table;
}

inline Floats lookup(const Table16& table, Ints index) {
    return _mm512_permutexvar_ps(reinterpret_cast<__m512i>(index), table.entries);
}

/// Thirty-two floats, by the low five bits.
inline Floats lookup(const Table16& lower, const Table16& upper, Ints index) {
    return _mm512_permutex2var_ps(lower.entries, reinterpret_cast<__m512i>(index), upper.entries);
}

inline Floats gather(const float* base, Ints index) {
    return _mm512_i32gather_ps(reinterpret_cast<__m512i>(index), base, 4);
}

/// Read kLanes pixels of three bytes: red in the lowest byte of a lane, then green and blue.
inline Ints load_pixels(const std::uint8_t* from) {
    // Four pixels to every 128 bits, and there a byte to its place.
    const __m512i fours = _mm512_setr_epi32(0, 1, 2, 2, 3, 4, 5, 5, 6, 7, 8, 8, 9, 10, 11, 11);
    const __m512i bytes =
        _mm512_broadcast_i32x4(_mm_setr_epi8(0, 1, 2, -1, 3, 4, 5, -1, 6, 7, 8, -1, 9, 10, 11, -1));
    const __m512i packed = _mm512_maskz_loadu_epi32(0x0FFF, from);
    return reinterpret_cast<Ints>(
        _mm512_shuffle_epi8(_mm512_permutexvar_epi32(fours, packed), bytes));
}

inline Ints round_to_ints(Floats values) {
    return reinterpret_cast<Ints>(_mm512_cvtps_epi32(values));
}

inline Floats multiply_add(Floats a, Floats b, Floats c) { return _mm512_fmadd_ps(a, b, c); }

typedef float EightFloats __attribute__((vector_size(32)));
typedef float FourFloats __attribute__((vector_size(16)));

inline EightFloats multiply_add(EightFloats a, EightFloats b, EightFloats c) {
    return _mm256_fmadd_ps(a, b, c);
}

inline FourFloats multiply_add(FourFloats a, FourFloats b, FourFloats c) {
    return _mm_fmadd_ps(a, b, c);
}

inline Ints minimum(Ints a, Ints b) {
    return reinterpret_cast<Ints>(
        _mm512_min_epi32(reinterpret_cast<__m512i>(a), reinterpret_cast<__m512i>(b)));
}

inline Ints maximum(Ints a, Ints b) {
    return reinterpret_cast<Ints>(
        _mm512_max_epi32(reinterpret_cast<__m512i>(a), reinterpret_cast<__m512i>(b)));
}

inline Ints shift_left(Ints values, Ints counts) {
    return reinterpret_cast<Ints>(
        _mm512_sllv_epi32(reinterpret_cast<__m512i>(values), reinterpret_cast<__m512i>(counts)));
}

/// sum + added where a and b are equal.
inline Floats add_where_equal(Ints a, Ints b, Floats added, Floats sum) {
    const __mmask16 is_equal =
        _mm512_cmpeq_epi32_mask(reinterpret_cast<__m512i>(a), reinterpret_cast<__m512i>(b));
    return _mm512_mask_add_ps(sum, is_equal, sum, added);
}

inline float sum_lanes(Floats values) { return _mm512_reduce_add_ps(values); }

/// The lanes of a and b at even places, and those at odd places.
inline void split_pairs(Floats a, Floats b, Floats& even, Floats& odd) {
    const __m512i evens =
        _mm512_setr_epi32(0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30);
    const __m512i odds =
        _mm512_setr_epi32(1, 3, 5, 7, 9, 11, 13, 15, 17, 19, 21, 23, 25, 27, 29, 31);
    even = _mm512_permutex2var_ps(a, evens, b);
    odd = _mm512_permutex2var_ps(a, odds, b);
}

/// base[2 * index] and the float behind it.
inline void gather_pairs(const float* base, Ints index, Floats& first, Floats& second) {
    const auto places = reinterpret_cast<__m512i>(index);
    const __m512d low = _mm512_i32gather_pd(_mm512_castsi512_si256(places), base, 8);
    const __m512d high = _mm512_i32gather_pd(_mm512_extracti64x4_epi64(places, 1), base, 8);
    split_pairs(_mm512_castpd_ps(low), _mm512_castpd_ps(high), first, second);
}

/// Store a, b, a, b, ...
inline void store_interleaved(float* to, Floats a, Floats b) {
    const __m512i low = _mm512_setr_epi32(0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23);
    const __m512i high =
        _mm512_setr_epi32(8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31);
    _mm512_storeu_ps(to, _mm512_permutex2var_ps(a, low, b));
    _mm512_storeu_ps(to + kLanes, _mm512_permutex2var_ps(a, high, b));
}

/// Read kLanes records of four words: a 4 x 16 transpose.
inline void load_records(const std::uint32_t* from, Ints (&words)[4]) {
    const __m512i a = _mm512_loadu_si512(from);
    const __m512i b = _mm512_loadu_si512(from + 16);
    const __m512i c = _mm512_loadu_si512(from + 32);
    const __m512i d = _mm512_loadu_si512(from + 48);
    // Words 0 and 1, words 2 and 3 of eight records.
    const __m512i front =
        _mm512_setr_epi32(0, 4, 8, 12, 16, 20, 24, 28, 1, 5, 9, 13, 17, 21, 25, 29);
    const __m512i back =
        _mm512_setr_epi32(2, 6, 10, 14, 18, 22, 26, 30, 3, 7, 11, 15, 19, 23, 27, 31);
    const __m512i ab_front = _mm512_permutex2var_epi32(a, front, b);
    const __m512i cd_front = _mm512_permutex2var_epi32(c, front, d);
    const __m512i ab_back = _mm512_permutex2var_epi32(a, back, b);
    const __m512i cd_back = _mm512_permutex2var_epi32(c, back, d);
    words[0] = reinterpret_cast<Ints>(_mm512_shuffle_i64x2(ab_front, cd_front, 0x44));
    words[1] = reinterpret_cast<Ints>(_mm512_shuffle_i64x2(ab_front, cd_front, 0xEE));
    words[2] = reinterpret_cast<Ints>(_mm512_shuffle_i64x2(ab_back, cd_back, 0x44));
    words[3] = reinterpret_cast<Ints>(_mm512_shuffle_i64x2(ab_back, cd_back, 0xEE));
}

/// Write them.
inline void store_records(std::uint32_t* to, const Ints (&words)[4]) {
    const auto a = reinterpret_cast<__m512i>(words[0]);
    const auto b = reinterpret_cast<__m512i>(words[1]);
    const auto c = reinterpret_cast<__m512i>(words[2]);
    const auto d = reinterpret_cast<__m512i>(words[3]);
    // Within every 128 bits, four records' words become four records.
    const __m512i ab_low = _mm512_unpacklo_epi32(a, b);
    const __m512i ab_high = _mm512_unpackhi_epi32(a, b);
    const __m512i cd_low = _mm512_unpacklo_epi32(c, d);
    const __m512i cd_high = _mm512_unpackhi_epi32(c, d);
    const __m512i r0 = _mm512_unpacklo_epi64(ab_low, cd_low);      // records 0, 4, 8, 12
    const __m512i r1 = _mm512_unpackhi_epi64(ab_low, cd_low);      // 1, 5, 9, 13
    const __m512i r2 = _mm512_unpacklo_epi64(ab_high, cd_high);    // 2, 6, 10, 14
    const __m512i r3 = _mm512_unpackhi_epi64(ab_high, cd_high);    // 3, 7, 11, 15
    const __m512i r01_front = _mm512_shuffle_i32x4(r0, r1, 0x44);  // 0, 4, 1, 5
    const __m512i r01_back = _mm512_shuffle_i32x4(r0, r1, 0xEE);   // 8, 12, 9, 13
    const __m512i r23_front = _mm512_shuffle_i32x4(r2, r3, 0x44);
    const __m512i r23_back = _mm512_shuffle_i32x4(r2, r3, 0xEE);
    _mm512_storeu_si512(to, _mm512_shuffle_i32x4(r01_front, r23_front, 0x88));
    _mm512_storeu_si512(to + 16, _mm512_shuffle_i32x4(r01_front, r23_front, 0xDD));
    _mm512_storeu_si512(to + 32, _mm512_shuffle_i32x4(r01_back, r23_back, 0x88));
    _mm512_storeu_si512(to + 48, _mm512_shuffle_i32x4(r01_back, r23_back, 0xDD));
}

/// Copy some records of four words, at least one.
inline void copy_records(const std::uint32_t* from, std::uint32_t count, std::uint32_t* to) {
    for (; count > 4; count -= 4, from += 16, to += 16) {
        _mm512_storeu_si512(to, _mm512_loadu_si512(from));
    }
    const auto left = static_cast<__mmask16>((1U << (4 * count)) - 1);
    _mm512_mask_storeu_epi32(to, left, _mm512_maskz_loadu_epi32(left, from));
}

/// The lanes moved up by one, behind the last lane of `before`.
inline Ints shifted(Ints before, Ints lanes) {
    return reinterpret_cast<Ints>(_mm512_alignr_epi32(reinterpret_cast<__m512i>(lanes),
                                                      reinterpret_cast<__m512i>(before), 15));
}

/// A bit for every lane that is not 0, but -1.
inline std::uint32_t mask_of(Ints lanes) {
    return _mm512_movepi32_mask(reinterpret_cast<__m512i>(lanes));
}

inline std::uint32_t or_lanes(Ints values) {
    return static_cast<std::uint32_t>(_mm512_reduce_or_epi32(reinterpret_cast<__m512i>(values)));
}

}  // namespace
}  // namespace weakseg
