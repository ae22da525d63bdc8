// The fuzz target on headers that are nearly right: no fuzzer is needed to run it.
#include <gtest/gtest.h>

#include <cstring>
#include <string>
#include <vector>

#include "core/base/random.hpp"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size);

namespace reprefill::engine {
namespace {

std::string file_of(const std::string& header, std::size_t num_data_bytes) {
  const std::uint64_t length = header.size();
  std::string file(sizeof length, '\0');
  std::memcpy(file.data(), &length, sizeof length);
  return file + header + std::string(num_data_bytes, 'x');
}

void run(const std::string& file) {
  const std::vector<std::uint8_t> copy(file.begin(), file.end());  // no more readable bytes than there are
  EXPECT_EQ(LLVMFuzzerTestOneInput(copy.data(), copy.size()), 0);
}

TEST(SafetensorsFuzz, FlippedAndCutHeadersAreTablesOrErrors) {
  const std::string file = file_of(
      R"({"a":{"dtype":"BF16","shape":[2,3],"data_offsets":[0,12]},"b":{"dtype":"F32","shape":[2],"data_offsets":[12,20]}})",
      20);
  run(file);
  for (std::size_t length = 0; length < file.size(); ++length) run(file.substr(0, length));
  for (std::size_t at = 0; at < file.size(); ++at) {
    for (const int bit : {0, 3, 6, 7}) {
      std::string flipped = file;
      flipped[at] = static_cast<char>(flipped[at] ^ (1 << bit));
      run(flipped);
    }
  }
  for (const char* shape : {"[4611686018427387904,4]", "[-1]", "[0]", "[]", "[2,3,1e9]", "null"}) {
    run(file_of(std::string(R"({"a":{"dtype":"BF16","shape":)") + shape + R"(,"data_offsets":[0,12]}})", 12));
  }
}

}  // namespace
}  // namespace reprefill::engine
