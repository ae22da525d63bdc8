#include "core/base/progress.hpp"

#include <unistd.h>

#include <algorithm>
#include <numeric>

#include <fmt/format.h>

namespace reprefill {
namespace {

constexpr auto kRedraw = std::chrono::milliseconds(100);
constexpr auto kLine = std::chrono::seconds(10);

std::string duration_text(double seconds) {
  if (seconds < 90) return fmt::format("{:.0f} s", seconds);
  if (seconds < 5400) return fmt::format("{:.0f} min", seconds / 60);
  return fmt::format("{:.1f} h", seconds / 3600);
}

/// Items without any cost count the same, so that a list of them does not begin at 100 %.
std::vector<double> weights_of(std::vector<double> costs) {
  if (std::none_of(costs.begin(), costs.end(), [](double cost) { return cost > 0; })) costs.assign(costs.size(), 1.0);
  return costs;
}

}  // namespace

Progress::Progress(std::string title, std::vector<double> costs, ProgressMode mode, std::string items, std::FILE* out)
    : title_(std::move(title)),
      items_(std::move(items)),
      costs_(weights_of(std::move(costs))),
      shares_(costs_.size(), 0.0),
      total_(std::accumulate(costs_.begin(), costs_.end(), 0.0)),
      quiet_(mode == ProgressMode::quiet),
      terminal_(isatty(fileno(out)) != 0),
      out_(out),
      start_(std::chrono::steady_clock::now()),
      printed_(start_) {}

Progress::~Progress() {
  if (!quiet_ && terminal_ && num_done_ > 0) print(true);
}

void Progress::update(std::size_t item, double share) {
  double& before = shares_.at(item);
  const double now = std::clamp(share, before, 1.0);
  finished_ += costs_[item] * (now - before);
  before = now;
  redraw_if_due();
}

void Progress::done(std::size_t item) {
  ++num_done_;
  update(item, 1);
}

void Progress::redraw_if_due() {
  const auto now = std::chrono::steady_clock::now();
  if (quiet_ || now - printed_ < (terminal_ ? std::chrono::steady_clock::duration(kRedraw) : kLine)) return;
  printed_ = now;
  print(false);
}

std::string Progress::text(double elapsed_s) const {
  // Sums of shares may be off in their last bits.
  const bool all_done = num_done_ == costs_.size();
  const double share = all_done || total_ <= 0 ? 1.0 : std::min(1.0, finished_ / total_);
  std::string text = fmt::format("{}: {}/{} {}, {:.0f} %, {}", title_, num_done_, costs_.size(), items_, 100 * share,
                                 duration_text(elapsed_s));
  if (share > 0 && !all_done) {
    text += fmt::format(", about {} left", duration_text(elapsed_s * (1 - share) / share));
  }
  return text;
}

void Progress::print(bool last) {
  const double elapsed_s = std::chrono::duration<double>(std::chrono::steady_clock::now() - start_).count();
  if (terminal_) {
    fmt::print(out_, "\r\033[K{}{}", text(elapsed_s), last ? "\n" : "");
  } else {
    fmt::print(out_, "{}\n", text(elapsed_s));
  }
  std::fflush(out_);
}

}  // namespace reprefill
