// Share a loop between threads that live for that loop only.
//
// No OpenMP: its pool does not survive fork(), it is shared with torch's, and its settings belong
// to the whole process.
#pragma once

#include <atomic>
#include <cstddef>
#include <functional>

namespace weakseg {

/// Number of threads meant by `requested`: itself, or for 0 all that this process may use; never
/// more than kMostThreads.
int resolve_threads(int requested);
constexpr int kMostThreads = 256;

/// Points that are worth a thread of their own. Tests have few, and set less.
std::size_t points_per_thread();
void set_points_per_thread(std::size_t points);

/// Call `body(begin, end)` over [0, count) cut into at most `threads` contiguous parts.
///
/// Parts must not depend on each other: then the result is the same for any number of threads.
/// Small counts stay on the calling thread. The first exception of a part is thrown when all end.
void parallel_for(std::size_t count, int threads,
                  const std::function<void(std::size_t, std::size_t)>& body);

/// Call `body(next)` on up to `threads` threads; each takes items by `next()` until it gives
/// `count`. Good for items of unequal cost, and for memory that a thread keeps between items.
/// Fewer than 2^32 items; every thread begins with a contiguous part of them, and helps out others
/// when it is through.
void parallel_items(std::size_t count, int threads,
                    const std::function<void(const std::function<std::size_t()>& next)>& body);

/// Where all threads of `run_together` wait for each other.
class Barrier {
  public:
    explicit Barrier(int threads) : threads_(threads) {}
    void wait();

  private:
    int threads_;
    std::atomic<int> waiting_{0};
    std::atomic<unsigned> round_{0};
};

/// Call `body(member, members, barrier)` on `threads` threads at once; it must not throw.
void run_together(int threads, const std::function<void(int, int, Barrier&)>& body);

}  // namespace weakseg
