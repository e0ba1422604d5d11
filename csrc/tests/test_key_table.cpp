// Keys get the numbers of their first use, however their hashes collide.
#include <cstdint>
#include <limits>
#include <map>
#include <random>
#include <stdexcept>
#include <string>
#include <unordered_map>
#include <vector>

#include "key_table.h"
#include "lattice_base.h"
#include "testing.h"
#include "vertex_table.h"

namespace weakseg::testing {
namespace {

template <class Key>
void expect_numbers_of_first_use(const std::vector<Key>& keys, std::size_t room,
                                 const std::string& where) {
    KeyTable<Key> table(room);
    std::unordered_map<Key, std::int32_t> numbers;
    bool is_right = true;
    for (const Key key : keys) {
        const auto found = numbers.find(key);
        is_right = is_right && table.find(key) == (found == numbers.end() ? KeyTable<Key>::kMissing
                                                                          : found->second);
        const auto number =
            numbers.emplace(key, static_cast<std::int32_t>(numbers.size())).first->second;
        table.prefetch(key);
        is_right = is_right && table.find_or_add(key) == number;
    }
    expect(is_right && table.size() == numbers.size(), "numbers of first use:", where);
    // All are still there after the table has grown.
    for (const auto& [key, number] : numbers) {
        is_right = is_right && table.find(key) == number &&
                   table.keys()[static_cast<std::size_t>(number)] == key;
    }
    expect(is_right, "keys and numbers stay:", where);
    expect(table.find(std::numeric_limits<Key>::max()) == KeyTable<Key>::kMissing,
           "what marks free places is no key:", where);
}

template <class Key>
void test_random_keys(const std::string& where) {
    std::mt19937_64 rng(81);
    for (const std::uint64_t most : {1U, 3U, 500U, 100000U}) {
        std::vector<Key> keys(20000);
        for (Key& key : keys) key = static_cast<Key>(rng() % most);
        for (const std::size_t room : {0U, 1U, 20000U}) {
            expect_numbers_of_first_use(keys, room, where + " below " + std::to_string(most));
        }
    }
}

/// Keys of a hash that is `first`, `first + 1` and so on.
std::vector<std::uint64_t> keys_of_hashes(std::uint64_t first, std::size_t count) {
    const std::uint64_t factor = hash_key(1);
    std::uint64_t inverse = factor;
    for (int step = 0; step < 6; ++step) inverse *= 2 - factor * inverse;
    std::vector<std::uint64_t> keys(count);
    for (std::size_t i = 0; i < count; ++i) keys[i] = inverse * (first + i);
    expect(hash_key(keys.back()) == first + count - 1, "keys of these hashes");
    return keys;
}

void test_wide_keys_that_collide() {
    constexpr std::size_t kCount = 3000;
    // All of them would be in the first bucket, or in the last one, behind which the first is.
    expect_numbers_of_first_use(keys_of_hashes(1, kCount), 1, "wide keys of the first bucket");
    expect_numbers_of_first_use(keys_of_hashes((std::uint64_t{1} << 60U) - kCount, kCount), 1,
                                "wide keys of the last bucket");
}

void test_short_keys_that_collide() {
    for (const std::uint64_t bucket : {0x000U, 0xFFFU}) {
        std::vector<std::uint32_t> keys;
        for (std::uint32_t key = 0; keys.size() < 1200; ++key) {
            if ((hash_key(key) << 4U) >> 52U == bucket) keys.push_back(key);
        }
        expect_numbers_of_first_use(keys, 1, "keys of bucket " + std::to_string(bucket));
    }
}

void test_vertices_get_the_numbers_of_first_use() {
    for (const int dims : {1, 5, 16}) {
        std::mt19937 rng(82);
        std::uniform_int_distribution<std::int32_t> coordinate(-2, 2);
        VertexTable table(dims);
        std::map<std::vector<std::int32_t>, std::int32_t> numbers;
        bool is_right = true;
        for (int i = 0; i < 20000; ++i) {
            std::vector<std::int32_t> key(static_cast<std::size_t>(dims));
            for (std::int32_t& number : key) number = coordinate(rng);
            const auto found = numbers.find(key);
            is_right =
                is_right && table.find(key.data()) ==
                                (found == numbers.end() ? VertexTable::kMissing : found->second);
            const auto number =
                numbers.emplace(key, static_cast<std::int32_t>(numbers.size())).first->second;
            is_right = is_right && table.find_or_add(key.data()) == number;
        }
        for (const auto& [key, number] : numbers) {
            const std::int32_t* const kept = table.key(static_cast<std::size_t>(number));
            is_right = is_right && table.find(key.data()) == number &&
                       std::vector<std::int32_t>(kept, kept + dims) == key;
        }
        expect(is_right && table.size() == numbers.size(),
               "vertices' numbers: d =", std::to_string(dims));
    }
}

void test_more_vertices_than_numbers_are_refused() {
    check_vertices((std::size_t{1} << 30U) - 1);
    bool is_refused = false;
    try {
        check_vertices(std::size_t{1} << 30U);
    } catch (const std::length_error&) {
        is_refused = true;
    }
    expect(is_refused, "rows of more vertices than 32 bits number are refused");
}

}  // namespace
}  // namespace weakseg::testing

int main() {
    using namespace weakseg::testing;  // NOLINT: the tests' own names
    test_random_keys<std::uint32_t>("keys");
    test_random_keys<std::uint64_t>("wide keys");
    test_wide_keys_that_collide();
    test_short_keys_that_collide();
    test_vertices_get_the_numbers_of_first_use();
    test_more_vertices_than_numbers_are_refused();
    return finish("key tables");
}
