// Shared loops do every item once, really on several threads, and lose no exception.
#include <atomic>
#include <mutex>
#include <set>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "testing.h"
#include "weakseg/parallel.h"

namespace weakseg::testing {
namespace {

constexpr std::size_t kMany = 10007;

/// Items of one loop: how often each was done, and by which threads.
class Work {
  public:
    explicit Work(std::size_t count) : done_(count) {}

    void take(std::size_t begin, std::size_t end) {
        for (std::size_t i = begin; i < end; ++i) done_[i].fetch_add(1);
        const std::lock_guard<std::mutex> lock(mutex_);
        threads_.insert(std::this_thread::get_id());
    }

    std::size_t items_done_once() const {
        std::size_t count = 0;
        for (const auto& times : done_) count += static_cast<std::size_t>(times == 1);
        return count;
    }
    bool is_each_done_once() const { return items_done_once() == done_.size(); }
    std::size_t threads() const { return threads_.size(); }

  private:
    std::vector<std::atomic<int>> done_;
    std::mutex mutex_;
    std::set<std::thread::id> threads_;
};

std::string told(std::size_t count, int threads) {
    return std::to_string(count) + " items, " + std::to_string(threads) + " threads";
}

void test_every_item_is_done_once() {
    for (const std::size_t count : {0U, 1U, 2U, 63U, 64U, 65U, 1000U, 10007U}) {
        for (const int threads : {0, 1, 2, 7}) {
            Work ranges(count);
            parallel_for(count, threads, [&](std::size_t begin, std::size_t end) {
                expect(begin <= end && end <= count, "parts lie in the loop");
                ranges.take(begin, end);
            });
            expect(ranges.is_each_done_once(), "parts do every item once:", told(count, threads));
            Work items(count);
            parallel_items(count, threads, [&](const std::function<std::size_t()>& next) {
                for (std::size_t i = next(); i < count; i = next()) items.take(i, i + 1);
                expect(next() == count, "no item after the last one");
            });
            expect(items.is_each_done_once(), "every item is taken once:", told(count, threads));
        }
    }
}

void test_large_loops_are_shared_and_small_ones_not() {
    for (const int threads : {2, 7}) {
        Work large(kMany);
        parallel_for(kMany, threads, [&](std::size_t begin, std::size_t end) {
            expect(end - begin < kMany, "parts are parts");
            large.take(begin, end);
        });
        expect(large.threads() == static_cast<std::size_t>(threads),
               "a large loop has all threads:", std::to_string(large.threads()));
    }
    Work small(20);
    parallel_for(20, 7, [&](std::size_t begin, std::size_t end) { small.take(begin, end); });
    expect(small.threads() == 1, "a small loop stays on one thread");
    Work alone(kMany);
    parallel_for(kMany, 1, [&](std::size_t begin, std::size_t end) { alone.take(begin, end); });
    expect(alone.threads() == 1, "one thread is the calling one");
}

/// Words of what `loop` throws.
template <class Loop>
std::string thrown_by(const Loop& loop) {
    try {
        loop();
    } catch (const std::runtime_error& error) {
        return error.what();
    }
    return "nothing";
}

void test_exceptions_of_parts_are_thrown_when_all_end() {
    for (const int threads : {1, 2, 7}) {
        // Of the first part, which the calling thread takes, of one between, and of the last.
        for (const std::size_t broken : {std::size_t{0}, kMany / 2, kMany - 1}) {
            Work ranges(kMany);
            std::size_t size = 0;
            const std::string words = thrown_by([&] {
                parallel_for(kMany, threads, [&](std::size_t begin, std::size_t end) {
                    if (begin <= broken && broken < end) {
                        size = end - begin;
                        throw std::runtime_error("broken part");
                    }
                    ranges.take(begin, end);
                });
            });
            expect(words == "broken part", "a part's exception is thrown:", words);
            expect(ranges.items_done_once() == kMany - size,
                   "the other parts are done:", told(kMany, threads));
            Work items(kMany);
            const std::string of_item = thrown_by([&] {
                parallel_items(kMany, threads, [&](const std::function<std::size_t()>& next) {
                    for (std::size_t i = next(); i < kMany; i = next()) {
                        if (i == broken) throw std::runtime_error("broken item");
                        items.take(i, i + 1);
                    }
                });
            });
            expect(of_item == "broken item", "an item's exception is thrown:", of_item);
            // The others go on without the thread that threw.
            expect(items.items_done_once() == (threads == 1 ? broken : kMany - 1),
                   "the other items are done:", told(kMany, threads));
        }
    }
}

void test_of_many_exceptions_one_is_thrown() {
    std::atomic<int> parts{0};
    const std::string words = thrown_by([&] {
        parallel_for(kMany, 7, [&](std::size_t begin, std::size_t) {
            ++parts;
            throw std::runtime_error("part from " + std::to_string(begin));
        });
    });
    expect(parts == 7 && words.find("part from ") == 0, "one of many is thrown:", words);
    Work after(kMany);
    parallel_for(kMany, 7, [&](std::size_t begin, std::size_t end) { after.take(begin, end); });
    expect(after.is_each_done_once(), "the next loop is whole");
}

void test_threads_together_wait_for_each_other() {
    constexpr int kRounds = 200;
    for (const int threads : {1, 2, 7}) {
        std::vector<int> round_of(static_cast<std::size_t>(threads), -1);
        std::atomic<int> bodies{0};
        std::atomic<int> early{0};
        run_together(threads, [&](int member, int members, Barrier& barrier) {
            ++bodies;
            for (int round = 0; round < kRounds; ++round) {
                round_of[static_cast<std::size_t>(member)] = round;
                barrier.wait();
                for (int other = 0; other < members; ++other) {
                    early += static_cast<int>(round_of[static_cast<std::size_t>(other)] != round);
                }
                barrier.wait();
            }
        });
        expect(bodies == threads, "all threads are there:", std::to_string(bodies));
        expect(early == 0, "nobody passes before the last:", std::to_string(early));
    }
}

void test_numbers_of_threads() {
    expect(resolve_threads(1) == 1 && resolve_threads(3) == 3, "so many threads as asked for");
    expect(resolve_threads(0) >= 1, "at least one thread");
}

}  // namespace
}  // namespace weakseg::testing

int main() {
    using namespace weakseg::testing;  // NOLINT: the tests' own names
    expect(weakseg::points_per_thread() > 1000, "few points are not shared unless asked for");
    share_small_work();
    expect(weakseg::points_per_thread() == 64, "the size worth a thread can be chosen");
    test_every_item_is_done_once();
    test_large_loops_are_shared_and_small_ones_not();
    test_exceptions_of_parts_are_thrown_when_all_end();
    test_of_many_exceptions_one_is_thrown();
    test_threads_together_wait_for_each_other();
    test_numbers_of_threads();
    return finish("shared loops");
}
