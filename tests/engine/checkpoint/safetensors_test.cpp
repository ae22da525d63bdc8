// Headers that lie, files that were cut, tensors that overlap: refused by name, before a byte of data is used.
#include "engine/checkpoint/safetensors.hpp"

#include <gmock/gmock.h>

#include <cstring>

#include "tests/support/tiny_checkpoint.hpp"

namespace reprefill::engine {
namespace {

using testing::HasSubstr;
using testing::ThrowsMessage;

/// A file with this header text and this much data.
std::string file_of(const std::string& header, std::size_t data_bytes) {
  std::string text = header;
  text.append((8 - text.size() % 8) % 8, ' ');
  const std::uint64_t length = text.size();
  return std::string(reinterpret_cast<const char*>(&length), sizeof length) + text + std::string(data_bytes, '\x01');
}

/// As a mapping would lay it out: the first byte is aligned.
TensorTable parse(const std::string& file) {
  std::vector<std::uint64_t> aligned(file.size() / 8 + 1);
  std::memcpy(aligned.data(), file.data(), file.size());
  return parse_safetensors({reinterpret_cast<const std::byte*>(aligned.data()), file.size()}, "model.safetensors");
}

void expect_refused(const std::string& file, const std::string& message) {
  EXPECT_THAT([&] { parse(file); },
              ThrowsMessage<ConfigError>(testing::AllOf(HasSubstr("model.safetensors"), HasSubstr(message))));
}

const std::string kTwo = R"({"a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]},)"
                         R"( "b": {"dtype": "BF16", "shape": [2, 3], "data_offsets": [8, 20]}})";

TEST(Safetensors, ShapesAndDataAreThoseOfTheHeader) {
  const TensorTable tensors = parse(file_of(kTwo, 20));
  ASSERT_EQ(tensors.size(), 2u);
  EXPECT_EQ(tensors.at("b").shape, (std::vector<std::int64_t>{2, 3}));
  EXPECT_EQ(tensors.at("b").data.size(), 12u);
  EXPECT_EQ(parse(file_of(R"({"__metadata__": {"format": "pt"}})", 0)).size(), 0u);
}

TEST(Safetensors, EveryTruncationIsRefused) {
  const std::string whole = file_of(kTwo, 20);
  for (std::size_t size = 0; size < whole.size(); ++size) {
    EXPECT_THROW(parse(whole.substr(0, size)), ConfigError) << size;
  }
  expect_refused(whole + "x", "1 bytes at the end belong to no tensor");
}

TEST(Safetensors, ALyingHeaderLengthIsRefused) {
  for (const std::uint64_t length :
       {std::uint64_t{1} << 63, ~std::uint64_t{0}, std::uint64_t{100'000'001}, std::uint64_t{3}}) {
    std::string file = file_of(kTwo, 20);
    std::memcpy(file.data(), &length, sizeof length);
    EXPECT_THROW(parse(file), ConfigError) << length;
  }
}

TEST(Safetensors, OverlapsHolesAndWrongSizesAreNamed) {
  expect_refused(file_of(R"({"a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]},
                             "b": {"dtype": "F32", "shape": [2], "data_offsets": [4, 12]}})",
                         12),
                 "b: overlaps");
  expect_refused(file_of(R"({"a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]},
                             "b": {"dtype": "F32", "shape": [2], "data_offsets": [12, 20]}})",
                         20),
                 "4 bytes before it");
  expect_refused(file_of(R"({"a": {"dtype": "F32", "shape": [3], "data_offsets": [0, 8]}})", 8),
                 "dtype and shape need 12");
  expect_refused(file_of(R"({"a": {"dtype": "F32", "shape": [2], "data_offsets": [8, 0]}})", 8), "a.data_offsets");
  expect_refused(file_of(R"({"a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 800]}})", 8), "a.data_offsets");
  expect_refused(file_of(R"({"a": {"dtype": "U8", "shape": [1], "data_offsets": [0, 1]},
                             "b": {"dtype": "F32", "shape": [1], "data_offsets": [1, 5]}})",
                         5),
                 "not aligned");
}

TEST(Safetensors, TypesAndShapesBeyondReasonAreRefused) {
  expect_refused(file_of(R"({"a": {"dtype": "Q4", "shape": [2], "data_offsets": [0, 8]}})", 8), "unknown dtype \"Q4\"");
  expect_refused(file_of(R"({"a": {"dtype": "F32", "shape": [-2], "data_offsets": [0, 8]}})", 8), "a.shape[0]");
  expect_refused(
      file_of(R"({"a": {"dtype": "F32", "shape": [281474976710656, 281474976710656], "data_offsets": [0, 8]}})", 8),
      "beyond 64 bits");
  expect_refused(file_of(R"({"a": {"dtype": "F32", "shape": [2], "offsets": [0, 8]}})", 8), "offsets");
  expect_refused(file_of(R"({"a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]},
                             "a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}})",
                         8),
                 "a");
  expect_refused(file_of("[1]", 0), "header");
  expect_refused(file_of("{", 0), "header");
}

}  // namespace
}  // namespace reprefill::engine
