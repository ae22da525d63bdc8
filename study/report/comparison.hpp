// Which rows of two results belong together.
#pragma once

#include <vector>

#include "study/report/result_set.hpp"

namespace reprefill::study {

struct RowPair {
  std::size_t a = 0;  // by position in each ResultSet::rows
  std::size_t b = 0;
};

struct RowMatch {
  std::vector<RowPair> pairs = {};  // in the order of a
  std::vector<std::size_t> only_a = {};
  std::vector<std::size_t> only_b = {};
  std::vector<std::string> keys = {};  // what rows were matched by: label, replica, the axes that both results have
};

/// Rows with the same label, replica and value on every axis that both results have. Where several rows of one result
/// have the same key they are taken in order, as long as both have the same number of them; else none of them matches.
RowMatch match_rows(const ResultSet& a, const ResultSet& b);

}  // namespace reprefill::study
