// Aligned tables for terminals and Markdown: what every verb prints.
#pragma once

#include <string>
#include <vector>

namespace reprefill {

/// Columns whose cells are all numbers (or "-") are aligned to the right.
class TextTable {
 public:
  explicit TextTable(std::vector<std::string> header) : header_(std::move(header)) {}
  /// As many cells as the header has.
  void add_row(std::vector<std::string> cells);
  std::string to_text() const;
  std::string to_markdown() const;

 private:
  std::vector<std::size_t> widths() const;
  std::vector<bool> numeric_columns() const;
  std::vector<std::string> header_;
  std::vector<std::vector<std::string>> rows_;
};

}  // namespace reprefill
