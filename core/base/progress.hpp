// How far long work has come, on standard error.
#pragma once

#include <chrono>
#include <cstdio>
#include <string>
#include <vector>

namespace reprefill {

enum class ProgressMode { automatic, quiet };

/// Weighs items by their expected cost, so that the time left is honest when they differ. On a terminal it redraws one
/// line; elsewhere it prints a line every ten seconds.
class Progress {
 public:
  /// `items`: what is counted, in the plural.
  Progress(std::string title, std::vector<double> costs, ProgressMode mode, std::string items = "points",
           std::FILE* out = stderr);
  ~Progress();
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;

  // Not thread-safe: the caller holds its lock.
  /// `share` of the item, in [0, 1], is done: the time left moves within long items too. It never goes back.
  void update(std::size_t item, double share);
  void done(std::size_t item);
  /// "quickstart: 12/116 points, 35 %, 4 s, about 8 s left".
  std::string text(double elapsed_s) const;

 private:
  void redraw_if_due();
  void print(bool last);

  std::string title_, items_;
  std::vector<double> costs_;
  std::vector<double> shares_;  // of each item, done so far
  double total_ = 0;
  double finished_ = 0;
  std::size_t num_done_ = 0;
  bool quiet_;
  bool terminal_;
  std::FILE* out_;
  std::chrono::steady_clock::time_point start_;
  std::chrono::steady_clock::time_point printed_;
};

}  // namespace reprefill
