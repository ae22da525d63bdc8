#include "kernels/select_chunks/select_chunks.hpp"

#include <limits>

#include "kernels/base/kernel_error.hpp"
#include "tests/kernels/support/kernel_test.hpp"

namespace reprefill::kernels::test {
namespace {

class SelectChunksKernel : public KernelTest {};

struct Chosen {
  std::vector<std::vector<std::uint32_t>> groups;
  std::vector<std::uint32_t> errors;
  bool operator==(const Chosen&) const = default;
};

/// The kernel writes nothing past num_chosen: the poison must still be there.
Chosen collect(const std::vector<std::uint32_t>& indices, const std::vector<std::uint32_t>& num_chosen,
               const std::vector<std::uint32_t>& errors, std::uint32_t max_k) {
  Chosen chosen{.groups = {}, .errors = errors};
  for (std::size_t g = 0; g < num_chosen.size(); ++g) {
    const auto first = indices.begin() + static_cast<std::ptrdiff_t>(g * max_k);
    const auto count = static_cast<std::ptrdiff_t>(num_chosen[g]);
    if (count > static_cast<std::ptrdiff_t>(max_k)) {
      ADD_FAILURE() << "group " << g << " chose " << count << " of " << max_k;
      continue;
    }
    chosen.groups.emplace_back(first, first + count);
    for (auto i = first + count; i != first + static_cast<std::ptrdiff_t>(max_k); ++i) EXPECT_EQ(*i, 0xffffffffu);
  }
  return chosen;
}

Chosen run(const std::vector<float>& scores, std::uint32_t num_groups, std::uint32_t k, bool on_device_counts = false) {
  const auto num_units = static_cast<std::uint32_t>(scores.size()) / num_groups;
  const DeviceArray<float> device_scores(scores);
  const auto indices = DeviceArray<std::uint32_t>::poisoned(std::size_t{num_groups} * k);
  const auto num_chosen = DeviceArray<std::uint32_t>::poisoned(num_groups);
  const auto errors = DeviceArray<std::uint32_t>::poisoned(num_groups);
  const SelectCounts counts{.num_units = num_units, .k = k};
  const DeviceArray<SelectCounts> device_counts(std::vector{counts});
  SelectChunks arguments{.scores = device_scores.get(),
                         .num_groups = num_groups,
                         .max_units = num_units,
                         .max_k = k,
                         .counts = on_device_counts ? SelectCounts{} : counts,
                         .device_counts = on_device_counts ? device_counts.get() : nullptr,
                         .indices = indices.get(),
                         .num_chosen = num_chosen.get(),
                         .errors = errors.get()};
  launch_select_chunks(arguments, nullptr);
  synchronize();
  return collect(indices.read(), num_chosen.read(), errors.read(), k);
}

Chosen expected(const std::vector<float>& scores, std::uint32_t num_groups, std::uint32_t k) {
  const auto num_units = static_cast<std::uint32_t>(scores.size()) / num_groups;
  std::vector<std::uint32_t> indices(std::size_t{num_groups} * k, 0xffffffffu), num_chosen(num_groups),
      errors(num_groups);
  select_chunks_reference({.scores = scores.data(),
                           .num_groups = num_groups,
                           .max_units = num_units,
                           .max_k = k,
                           .counts = {.num_units = num_units, .k = k},
                           .indices = indices.data(),
                           .num_chosen = num_chosen.data(),
                           .errors = errors.data()});
  return collect(indices, num_chosen, errors, k);
}

void expect_agreement(const std::vector<float>& scores, std::uint32_t num_groups, std::uint32_t k) {
  SCOPED_TRACE(testing::Message() << scores.size() << " scores in " << num_groups << " groups, k " << k);
  const Chosen wanted = expected(scores, num_groups, k);
  for_each_schedule([&] { EXPECT_EQ(run(scores, num_groups, k), wanted); });
}

TEST_F(SelectChunksKernel, ByHandTheHighestInAscendingOrderTiesToTheLower) {
  const Chosen chosen = run({1, 5, 3, 5, 0, 3, 3}, 1, 4);
  ASSERT_EQ(chosen.errors.front(), 0u);
  EXPECT_EQ(chosen.groups.front(), (std::vector<std::uint32_t>{1, 2, 3, 5}));
}

TEST_F(SelectChunksKernel, EdgesOfKAndOfTheNumberOfUnits) {
  expect_agreement({2.5f}, 1, 1);
  expect_agreement({1, 2, 3}, 1, 3);
  expect_agreement({1, 2, 3}, 1, 7);
  EXPECT_EQ(run({1, 2, 3}, 1, 0).groups.front().size(), 0u);
  EXPECT_EQ(run({}, 1, 4).groups.front().size(), 0u);
}

TEST_F(SelectChunksKernel, RandomScoresAgreeWithSorting) {
  for (const std::uint32_t num_units : {19u, 111u, 989u, 1024u, 1025u, 2048u, 4097u, 9000u}) {
    RandomStream random(num_units, 0, "scores");
    std::vector<float> scores(num_units);
    for (float& score : scores) score = static_cast<float>(random.exponential(0.3));
    expect_agreement(scores, 1, num_units / 20 + 1);
  }
}

TEST_F(SelectChunksKernel, ManyTiesZerosDenormalsAndInfinities) {
  RandomStream random(7, 0, "ties");
  std::vector<float> scores(3 * 700);
  const float choices[] = {
      0.0f, -0.0f, 1e-40f, 1e-38f, 0.5f, std::nextafter(0.5f, 1.0f), 3e38f, std::numeric_limits<float>::infinity()};
  for (float& score : scores) score = choices[random.below(8)];
  for (const std::uint32_t k : {1u, 80u, 350u, 699u}) expect_agreement(scores, 3, k);
  expect_agreement(std::vector<float>(1500, 0.25f), 1, 77);
}

TEST_F(SelectChunksKernel, GroupsChooseOnTheirOwn) {
  RandomStream random(3, 0, "groups");
  std::vector<float> scores(8 * 130);
  for (float& score : scores) score = static_cast<float>(random.uniform());
  expect_agreement(scores, 8, 26);
}

TEST_F(SelectChunksKernel, NanAndNegativeScoresAreReportedAndThatGroupChoosesNothing) {
  std::vector<float> scores(2 * 1200, 1.0f);
  scores[1199] = std::numeric_limits<float>::quiet_NaN();
  scores[1200 + 5] = -1.0f;
  for_each_schedule([&] {
    const Chosen chosen = run(scores, 2, 10);
    EXPECT_EQ(chosen.errors, (std::vector<std::uint32_t>{kScoreIsNan, kScoreIsNegative}));
    EXPECT_TRUE(chosen.groups[0].empty() && chosen.groups[1].empty());
  });
}

TEST_F(SelectChunksKernel, CountsAreReadOnTheDevice) {
  const std::vector<float> scores{4, 1, 3, 2};
  EXPECT_EQ(run(scores, 1, 2, true), expected(scores, 1, 2));
}

TEST_F(SelectChunksKernel, ShapesOutsideTheContractAreRefused) {
  EXPECT_THROW(launch_select_chunks({}, nullptr), ShapeError);
  std::uint32_t word = 0;
  float score = 0;
  EXPECT_THROW(launch_select_chunks({.scores = &score,
                                     .max_units = 1,
                                     .max_k = 1,
                                     .counts = {.num_units = 2, .k = 1},
                                     .indices = &word,
                                     .num_chosen = &word,
                                     .errors = &word},
                                    nullptr),
               ShapeError);
}

}  // namespace
}  // namespace reprefill::kernels::test
