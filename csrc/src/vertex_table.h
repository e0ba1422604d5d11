// Number the lattice's vertices by their integer keys, in the order of their first use.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <vector>

namespace weakseg {

/// Open-addressing hash table from keys of `dims` integers to 0, 1, 2, ...
class VertexTable {
  public:
    static constexpr std::int32_t kMissing = -1;

    /// Start small: a frame has far fewer vertices than pixels, and a small table stays in cache.
    explicit VertexTable(int dims)
        : dims_(static_cast<std::size_t>(dims)), slots_(1024, kMissing) {}

    std::size_t size() const { return size_; }
    const std::int32_t* key(std::size_t vertex) const { return &keys_[vertex * dims_]; }

    std::int32_t find(const std::int32_t* key) const { return slots_[slot_of(key)]; }

    std::int32_t find_or_add(const std::int32_t* key) {
        std::size_t slot = slot_of(key);
        if (slots_[slot] != kMissing) return slots_[slot];
        if (2 * (size_ + 1) > slots_.size()) {
            grow();
            slot = slot_of(key);
        }
        keys_.insert(keys_.end(), key, key + dims_);
        slots_[slot] = static_cast<std::int32_t>(size_++);
        return slots_[slot];
    }

  private:
    std::size_t hash(const std::int32_t* key) const {
        std::uint64_t mixed = 0;
        for (std::size_t i = 0; i < dims_; ++i) {
            mixed = (mixed ^ static_cast<std::uint32_t>(key[i])) * 0x9E3779B97F4A7C15ULL;
            mixed ^= mixed >> 32U;
        }
        return static_cast<std::size_t>(mixed);
    }

    /// The slot that holds `key`, or the free one where it belongs.
    std::size_t slot_of(const std::int32_t* key) const {
        const std::size_t last = slots_.size() - 1;
        std::size_t slot = hash(key) & last;
        while (slots_[slot] != kMissing &&
               !std::equal(key, key + dims_, this->key(static_cast<std::size_t>(slots_[slot])))) {
            slot = (slot + 1) & last;
        }
        return slot;
    }

    void grow() {
        slots_.assign(2 * slots_.size(), kMissing);
        for (std::size_t vertex = 0; vertex < size_; ++vertex) {
            slots_[slot_of(key(vertex))] = static_cast<std::int32_t>(vertex);
        }
    }

    std::size_t dims_;
    std::size_t size_ = 0;
    std::vector<std::int32_t> keys_;
    std::vector<std::int32_t> slots_;
};

}  // namespace weakseg
