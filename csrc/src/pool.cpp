#include "pool.h"

#include <array>
#include <mutex>

#ifdef __linux__
#include <sys/mman.h>
#endif

namespace weakseg {

namespace {

#ifdef __SANITIZE_ADDRESS__
// Rounded sizes and old blocks would hide what a sanitizer looks for.
constexpr bool kIsPooling = false;
#else
constexpr bool kIsPooling = true;
#endif
constexpr std::align_val_t kAlignment{64};
// Less than this costs nothing to get afresh; more than this in all is given back to the system.
constexpr std::size_t kSmallest = std::size_t{1} << 14;
constexpr std::size_t kMostKept = std::size_t{256} << 20;

/// Rows of a wide frame lie on more pages of 4 KiB than a processor remembers the places of.
constexpr std::size_t kHugePage = std::size_t{1} << 21;

void ask_for_huge_pages([[maybe_unused]] void* memory, [[maybe_unused]] std::size_t bytes) {
#ifdef __linux__
    // Only a wish: nothing depends on the answer.
    madvise(memory, bytes, MADV_HUGEPAGE);
#endif
}

/// Four classes for every power of two: at most a fifth is wasted.
struct SizeClass {
    std::size_t number;
    std::size_t bytes;
};

SizeClass class_of(std::size_t bytes) {
    std::size_t number = 0;
    std::size_t size = kSmallest;
    while (size < bytes) {
        const std::size_t quarter = size / 4;
        for (std::size_t step = 1; step <= 4; ++step) {
            ++number;
            if (size + step * quarter >= bytes) return {number, size + step * quarter};
        }
        size *= 2;
    }
    return {number, size};
}

class Pool {
  public:
    void* take(std::size_t size_class, std::size_t bytes) {
        const std::unique_lock<std::mutex> lock = try_lock();
        if (!lock || size_class >= free_.size() || free_[size_class].empty()) return nullptr;
        void* memory = free_[size_class].back();
        free_[size_class].pop_back();
        kept_ -= bytes;
        return memory;
    }

    bool give(void* memory, std::size_t size_class, std::size_t bytes) {
        const std::unique_lock<std::mutex> lock = try_lock();
        if (!lock || size_class >= free_.size() || kept_ + bytes > kMostKept) return false;
        if (free_[size_class].size() == free_[size_class].capacity()) {
            try {
                free_[size_class].reserve(free_[size_class].size() + 16);
            } catch (const std::bad_alloc&) {
                return false;
            }
        }
        free_[size_class].push_back(memory);
        kept_ += bytes;
        return true;
    }

  private:
    /// Others hold it for some nanoseconds. But never wait for good, as a process would that was
    /// forked while another thread held it: without the lock, memory comes from the system.
    std::unique_lock<std::mutex> try_lock() {
        std::unique_lock<std::mutex> lock(mutex_, std::defer_lock);
        for (int tries = 0; tries < 1000 && !lock.try_lock(); ++tries) {
        }
        return lock;
    }

    std::mutex mutex_;
    std::array<std::vector<void*>, 128> free_;
    std::size_t kept_ = 0;
};

Pool& pool() {
    static Pool* const pool = new Pool;  // lives on: threads may end after static destructors
    return *pool;
}

}  // namespace

void* take_from_pool(std::size_t bytes) {
    if (!kIsPooling || bytes < kSmallest) return ::operator new(bytes, kAlignment);
    const SizeClass size = class_of(bytes);
    if (void* memory = pool().take(size.number, size.bytes)) return memory;
    if (size.bytes < kHugePage) return ::operator new(size.bytes, kAlignment);
    void* const memory = ::operator new(size.bytes, std::align_val_t{kHugePage});
    ask_for_huge_pages(memory, size.bytes);
    return memory;
}

void give_to_pool(void* memory, std::size_t bytes) noexcept {
    if (kIsPooling && bytes >= kSmallest) {
        const SizeClass size = class_of(bytes);
        if (pool().give(memory, size.number, size.bytes)) return;
        if (size.bytes >= kHugePage) {
            return ::operator delete(memory, std::align_val_t{kHugePage});
        }
    }
    ::operator delete(memory, kAlignment);
}

}  // namespace weakseg
