#include "weakseg/parallel.h"

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <exception>
#include <functional>
#include <mutex>
#include <thread>
#include <vector>

#ifdef __linux__
#include <sched.h>
#endif

namespace weakseg {

namespace {

std::atomic<std::size_t> grain{16384};

/// Processors that this process may run on: a job of a cluster seldom has them all.
int usable_processors() {
#ifdef __linux__
    cpu_set_t set;
    if (sched_getaffinity(0, sizeof(set), &set) == 0) return CPU_COUNT(&set);
#endif
    return static_cast<int>(std::thread::hardware_concurrency());
}

/// Call `body(part)` for every part below `parts`, on a thread each as far as there are any.
void run_parts(std::size_t parts, const std::function<void(std::size_t)>& body) {
    std::exception_ptr failure;
    std::mutex mutex;
    const auto guarded = [&](std::size_t part) {
        try {
            body(part);
        } catch (...) {
            const std::lock_guard<std::mutex> lock(mutex);
            if (!failure) failure = std::current_exception();
        }
    };
    std::vector<std::thread> workers;
    workers.reserve(parts - 1);
    std::size_t started = 1;  // the calling thread takes part 0
    try {
        for (; started < parts; ++started) workers.emplace_back(guarded, started);
    } catch (const std::exception&) {
        // The system grants no further thread, or no memory for one: the calling one does the rest
        // below.
    }
    guarded(0);
    for (; started < parts; ++started) guarded(started);
    for (std::thread& worker : workers) worker.join();
    if (failure) std::rethrow_exception(failure);
}

}  // namespace

int resolve_threads(int requested) {
    return std::clamp(requested > 0 ? requested : usable_processors(), 1, kMostThreads);
}

std::size_t points_per_thread() { return grain.load(std::memory_order_relaxed); }

void set_points_per_thread(std::size_t points) {
    grain.store(std::max<std::size_t>(points, 1), std::memory_order_relaxed);
}

void parallel_for(std::size_t count, int threads,
                  const std::function<void(std::size_t, std::size_t)>& body) {
    const auto wanted = static_cast<std::size_t>(resolve_threads(threads));
    const std::size_t parts = std::clamp<std::size_t>(count / points_per_thread(), 1, wanted);
    if (parts == 1) return body(0, count);
    run_parts(parts,
              [&](std::size_t part) { body(count * part / parts, count * (part + 1) / parts); });
}

namespace {

/// Items [begin, end): their thread takes them from the front, others from the back.
class Share {
  public:
    void set(std::size_t begin, std::size_t end) { ends_ = begin | std::uint64_t{end} << 32U; }

    std::size_t left() const {
        const std::uint64_t both = ends_.load(std::memory_order_relaxed);
        return static_cast<std::size_t>((both >> 32U) - (both & kLow));
    }

    /// Take one, if any is left.
    bool take(bool from_back, std::size_t& item) {
        std::uint64_t both = ends_.load(std::memory_order_relaxed);
        std::uint64_t rest = 0;
        do {
            if ((both & kLow) == both >> 32U) return false;
            rest = from_back ? both - (std::uint64_t{1} << 32U) : both + 1;
        } while (!ends_.compare_exchange_weak(both, rest, std::memory_order_relaxed));
        item = static_cast<std::size_t>(from_back ? rest >> 32U : both & kLow);
        return true;
    }

  private:
    static constexpr std::uint64_t kLow = 0xFFFFFFFFU;

    // Both ends at once: begin, and end above it. On a cache line of its own.
    alignas(64) std::atomic<std::uint64_t> ends_{0};
};

/// All items of a loop. Neighbours go to one thread, which finds in its caches what the last loop
/// over the same items left there, and writes no cache line that another one writes.
class Shares {
  public:
    Shares(std::size_t count, std::size_t parts) : count_(count), shares_(parts) {
        for (std::size_t part = 0; part < parts; ++part) {
            shares_[part].set(count * part / parts, count * (part + 1) / parts);
        }
    }

    /// The next item of a part, else the last one of the part with most left, else the count.
    std::size_t next(std::size_t part) {
        std::size_t item = count_;
        if (shares_[part].take(false, item)) return item;
        for (;;) {
            Share* fullest = nullptr;
            std::size_t most = 0;
            for (Share& share : shares_) {
                const std::size_t left = share.left();
                if (left > most) {
                    most = left;
                    fullest = &share;
                }
            }
            if (fullest == nullptr || fullest->take(true, item)) return item;
        }
    }

  private:
    std::size_t count_;
    std::vector<Share> shares_;
};

}  // namespace

void parallel_items(std::size_t count, int threads,
                    const std::function<void(const std::function<std::size_t()>&)>& body) {
    const auto wanted = static_cast<std::size_t>(resolve_threads(threads));
    const std::size_t parts = std::clamp<std::size_t>(count, 1, wanted);
    if (parts == 1) {
        std::size_t taken = 0;
        return body([&] { return std::min(count, taken++); });
    }
    Shares shares(count, parts);
    run_parts(parts, [&](std::size_t part) { body([&] { return shares.next(part); }); });
}

void Barrier::wait() {
    const unsigned round = round_.load(std::memory_order_acquire);
    if (waiting_.fetch_add(1, std::memory_order_acq_rel) + 1 == threads_) {
        waiting_.store(0, std::memory_order_relaxed);
        round_.fetch_add(1, std::memory_order_release);
        return;
    }
    // Others are a few microseconds behind, unless they lost their processor.
    for (int spins = 0; round_.load(std::memory_order_acquire) == round; ++spins) {
        if (spins > 2000) std::this_thread::yield();
    }
}

void run_together(int threads, const std::function<void(int, int, Barrier&)>& body) {
    // Nobody may begin before it is known how many there are.
    std::atomic<int> members{0};
    Barrier* barrier = nullptr;
    std::vector<std::thread> workers;
    workers.reserve(static_cast<std::size_t>(threads));
    try {
        for (int member = 1; member < threads; ++member) {
            workers.emplace_back([&, member] {
                while (members.load(std::memory_order_acquire) == 0) std::this_thread::yield();
                body(member, members.load(std::memory_order_relaxed), *barrier);
            });
        }
    } catch (const std::exception&) {
        // The system grants no further thread, or no memory for one: fewer share the work.
    }
    const int count = static_cast<int>(workers.size()) + 1;
    Barrier shared(count);
    barrier = &shared;
    members.store(count, std::memory_order_release);
    body(0, count, shared);
    for (std::thread& worker : workers) worker.join();
}

}  // namespace weakseg
