// The page holds its data as data: nothing in it can end its element or become a script.
#include "study/report/report_page.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "study/report/comparison.hpp"

namespace reprefill::study {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::Not;

const std::filesystem::path kAssets = std::filesystem::path(REPREFILL_SOURCE_DIR) / "plots" / "report";

std::string between(const std::string& text, const std::string& from, const std::string& to) {
  const std::size_t start = text.find(from) + from.size();
  return text.substr(start, text.find(to, start) - start);
}

TEST(ReportPage, JsonInAScriptElementHasNoMarkupAndReadsBackTheSame) {
  const Json hostile = {{"</script><script>alert(1)</script>", "<!-- <script> &amp; \" \\ \u2028 \u00e4"},
                        {"n", {1, 2.5, nullptr}}};
  const std::string safe = script_safe(hostile);
  EXPECT_EQ(safe.find_first_of("<>&"), std::string::npos);
  for (const char c : safe) EXPECT_TRUE(c >= 0x20 && c < 0x7f);
  EXPECT_EQ(Json::parse(safe), hostile);
}

TEST(ReportPage, BytesThatAreNotUtf8BecomeAReplacementCharacter) {
  EXPECT_EQ(script_safe(Json("a\xff")), "\"a\\ufffd\"");
}

TEST(ReportPage, EscapesTextOfATitle) {
  EXPECT_EQ(html_escaped("<b a=\"1\" c='2'> & </b>"), "&lt;b a=&quot;1&quot; c=&#39;2&#39;&gt; &amp; &lt;/b&gt;");
}

TEST(ReportPage, HoldsItsDataAndRunsItsOwnScriptsOnly) {
  const Json data = {{"name", "</script><script>alert(1)</script>"}, {"marks", "@TITLE@ @SCRIPTS@ @DATA@"}};
  const std::string page = make_page(PageKind::sweep, data, "<title> @DATA@", kAssets);
  EXPECT_EQ(Json::parse(between(page, "id=\"data\">", "</script>")), data);
  EXPECT_THAT(page, HasSubstr("<title>&lt;title&gt; @DATA@ - Reprefill report</title>"));
  EXPECT_THAT(page, Not(HasSubstr("<script>")));
  const std::string nonce = between(page, "'nonce-", "'");
  EXPECT_EQ(nonce.size(), 32u);
  for (std::size_t at = page.find("<script"); at != std::string::npos; at = page.find("<script", at + 1)) {
    const std::string tag = page.substr(at, page.find('>', at) - at);
    EXPECT_TRUE(tag.find(nonce) != std::string::npos || tag.find("application/json") != std::string::npos) << tag;
  }
}

TEST(ReportPage, EveryKindHasALinkToEachSectionThatItShows) {
  for (const PageKind kind : {PageKind::sweep, PageKind::bundle, PageKind::compare}) {
    const std::string page = make_page(kind, {{"a", 1}}, "t", kAssets);
    for (const char* mark : {"@NAVIGATION@", "@SECTIONS@", "@SCRIPTS@"}) EXPECT_THAT(page, Not(HasSubstr(mark)));
    std::size_t num_sections = 0;
    for (std::size_t at = page.find("<a href=\"#"); at != std::string::npos; at = page.find("<a href=\"#", at + 1)) {
      EXPECT_THAT(page, HasSubstr("<section id=\"" + between(page.substr(at), "#", "\"") + "\"><h2>"));
      ++num_sections;
    }
    EXPECT_GE(num_sections, 5u);
  }
}

TEST(ReportPage, IsTheSameForTheSameDataAndItsNonceIsNotForOther) {
  EXPECT_EQ(make_page(PageKind::sweep, {{"a", 1}}, "t", kAssets), make_page(PageKind::sweep, {{"a", 1}}, "t", kAssets));
  EXPECT_NE(between(make_page(PageKind::sweep, {{"a", 1}}, "t", kAssets), "'nonce-", "'"),
            between(make_page(PageKind::sweep, {{"a", 2}}, "t", kAssets), "'nonce-", "'"));
}

TEST(ReportPage, NamesAMissingPart) {
  EXPECT_THROW(make_page(PageKind::sweep, Json::object(), "t", "/nonexistent"), ConfigError);
}

// ---- which rows belong together

Json row(const char* label, Json axes, int replica = 0) {
  return {{"label", label}, {"axes", std::move(axes)}, {"replica", replica}, {"ttft", Json::object()}};
}
ResultSet result(std::vector<Json> rows) {
  ResultSet result;
  result.rows = std::move(rows);
  return result;
}

std::vector<std::pair<std::size_t, std::size_t>> pairs_of(const RowMatch& match) {
  std::vector<std::pair<std::size_t, std::size_t>> pairs;
  for (const RowPair& pair : match.pairs) pairs.emplace_back(pair.a, pair.b);
  return pairs;
}
using Pair = std::pair<std::size_t, std::size_t>;

TEST(ReportComparison, MatchesByLabelReplicaAndAxesWhateverTheOrder) {
  const RowMatch match = match_rows(result({row("x", {{"budget", 0.05}}), row("x", {{"budget", 0.25}}),
                                            row("y", {{"budget", nullptr}}), row("x", {{"budget", 0.05}}, 1)}),
                                    result({row("y", {{"budget", nullptr}}), row("x", {{"budget", 0.05}}, 1),
                                            row("x", {{"budget", 0.05}}), row("z", {{"budget", 1}})}));
  EXPECT_THAT(pairs_of(match), ElementsAre(Pair{0, 2}, Pair{2, 0}, Pair{3, 1}));
  EXPECT_THAT(match.only_a, ElementsAre(1));
  EXPECT_THAT(match.only_b, ElementsAre(3));
  EXPECT_THAT(match.keys, ElementsAre("label", "replica", "axes.budget"));
}

TEST(ReportComparison, AnAxisOfOneResultOnlyDoesNotCount) {
  const RowMatch match =
      match_rows(result({row("x", {{"budget", 1}})}), result({row("x", {{"budget", 1}, {"chunk", 8}})}));
  EXPECT_THAT(pairs_of(match), ElementsAre(Pair{0, 0}));
}

TEST(ReportComparison, RowsThatCannotBeToldApartMatchInOrderOrNotAtAll) {
  const Json same = row("x", {{"budget", 1}});
  EXPECT_THAT(pairs_of(match_rows(result({same, same}), result({same, same}))), ElementsAre(Pair{0, 0}, Pair{1, 1}));
  const RowMatch uneven = match_rows(result({same, same}), result({same}));
  EXPECT_THAT(uneven.pairs, IsEmpty());
  EXPECT_THAT(uneven.only_a, ElementsAre(0, 1));
  EXPECT_THAT(uneven.only_b, ElementsAre(0));
}

}  // namespace
}  // namespace reprefill::study
