// Memory of the pool is whole, aligned and nobody else's, whoever took it before.
#include <algorithm>
#include <cstdint>
#include <mutex>
#include <random>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "pool.h"
#include "testing.h"

namespace weakseg::testing {
namespace {

/// Memory that is full of one byte while it is held.
class Block {
  public:
    Block(std::size_t bytes, unsigned char mark)
        : memory_(static_cast<unsigned char*>(take_from_pool(bytes))), bytes_(bytes), mark_(mark) {
        std::fill_n(memory_, bytes_, mark_);
    }
    Block(Block&& other) noexcept
        : memory_(std::exchange(other.memory_, nullptr)),
          bytes_(other.bytes_),
          mark_(other.mark_) {}
    Block& operator=(Block&& other) noexcept {
        std::swap(memory_, other.memory_);
        std::swap(bytes_, other.bytes_);
        std::swap(mark_, other.mark_);
        return *this;
    }
    ~Block() {
        if (memory_ != nullptr) give_to_pool(memory_, bytes_);
    }

    bool is_aligned() const { return reinterpret_cast<std::uintptr_t>(memory_) % 64 == 0; }
    bool is_untouched() const {
        return std::all_of(memory_, memory_ + bytes_,
                           [this](unsigned char byte) { return byte == mark_; });
    }

  private:
    unsigned char* memory_;
    std::size_t bytes_;
    unsigned char mark_;
};

/// Where one kind of memory ends and the next begins: 16 KiB, its quarters, and 2 MiB.
std::vector<std::size_t> sizes_at_borders() {
    std::vector<std::size_t> sizes{1, 63, 64};
    for (const std::size_t power : {std::size_t{1} << 14U, std::size_t{1} << 17U,
                                    std::size_t{1} << 20U, std::size_t{1} << 21U}) {
        for (std::size_t quarters = 4; quarters <= 8; ++quarters) {
            const std::size_t border = power / 4 * quarters;
            sizes.insert(sizes.end(), {border - 1, border, border + 1});
        }
    }
    return sizes;
}

void test_blocks_do_not_overlap() {
    std::vector<std::size_t> sizes = sizes_at_borders();
    std::mt19937 rng(91);
    // In every round the memory of the last one, in another order.
    for (int round = 0; round < 4; ++round) {
        std::shuffle(sizes.begin(), sizes.end(), rng);
        std::vector<Block> held;
        held.reserve(sizes.size());
        for (const std::size_t bytes : sizes) {
            held.emplace_back(bytes, static_cast<unsigned char>(held.size()));
        }
        for (std::size_t i = 0; i < held.size(); ++i) {
            const std::string where = std::to_string(sizes[i]) + " bytes";
            expect(held[i].is_aligned(), "memory is aligned:", where);
            expect(held[i].is_untouched(), "memory is nobody else's:", where);
        }
    }
}

void test_threads_take_and_give_at_once() {
    // Each gives back what the other took, too.
    std::mutex mutex;
    std::vector<Block> shared;
    for (unsigned char i = 0; i < 4; ++i) shared.emplace_back(20000, i);
    bool untouched[2] = {true, true};
    const auto work = [&](std::size_t member) {
        std::mt19937 rng(static_cast<unsigned>(92 + member));
        std::uniform_int_distribution<std::size_t> bytes(1, 150000);
        for (int i = 0; i < 2000; ++i) {
            Block own(bytes(rng), static_cast<unsigned char>(rng()));
            untouched[member] = untouched[member] && own.is_untouched();
            const std::lock_guard<std::mutex> lock(mutex);
            std::swap(own, shared[rng() % shared.size()]);
            untouched[member] = untouched[member] && own.is_untouched();
        }
    };
    std::thread other(work, 1);
    work(0);
    other.join();
    expect(untouched[0] && untouched[1], "threads do not share memory");
}

void test_more_than_is_kept_can_be_given() {
    // 320 MiB, of which hardly a page is touched.
    constexpr std::size_t kBytes = std::size_t{64} << 20U;
    for (int round = 0; round < 2; ++round) {
        std::vector<unsigned char*> held;
        for (unsigned char i = 0; i < 5; ++i) {
            held.push_back(static_cast<unsigned char*>(take_from_pool(kBytes)));
            held.back()[0] = held.back()[kBytes - 1] = i;
        }
        for (unsigned char i = 0; i < 5; ++i) {
            expect(held[i][0] == i && held[i][kBytes - 1] == i, "large memory is whole");
            give_to_pool(held[i], kBytes);
        }
    }
}

void test_pooled_vectors_keep_their_numbers() {
    PooledVector<std::size_t> grown;
    for (std::size_t i = 0; i < 100000; ++i) grown.push_back(i);
    const PooledVector<std::size_t> copied = grown;
    const PooledVector<std::size_t> moved = std::move(grown);
    bool is_right = moved.size() == 100000 && copied == moved;
    for (std::size_t i = 0; i < moved.size(); ++i) is_right = is_right && moved[i] == i;
    expect(is_right, "vectors keep their numbers");
}

}  // namespace
}  // namespace weakseg::testing

int main() {
    using namespace weakseg::testing;  // NOLINT: the tests' own names
    test_blocks_do_not_overlap();
    test_threads_take_and_give_at_once();
    test_more_than_is_kept_can_be_given();
    test_pooled_vectors_keep_their_numbers();
    return finish("pool");
}
