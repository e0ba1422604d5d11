#include "weakseg/parallel.h"

#include <algorithm>
#include <system_error>
#include <thread>
#include <vector>

namespace weakseg {

namespace {

// Starting a thread costs about as much as this many items of the loops here.
constexpr std::size_t kItemsPerThread = 8192;

}  // namespace

int resolve_threads(int requested) {
    if (requested > 0) return requested;
    return std::max(1, static_cast<int>(std::thread::hardware_concurrency()));
}

void parallel_for(std::size_t count, int threads,
                  const std::function<void(std::size_t, std::size_t)>& body) {
    const std::size_t wanted = static_cast<std::size_t>(resolve_threads(threads));
    const std::size_t parts = std::clamp<std::size_t>(count / kItemsPerThread, 1, wanted);
    const auto begin_of = [&](std::size_t part) { return count * part / parts; };

    std::vector<std::thread> workers;
    workers.reserve(parts - 1);
    std::size_t started = 1;  // the calling thread takes part 0
    try {
        for (; started < parts; ++started) {
            workers.emplace_back(body, begin_of(started), begin_of(started + 1));
        }
    } catch (const std::system_error&) {
        // The system grants no further thread: the calling one does the rest below.
    }
    body(begin_of(0), begin_of(1));
    if (started < parts) body(begin_of(started), count);
    for (std::thread& worker : workers) worker.join();
}

}  // namespace weakseg
