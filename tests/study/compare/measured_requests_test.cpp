// What a comparison keeps of its requests: read as written, and refused where it cannot be right.
#include "study/compare/measured_requests.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>

#include "core/base/error.hpp"
#include "core/base/json.hpp"
#include "tests/support/temporary_folder.hpp"

namespace reprefill::study {
namespace {

using test_support::TemporaryFolder;
using testing::HasSubstr;

pipeline::Request request(std::uint32_t id, std::uint32_t prompt, std::vector<SegmentSpan> prefix) {
  pipeline::Request request;
  request.id = id;
  request.importance_id = id;
  request.prompt_tokens = prompt;
  for (const SegmentSpan& span : prefix) request.stored_tokens += span.num_tokens;
  request.stored_prefix = std::move(prefix);
  request.own_tokens = prompt - request.stored_tokens;
  request.hit_trace_tokens = request.stored_tokens;
  return request;
}

class Measured : public testing::Test {
 protected:
  Measured() {
    measured_ = {.on = {.model = "tiny", .fingerprint = 0xfedcba9876543210, .executor = "cpu, 2 threads"},
                 .segment_tokens = {300, 17},
                 .points = {{{request(0, 320, {{SegmentId{0}, 300}}), request(1, 40, {})}, 1},
                            {{request(0, 99, {{SegmentId{1}, 17}, {SegmentId{0}, 64}})}, 0}}};
    write_measured(folder_.path(), measured_);
    json_ = read_json_file(file());
  }
  std::filesystem::path file() const { return folder_ / "requests.json"; }
  std::string refused(const Json& json) const {
    std::ofstream(file()) << json.dump();
    try {
      read_measured(folder_.path());
    } catch (const ConfigError& error) {
      return error.what();
    }
    return "accepted";
  }
  std::string refused_with(const std::string& pointer, const Json& value) const {
    Json json = json_;
    json[Json::json_pointer(pointer)] = value;
    return refused(json);
  }

  TemporaryFolder folder_;
  MeasuredRequests measured_;
  Json json_;
};

TEST_F(Measured, IsReadAsItWasWritten) {
  const MeasuredRequests read = read_measured(folder_.path());
  EXPECT_EQ(read.on.model, measured_.on.model);
  EXPECT_EQ(read.on.fingerprint, measured_.on.fingerprint);
  EXPECT_EQ(read.on.executor, measured_.on.executor);
  EXPECT_EQ(read.segment_tokens, measured_.segment_tokens);
  ASSERT_EQ(read.points.size(), 2u);
  for (std::size_t p = 0; p < 2; ++p) {
    const MeasuredPoint &was = measured_.points[p], &is = read.points[p];
    EXPECT_EQ(is.num_warmup, was.num_warmup);
    ASSERT_EQ(is.requests.size(), was.requests.size());
    for (std::size_t r = 0; r < was.requests.size(); ++r) {
      EXPECT_EQ(is.requests[r].id, was.requests[r].id);
      EXPECT_EQ(is.requests[r].importance_id, was.requests[r].importance_id);
      EXPECT_EQ(is.requests[r].prompt_tokens, was.requests[r].prompt_tokens);
      EXPECT_EQ(is.requests[r].stored_prefix, was.requests[r].stored_prefix);
      EXPECT_EQ(is.requests[r].stored_tokens, was.requests[r].stored_tokens);
      EXPECT_EQ(is.requests[r].own_tokens, was.requests[r].own_tokens);
      EXPECT_EQ(is.requests[r].hit_trace_tokens, was.requests[r].hit_trace_tokens);
    }
  }
}

TEST_F(Measured, FieldsOutOfBoundsAreRefusedByName) {
  EXPECT_EQ(refused(json_), "accepted");
  EXPECT_THAT(refused_with("/schema_version", 2), HasSubstr("schema_version"));
  EXPECT_THAT(refused_with("/fingerprint", "12g4"), HasSubstr("fingerprint"));
  EXPECT_THAT(refused_with("/segment_tokens/0", 0), HasSubstr("segment_tokens[0]"));
  EXPECT_THAT(refused_with("/points/0/warmup_requests", 2), HasSubstr("points[0].warmup_requests"));
  EXPECT_THAT(refused_with("/points/1/requests/0/stored_prefix/1/0", 2), HasSubstr("stored_prefix[1][0]"));
  EXPECT_THAT(refused_with("/points/1/requests/0/stored_prefix/0/1", 18), HasSubstr("stored_prefix[0][1]"));
  EXPECT_THAT(refused_with("/points/1/requests/0/prompt_tokens", 81), HasSubstr("fewer tokens than the prompt has"));
  EXPECT_THAT(refused_with("/points/1/requests/0/prompt_tokens", -1), HasSubstr("prompt_tokens"));
  Json json = json_;
  json.erase("points");
  EXPECT_THAT(refused(json), HasSubstr("points"));
  EXPECT_THAT(refused("text"), HasSubstr("requests.json"));
  std::filesystem::remove(file());
  EXPECT_THROW(read_measured(folder_.path()), ConfigError);
}

}  // namespace
}  // namespace reprefill::study
