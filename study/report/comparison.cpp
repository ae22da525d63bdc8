#include "study/report/comparison.hpp"

#include <algorithm>
#include <map>
#include <set>

namespace reprefill::study {
namespace {

std::vector<std::string> axes_of(const ResultSet& result) {
  std::vector<std::string> axes;
  std::set<std::string> seen;
  for (const Json& row : result.rows) {
    for (const auto& [axis, value] : row.at("axes").items()) {
      if (seen.insert(axis).second) axes.push_back(axis);
    }
  }
  return axes;
}

std::string key_of(const Json& row, const std::vector<std::string>& axes) {
  Json key = {row.at("label"), row.contains("replica") ? row.at("replica") : Json(0)};
  for (const std::string& axis : axes) key.push_back(row.at("axes").contains(axis) ? row.at("axes").at(axis) : Json());
  return key.dump();
}

std::map<std::string, std::vector<std::size_t>> rows_by_key(const ResultSet& result,
                                                            const std::vector<std::string>& axes) {
  std::map<std::string, std::vector<std::size_t>> rows;
  for (std::size_t i = 0; i < result.rows.size(); ++i) rows[key_of(result.rows[i], axes)].push_back(i);
  return rows;
}

}  // namespace

RowMatch match_rows(const ResultSet& a, const ResultSet& b) {
  RowMatch match{.keys = {"label", "replica"}};
  std::vector<std::string> shared;
  const std::vector<std::string> axes_b = axes_of(b);
  for (const std::string& axis : axes_of(a)) {
    if (std::find(axes_b.begin(), axes_b.end(), axis) != axes_b.end()) shared.push_back(axis);
  }
  for (const std::string& axis : shared) match.keys.push_back("axes." + axis);
  const auto rows_a = rows_by_key(a, shared), rows_b = rows_by_key(b, shared);
  std::vector<bool> taken_b(b.rows.size(), false);
  for (std::size_t i = 0; i < a.rows.size(); ++i) {
    const std::string key = key_of(a.rows[i], shared);
    const std::vector<std::size_t>& same_a = rows_a.at(key);
    const auto same_b = rows_b.find(key);
    if (same_b == rows_b.end() || same_b->second.size() != same_a.size()) {
      match.only_a.push_back(i);
      continue;
    }
    const auto place = static_cast<std::size_t>(std::find(same_a.begin(), same_a.end(), i) - same_a.begin());
    match.pairs.push_back({i, same_b->second[place]});
    taken_b[same_b->second[place]] = true;
  }
  for (std::size_t i = 0; i < b.rows.size(); ++i) {
    if (!taken_b[i]) match.only_b.push_back(i);
  }
  return match;
}

}  // namespace reprefill::study
