// The fuzz target, run on cut and changed files of a store.
#include "engine/store/reorder.hpp"
#include "tests/engine/store/store_fixture.hpp"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size);

namespace reprefill::engine {
namespace {

using namespace test_support;

void run(const std::string& text) {
  EXPECT_EQ(LLVMFuzzerTestOneInput(reinterpret_cast<const std::uint8_t*>(text.data()), text.size()), 0);
}

TEST(StoreHeaderFuzz, SurvivesRandomChangesOfRealFiles) {
  const TemporaryFolder folder;
  make_small_store(folder / "store");
  reorder_store(folder / "store", {.calibration_requests = 4}, [](const Store& store) {
    return [&store](SegmentId id) { return TokenOrders(3, layout::TokenOrder(store.segment(id).num_tokens())); };
  });
  std::vector<std::string> seeds = {"", "x", std::string(5000, '\0')};
  for (const auto& file : files_below(folder / "store")) seeds.push_back(read_text(file));
  RandomStream random(5, 0, "fuzz smoke");
  for (int round = 0; round < 4000; ++round) {
    std::string text = seeds[random.below(seeds.size())];
    for (std::uint64_t changes = random.below(6); changes > 0 && !text.empty(); --changes) {
      // Most members lie in the first bytes.
      const std::uint64_t at = random.below(std::min<std::uint64_t>(text.size(), random.below(2) == 0 ? 300 : 4096));
      text[at] = static_cast<char>(random.below(2) == 0 ? random.below(256) : static_cast<std::uint64_t>(text[at]) + 1);
    }
    if (random.below(8) == 0) text.resize(random.below(text.size() + 1));
    run(text);
  }
}

}  // namespace
}  // namespace reprefill::engine
