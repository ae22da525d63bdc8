#include "core/base/text_table.hpp"

#include <algorithm>

#include "core/base/error.hpp"

namespace reprefill {
namespace {

bool is_numeric(const std::string& cell) {
  return cell.empty() || cell == "-" || cell.find_first_not_of("0123456789.+-eE !%") == std::string::npos;
}

/// Characters, not bytes: "130 µs" is six wide. Wide and combining characters do not occur.
std::size_t width_of(const std::string& cell) {
  return static_cast<std::size_t>(
      std::count_if(cell.begin(), cell.end(), [](char c) { return (static_cast<unsigned char>(c) & 0xc0) != 0x80; }));
}

std::string padded(const std::string& cell, std::size_t width, bool right) {
  const std::string space(width - std::min(width, width_of(cell)), ' ');
  return right ? space + cell : cell + space;
}

std::string without_trailing_spaces(std::string line) {
  line.erase(line.find_last_not_of(' ') + 1);
  return line + "\n";
}

}  // namespace

void TextTable::add_row(std::vector<std::string> cells) {
  REPREFILL_CHECK(cells.size() == header_.size(), "{} cells under {} headings", cells.size(), header_.size());
  rows_.push_back(std::move(cells));
}

std::vector<std::size_t> TextTable::widths() const {
  std::vector<std::size_t> widths;
  for (const std::string& heading : header_) widths.push_back(width_of(heading));
  for (const auto& row : rows_) {
    for (std::size_t i = 0; i < row.size(); ++i) widths[i] = std::max(widths[i], width_of(row[i]));
  }
  return widths;
}

std::vector<bool> TextTable::numeric_columns() const {
  std::vector<bool> numeric(header_.size(), !rows_.empty());
  for (const auto& row : rows_) {
    for (std::size_t i = 0; i < row.size(); ++i) numeric[i] = numeric[i] && is_numeric(row[i]);
  }
  return numeric;
}

std::string TextTable::to_text() const {
  const std::vector<std::size_t> width = widths();
  const std::vector<bool> numeric = numeric_columns();
  const auto line_of = [&](const std::vector<std::string>& cells) {
    std::string line;
    for (std::size_t i = 0; i < cells.size(); ++i) line += (i > 0 ? "  " : "") + padded(cells[i], width[i], numeric[i]);
    return without_trailing_spaces(std::move(line));
  };
  std::string text = line_of(header_);
  std::vector<std::string> rule;
  for (const std::size_t columns : width) rule.emplace_back(columns, '-');
  text += line_of(rule);
  for (const auto& row : rows_) text += line_of(row);
  return text;
}

std::string TextTable::to_markdown() const {
  const std::vector<bool> numeric = numeric_columns();
  const auto line_of = [](const std::vector<std::string>& cells) {
    std::string line = "|";
    for (const std::string& cell : cells) {
      std::string escaped;
      for (const char c : cell) escaped += c == '|' ? std::string("\\|") : std::string(1, c);
      line.append(" ").append(escaped).append(" |");
    }
    return line + "\n";
  };
  std::string text = line_of(header_) + "|";
  for (const bool right : numeric) text += right ? " ---: |" : " --- |";
  text += "\n";
  for (const auto& row : rows_) text += line_of(row);
  return text;
}

}  // namespace reprefill
