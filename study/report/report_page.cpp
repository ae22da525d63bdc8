#include "study/report/report_page.hpp"

#define XXH_INLINE_ALL
#include <xxhash.h>

#include <vector>

#include "core/base/files.hpp"
#include "study/report/comparison.hpp"

namespace reprefill::study {
namespace {

struct Section {
  const char* id;
  const char* title;
  const char* link;  // in the page's navigation; "" for a section that is hidden until there is something in it
};

struct PageParts {
  std::vector<const char*> scripts;  // in the order in which they run; each is one idea (plots/report/README.md)
  std::vector<Section> sections;     // in the order in which they are read
};

const PageParts& parts_of(PageKind kind) {
  static const PageParts kSweep = {.scripts = {"vendor/echarts.min.js", "model.js", "filters.js", "charts.js",
                                               "gantt.js", "table.js", "compare.js", "details.js", "main.js"},
                                   .sections = {{"comparison", "Side by side", ""},
                                                {"explore", "Any metric against any axis", "Explore"},
                                                {"pareto", "TTFT against what is kept", "Pareto"},
                                                {"classes", "Where TTFT goes", "Time classes"},
                                                {"busy", "Resources, busy and idle", "Busy"},
                                                {"timeline", "Time line of a point", "Time line"},
                                                {"table", "Rows", "Rows"},
                                                {"provenance", "Provenance", "Provenance"}}};
  static const PageParts kBundle = {
      .scripts = {"vendor/echarts.min.js", "model.js", "charts.js", "study.js", "bundle.js"},
      .sections = {{"fits", "How well each fit holds", "Fits"},
                   {"fitted", "Measured against fitted", "Fitted"},
                   {"residuals", "Residuals", "Residuals"},
                   {"points", "Points of the fit", "Points"},
                   {"parts", "Numbers and their sources", "Numbers"},
                   {"provenance", "Provenance", "Provenance"}}};
  static const PageParts kCompare = {
      .scripts = {"vendor/echarts.min.js", "model.js", "charts.js", "study.js", "predicted.js"},
      .sections = {{"errors", "How far predictions are from this machine", "Errors"},
                   {"scatter", "Predicted against measured", "Scatter"},
                   {"spans", "Error by span", "Spans"},
                   {"cells", "Cells", "Cells"},
                   {"provenance", "Provenance", "Provenance"}}};
  switch (kind) {
    case PageKind::sweep:
      return kSweep;
    case PageKind::bundle:
      return kBundle;
    case PageKind::compare:
      return kCompare;
  }
  REPREFILL_CHECK(false, "no such kind of page");
}

std::string navigation_of(const PageParts& parts) {
  std::string links;
  for (const Section& section : parts.sections) {
    if (*section.link != '\0') links += fmt::format("<a href=\"#{}\">{}</a> ", section.id, section.link);
  }
  return links;
}

std::string sections_of(const PageParts& parts) {
  std::string html;
  for (const Section& section : parts.sections) {
    html += fmt::format("  <section id=\"{}\"{}><h2>{}</h2><div class=\"body\"></div></section>\n", section.id,
                        *section.link == '\0' ? " hidden" : "", section.title);
  }
  return html;
}

std::string read_part(const std::filesystem::path& file) { return std::string(read_whole_file(file, 0).text()); }

void replace_once(std::string& page, std::string_view mark, std::string_view text) {
  const std::size_t at = page.find(mark);
  REPREFILL_CHECK(at != std::string::npos, "page.html has no {}", mark);
  page.replace(at, mark.size(), text);
}

/// Ties the page's own scripts to its policy. It depends on everything that the page shows, so whoever wrote a string
/// in the data could not know it.
std::string nonce_of(std::string_view data) {
  const XXH128_hash_t hash = XXH3_128bits(data.data(), data.size());
  return fmt::format("{:016x}{:016x}", hash.high64, hash.low64);
}

}  // namespace

Json report_entry(const ResultSet& result, const Json& timelines, const std::vector<std::string>& more_warnings) {
  Json entry = {{"name", result.name}, {"folder", result.folder.string()}, {"finished", result.finished}};
  entry["num_rows"] = result.rows.size();
  entry["warnings"] = Json::array();
  for (const Warning& warning : warnings_of(result)) {
    entry["warnings"].push_back({{"text", warning.text}, {"num_rows", warning.rows.size()}});
  }
  for (const std::string& text : more_warnings) entry["warnings"].push_back({{"text", text}, {"num_rows", 0}});
  entry["columns"] = columns_of(result.rows);
  entry["scenario"] =
      result.resolved.is_object() && result.resolved.contains("scenario") ? result.resolved.at("scenario") : Json();
  // Of the first point in full: with 10,000 points all of them would be most of the page.
  if (result.resolved.is_object() && result.resolved.contains("points") && result.resolved.at("points").is_array() &&
      !result.resolved.at("points").empty()) {
    entry["first_point"] = result.resolved.at("points").front();
  }
  entry["run"] = result.run;
  entry["timelines"] = timelines;
  return entry;
}

Json report_data(const std::vector<Json>& entries, const std::string& program) {
  Json data = {{"program", program}, {"results", Json::array()}};
  for (const Json& entry : entries) data["results"].push_back(entry);
  return data;
}

Json comparison_data(const ResultSet& a, const ResultSet& b, const Json& entry_a, const Json& entry_b,
                     const Json& verdicts, const std::string& program) {
  Json data = report_data({entry_a, entry_b}, program);
  const RowMatch match = match_rows(a, b);
  Json pairs = Json::array();
  for (const RowPair& pair : match.pairs) pairs.push_back({pair.a, pair.b});
  data["comparison"] = {{"keys", match.keys}, {"pairs", pairs}, {"only_a", match.only_a}, {"only_b", match.only_b}};
  data["comparison"]["verdicts"] = verdicts;
  return data;
}

std::string make_page(PageKind kind, const Json& data, const std::string& title, const std::filesystem::path& assets) {
  const PageParts& parts = parts_of(kind);
  const std::string text = script_safe(data);
  const std::string nonce = nonce_of(text);
  std::string scripts;
  for (const char* script : parts.scripts) {
    const std::string source = read_part(assets / script);
    REPREFILL_CHECK(source.find("</script") == std::string::npos, "{} would end its own element", script);
    scripts += fmt::format("<script nonce=\"{}\">\n{}</script>\n", nonce, source);
  }
  std::string page = read_part(assets / "page.html");
  // The data last: nothing is looked for in what came from a result.
  replace_once(page, "@NONCE@", nonce);
  replace_once(page, "@STYLE@", read_part(assets / "style.css"));
  replace_once(page, "@NAVIGATION@", navigation_of(parts));
  replace_once(page, "@SECTIONS@", sections_of(parts));
  replace_once(page, "@SCRIPTS@", scripts);
  const std::size_t title_at = page.find("@TITLE@");
  REPREFILL_CHECK(title_at != std::string::npos, "page.html has no @TITLE@");
  const std::size_t data_at = page.find("@DATA@");
  REPREFILL_CHECK(data_at != std::string::npos && data_at > title_at, "page.html has no @DATA@ after @TITLE@");
  page.replace(data_at, 6, text);
  page.replace(title_at, 7, html_escaped(title));
  return page;
}

std::string script_safe(const Json& json) {
  // A result may hold bytes that are not UTF-8 (a file's name): shown as U+FFFD rather than refused.
  const std::string text = json.dump(-1, ' ', true, Json::error_handler_t::replace);
  std::string safe;
  safe.reserve(text.size() + text.size() / 64);
  for (const char c : text) {
    switch (c) {
      case '<':
        safe += "\\u003c";
        break;
      case '>':
        safe += "\\u003e";
        break;
      case '&':
        safe += "\\u0026";
        break;
      default:
        safe += c;
    }
  }
  return safe;
}

std::string html_escaped(std::string_view text) {
  std::string escaped;
  for (const char c : text) {
    switch (c) {
      case '<':
        escaped += "&lt;";
        break;
      case '>':
        escaped += "&gt;";
        break;
      case '&':
        escaped += "&amp;";
        break;
      case '"':
        escaped += "&quot;";
        break;
      case '\'':
        escaped += "&#39;";
        break;
      default:
        escaped += c;
    }
  }
  return escaped;
}

}  // namespace reprefill::study
