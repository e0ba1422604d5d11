// Vectors whose large memory is kept for the next one, and is not zeroed.
//
// A lattice needs some megabytes for some milliseconds. The system takes a third of that time to
// find and clear fresh pages.
#pragma once

#include <cstddef>
#include <new>
#include <utility>
#include <vector>

namespace weakseg {

/// Memory of at least `bytes`, aligned to a cache line; give it back with the same `bytes`.
void* take_from_pool(std::size_t bytes);
void give_to_pool(void* memory, std::size_t bytes) noexcept;

template <class T>
struct PoolAllocator {
    using value_type = T;

    PoolAllocator() = default;
    template <class U>
    PoolAllocator(const PoolAllocator<U>&) {}  // NOLINT: converts like every allocator

    T* allocate(std::size_t count) { return static_cast<T*>(take_from_pool(count * sizeof(T))); }
    void deallocate(T* memory, std::size_t count) noexcept {
        give_to_pool(memory, count * sizeof(T));
    }

    /// Leave numbers as they are in memory when a vector is only resized.
    template <class U>
    void construct(U* place) {
        ::new (static_cast<void*>(place)) U;
    }
    template <class U, class... Args>
    void construct(U* place, Args&&... args) {
        ::new (static_cast<void*>(place)) U(std::forward<Args>(args)...);
    }

    friend bool operator==(const PoolAllocator&, const PoolAllocator&) { return true; }
    friend bool operator!=(const PoolAllocator&, const PoolAllocator&) { return false; }
};

template <class T>
using PooledVector = std::vector<T, PoolAllocator<T>>;

}  // namespace weakseg
