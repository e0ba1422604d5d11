// Share a loop between threads that live for that loop only.
//
// No OpenMP: its pool does not survive fork(), it is shared with torch's, and its settings belong
// to the whole process.
#pragma once

#include <cstddef>
#include <functional>

namespace weakseg {

/// Number of threads meant by `requested`: itself, or for 0 all that this process may use.
int resolve_threads(int requested);

/// Call `body(begin, end)` over [0, count) cut into at most `threads` contiguous parts.
///
/// `body` must not throw, and parts must not depend on each other: then the result is the same
/// for any number of threads. Small counts stay on the calling thread.
void parallel_for(std::size_t count, int threads,
                  const std::function<void(std::size_t, std::size_t)>& body);

}  // namespace weakseg
