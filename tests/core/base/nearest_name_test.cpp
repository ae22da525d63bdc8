#include "core/base/nearest_name.hpp"

#include <gtest/gtest.h>

#include <vector>

namespace reprefill {
namespace {

const std::vector<std::string> kNames = {"queue_depth", "gpu", "ssd", "link", "read_bandwidth", "write_bandwidth"};

TEST(NearestName, OfATypingErrorIsTheNameMeant) {
  EXPECT_EQ(did_you_mean("queue_dept", kNames), "; did you mean queue_depth?");    // missing
  EXPECT_EQ(did_you_mean("queuee_depth", kNames), "; did you mean queue_depth?");  // doubled
  EXPECT_EQ(did_you_mean("queue_depht", kNames), "; did you mean queue_depth?");   // swapped: two edits
  EXPECT_EQ(did_you_mean("quevedepth", kNames), "; did you mean queue_depth?");    // replaced and missing
}

TEST(NearestName, IsTheNearestOfSeveral) {
  EXPECT_EQ(did_you_mean("rite_bandwidth", kNames), "; did you mean write_bandwidth?");  // "read_" is two edits more
  EXPECT_EQ(did_you_mean("ead_bandwidth", kNames), "; did you mean read_bandwidth?");
}

TEST(NearestName, OfATieIsTheFirst) {
  const std::vector<std::string> names = {"aab", "aac"};
  EXPECT_EQ(did_you_mean("aad", names), "; did you mean aab?");
}

TEST(NearestName, IsNotGuessedBeyondThreeEditsOrHalfOfTheWord) {
  EXPECT_EQ(did_you_mean("queue_dxxxh", kNames), "; did you mean queue_depth?");  // three edits
  EXPECT_EQ(did_you_mean("queue_xxxxh", kNames), "");                             // four
  EXPECT_EQ(did_you_mean("gpx", kNames), "; did you mean gpu?");                  // one of three letters
  EXPECT_EQ(did_you_mean("gxx", kNames), "");                                     // two of three
  EXPECT_EQ(did_you_mean("", kNames), "");
  EXPECT_EQ(did_you_mean("anything", {}), "");
}

TEST(NearestName, AListOfWhatIsAllowedFollows) {
  const std::vector<std::string> names = {"gpu", "ssd"};
  EXPECT_EQ(nearest_and_allowed("gpux", names), "; did you mean gpu? allowed: gpu, ssd");
  EXPECT_EQ(nearest_and_allowed("frequency", names), "; allowed: gpu, ssd");
}

}  // namespace
}  // namespace reprefill
