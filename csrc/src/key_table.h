// Number packed keys 0, 1, 2, ... in the order of their first use.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>

#include "pool.h"

namespace weakseg {

inline std::uint64_t hash_key(std::uint64_t key) {
    // The upper bits of the product depend on all of the key's.
    return key * 0x9E3779B97F4A7C15ULL;
}

/// Hash table of buckets of a cache line each. A look-up compares with all keys of its bucket
/// and selects, since no processor can foresee which of them it is. ~0 is no key.
template <class Key>
class KeyTable {
  public:
    static constexpr std::int32_t kMissing = -1;

    /// With room for some `expected` keys; it grows if there are more.
    explicit KeyTable(std::size_t expected) {
        while ((kKeys << bits_) < 2 * expected) ++bits_;
        buckets_.assign(std::size_t{1} << bits_, Bucket{});
        keys_.reserve(expected);
    }

    std::size_t size() const { return keys_.size(); }
    const PooledVector<Key>& keys() const { return keys_; }

    /// Fetch what `find` will read.
    void prefetch(Key key) const { __builtin_prefetch(&buckets_[home_of(key)]); }

    std::int32_t find(Key key) const {
        std::size_t at = home_of(key);
        std::int32_t number = buckets_[at].find(key);
        // Seldom full: then the search goes on behind it.
        while (static_cast<int>(buckets_[at].number[kKeys - 1] != 0) &
               static_cast<int>(number == kMissing)) {
            at = (at + 1) & (buckets_.size() - 1);
            number = buckets_[at].find(key);
        }
        return number;
    }

    std::int32_t find_or_add(Key key) {
        const std::int32_t number = find(key);
        if (number != kMissing) return number;
        if (2 * (keys_.size() + 1) > kKeys * buckets_.size()) grow();
        keys_.push_back(key);
        add(static_cast<std::int32_t>(keys_.size() - 1));
        return static_cast<std::int32_t>(keys_.size() - 1);
    }

  private:
    static constexpr Key kFree = static_cast<Key>(~Key{0});
    static constexpr std::size_t kKeys = 4;

    typedef std::uint32_t Four __attribute__((vector_size(16)));

    struct alignas(sizeof(Key) == sizeof(std::uint32_t) ? 32 : 64) Bucket {
        Key key[kKeys] = {kFree, kFree, kFree, kFree};
        std::uint32_t number[kKeys] = {};  // plus one: 0 where there is none

        std::int32_t find(Key wanted) const {
            std::uint32_t found = 0;
            if constexpr (sizeof(Key) == sizeof(std::uint32_t)) {
                Four keys;
                Four numbers;
                std::memcpy(&keys, key, sizeof(keys));
                std::memcpy(&numbers, number, sizeof(numbers));
                numbers &= reinterpret_cast<Four>(keys == wanted);
                std::uint64_t halves[2];
                std::memcpy(halves, &numbers, sizeof(halves));
                const std::uint64_t both = halves[0] | halves[1];
                found = static_cast<std::uint32_t>(both | both >> 32U);
            } else {
                for (std::size_t i = 0; i < kKeys; ++i) found |= key[i] == wanted ? number[i] : 0;
            }
            return static_cast<std::int32_t>(found) - 1;
        }
    };

    std::size_t home_of(Key key) const {
        return static_cast<std::size_t>((hash_key(key) << kSpareBits) >> (64 - bits_));
    }

    void add(std::int32_t number) {
        const Key key = keys_[static_cast<std::size_t>(number)];
        std::size_t at = home_of(key);
        while (buckets_[at].number[kKeys - 1] != 0) at = (at + 1) & (buckets_.size() - 1);
        Bucket& bucket = buckets_[at];
        std::size_t place = 0;
        while (bucket.number[place] != 0) ++place;
        bucket.key[place] = key;
        bucket.number[place] = static_cast<std::uint32_t>(number) + 1;
    }

    void grow() {
        ++bits_;
        buckets_.assign(2 * buckets_.size(), Bucket{});
        for (std::size_t i = 0; i < keys_.size(); ++i) add(static_cast<std::int32_t>(i));
    }

    // The topmost bits of a hash choose between tables, see TiledLattice::number_vertices.
    static constexpr int kSpareBits = 4;

    PooledVector<Key> keys_;
    PooledVector<Bucket> buckets_;
    int bits_ = 8;
};

}  // namespace weakseg
