#include <random>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/traces/importance/trace_files.hpp"
#include "traces/importance/byte_io.hpp"
#include "traces/importance/recorded_importance.hpp"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size);

namespace reprefill::traces {
namespace {

using testing::HasSubstr;

std::string error_of(std::vector<std::byte> bytes) {
  try {
    RecordedImportance::from_bytes(std::move(bytes), "x.rimp", {});
  } catch (const ConfigError& error) {
    return error.what();
  }
  return "no error";
}

TEST(ImportanceTraceDamage, TheSmallTraceIsSound) {
  ScratchFolder folder;
  EXPECT_EQ(error_of(small_trace(folder)), "no error");
}

TEST(ImportanceTraceDamage, EveryFlippedBitIsDetectedAndTheFileNamed) {
  ScratchFolder folder;
  const std::vector<std::byte> sound = small_trace(folder);
  ASSERT_LT(sound.size(), 2000u);
  for (std::size_t at = 0; at < sound.size(); ++at) {
    for (int bit = 0; bit < 8; ++bit) {
      std::vector<std::byte> damaged = sound;
      damaged[at] ^= static_cast<std::byte>(1 << bit);
      ASSERT_THAT(error_of(damaged), HasSubstr("x.rimp")) << "byte " << at << ", bit " << bit;
    }
  }
}

TEST(ImportanceTraceDamage, EveryTruncationIsDetected) {
  ScratchFolder folder;
  const std::vector<std::byte> sound = small_trace(folder);
  for (std::size_t size = 0; size < sound.size(); ++size) {
    ASSERT_THAT(error_of({sound.begin(), sound.begin() + static_cast<std::ptrdiff_t>(size)}), HasSubstr("x.rimp"))
        << size;
  }
}

TEST(ImportanceTraceDamage, BytesAfterTheEndAreDetected) {
  ScratchFolder folder;
  std::vector<std::byte> longer = small_trace(folder);
  longer.push_back(std::byte{0});
  EXPECT_THAT(error_of(longer), HasSubstr("after the end"));
}

/// Where each record begins, from the record lengths.
std::vector<std::size_t> record_starts(const std::vector<std::byte>& bytes) {
  std::vector<std::size_t> starts;
  for (std::size_t at = detail::kPreambleBytes; at < bytes.size();) {
    starts.push_back(at);
    const auto payload = detail::load<std::uint64_t>(std::span(bytes).subspan(at + 8), 0);
    at += detail::kRecordHeadBytes + (static_cast<std::size_t>(payload) + 7) / 8 * 8;
  }
  return starts;
}

TEST(ImportanceTraceDamage, ADroppedOrSwappedRecordIsDetectedAndNamed) {
  ScratchFolder folder;
  const std::vector<std::byte> sound = small_trace(folder);
  const auto starts = record_starts(sound);
  ASSERT_EQ(starts.size(), 5u);  // header, keys, selection, probes, end
  const auto part = [&](std::size_t from, std::size_t to) {
    return std::vector<std::byte>(sound.begin() + static_cast<std::ptrdiff_t>(from),
                                  sound.begin() + static_cast<std::ptrdiff_t>(to));
  };
  const auto join = [](std::initializer_list<std::vector<std::byte>> parts) {
    std::vector<std::byte> all;
    for (const auto& bytes : parts) all.insert(all.end(), bytes.begin(), bytes.end());
    return all;
  };
  EXPECT_THAT(error_of(join({part(0, starts[1]), part(starts[2], sound.size())})), HasSubstr("record 1"));
  EXPECT_THAT(error_of(join({part(0, starts[1]), part(starts[2], starts[3]), part(starts[1], starts[2]),
                             part(starts[3], sound.size())})),
              HasSubstr("record 1"));
  EXPECT_THAT(error_of(part(0, starts[4])), HasSubstr("no end record"));
}

TEST(ImportanceTraceDamage, DamageInsideARecordNamesIt) {
  ScratchFolder folder;
  std::vector<std::byte> bytes = small_trace(folder);
  const auto starts = record_starts(bytes);
  bytes[starts[2] + detail::kRecordHeadBytes + 3] ^= std::byte{1};
  EXPECT_THAT(error_of(bytes), HasSubstr(fmt::format("x.rimp: record 2 at byte {}: checksum", starts[2])));
}

TEST(ImportanceTraceDamage, OtherFilesAreNotImportanceTraces) {
  EXPECT_THAT(error_of({}), HasSubstr("not an importance trace"));
  EXPECT_THAT(error_of(std::vector<std::byte>(100, std::byte{'{'})), HasSubstr("not an importance trace"));
  ScratchFolder folder;
  EXPECT_THROW(RecordedImportance::open(folder / "none.rimp"), ConfigError);
  EXPECT_THROW(RecordedImportance::open(folder.path()), ConfigError);
}

TEST(ImportanceTraceDamage, RecordsWithASoundChecksumAndAbsurdCountsAreRefused) {
  // Counts whose product would overflow must not reach an allocation.
  std::vector<std::byte> payload;
  detail::append(payload, std::uint64_t{0});
  for (const std::uint32_t field : {0u, 0u, 0u, 2u}) detail::append(payload, field);
  detail::append(payload, ~std::uint64_t{0});
  const detail::RecordView scores{detail::scores_record, payload, "x"};
  EXPECT_THROW(detail::parse_scores(scores, small_header()), ConfigError);

  std::vector<std::byte> selection;
  detail::append(selection, std::uint64_t{0});
  for (const std::uint32_t field : {0u, 0u, 0u, 16u, 4096u, 1u}) detail::append(selection, field);
  detail::append(selection, ~std::uint64_t{0} / 4096);
  for (int i = 0; i < 4; ++i) detail::append(selection, 0u);
  EXPECT_THROW(detail::parse_selection({detail::selection_record, selection, "x"}, small_header()), ConfigError);
}

TEST(ImportanceTraceDamage, AHeaderNumberThatOverflowsIsAConfigError) {
  constexpr std::string_view kJson = R"({"channels": [], "layers_per_period": 1e999})";
  const detail::RecordView record{detail::header_record, std::as_bytes(std::span(kJson)), "x"};
  EXPECT_THROW(detail::parse_header(record), ConfigError);
}

TEST(ImportanceTraceFuzz, MutationsOfASoundTraceNeitherCrashNorHang) {
  ScratchFolder folder;
  const std::vector<std::byte> sound = small_trace(folder);
  const auto starts = record_starts(sound);
  std::mt19937 engine(7);
  for (int round = 0; round < 40'000; ++round) {
    const std::size_t choice = static_cast<std::size_t>(round) % 4;
    // 0: the whole file; 1, 2, 3: the payload of the header, scores or selection record.
    const std::size_t from = choice == 0 ? 0 : starts[choice - 1] + detail::kRecordHeadBytes;
    const std::size_t to = choice == 0 ? sound.size() : starts[choice];
    std::vector<std::uint8_t> input = {static_cast<std::uint8_t>(choice)};
    for (std::size_t i = from; i < to; ++i) input.push_back(static_cast<std::uint8_t>(sound[i]));
    for (std::uint32_t edits = 1 + static_cast<std::uint32_t>(engine() % 3); edits > 0 && input.size() > 2; --edits) {
      const std::size_t at = 1 + engine() % (input.size() - 1);
      switch (engine() % 4) {
        case 0:
          input[at] = static_cast<std::uint8_t>(engine());
          break;
        case 1:
          input[at] ^= static_cast<std::uint8_t>(1u << engine() % 8);
          break;
        case 2:
          input.resize(at + 1);
          break;
        default:
          input.insert(input.begin() + static_cast<std::ptrdiff_t>(at), 1 + engine() % 9, 0xff);
          break;
      }
    }
    ASSERT_EQ(LLVMFuzzerTestOneInput(input.data(), input.size()), 0);
  }
}

}  // namespace
}  // namespace reprefill::traces
