#include "calibrate/fit/fit_selection.hpp"

#include <algorithm>

#include "calibrate/fit/fit_line.hpp"
#include "calibrate/meter/statistics.hpp"
#include "core/base/error.hpp"

namespace reprefill::calibrate {
namespace {

struct Choice {
  const Measured* cell = nullptr;
  double scores = 0, ns = 0;
  bool votes = false;
};

struct Costs {
  double overhead = 0, per_score = 0, per_vote = 0;
  double at(const Choice& choice) const { return overhead + (choice.votes ? per_vote : per_score) * choice.scores; }
};

/// Least relative squares, with the overhead given.
double slope_of_votes(const std::vector<Choice>& choices, double overhead) {
  double numerator = 0, denominator = 0;
  for (const Choice& choice : choices) {
    if (!choice.votes) continue;
    const double x = choice.scores / choice.ns;
    numerator += x * (1 - overhead / choice.ns);
    denominator += x * x;
  }
  return denominator > 0 ? std::max(0.0, numerator / denominator) : 0;
}

std::optional<Costs> solve(const std::vector<Choice>& choices) {
  std::vector<double> scores, ns;
  for (const Choice& choice : choices) {
    if (choice.votes) continue;
    scores.push_back(choice.scores);
    ns.push_back(choice.ns);
  }
  if (scores.size() < 2 || std::ranges::min(scores) == std::ranges::max(scores)) return std::nullopt;
  const Line line = fit_line(scores, ns);
  return Costs{line.latency_ns, std::max(0.0, line.ns_per_byte), slope_of_votes(choices, line.latency_ns)};
}

}  // namespace

SelectionFit fit_selection(const std::vector<Measured>& cells) {
  std::vector<Choice> choices;
  for (const Measured& cell : cells) {
    if (cell.spec.quantity != "select_scored") continue;
    choices.push_back(
        {&cell, cell.spec.shape.at("scores").get<double>(), median(cell.of()), cell.spec.shape.at("by") == "votes"});
  }
  const std::optional<Costs> costs = solve(choices);
  if (!costs || std::ranges::none_of(choices, &Choice::votes)) {
    throw ConfigError("select_scored: choices from two numbers of scores and one by votes are needed");
  }
  SelectionFit fit{.overhead_ns = costs->overhead,
                   .per_score_ns = costs->per_score,
                   .per_vote_ns = costs->per_vote,
                   .report = {.name = "select",
                              .rule = "a line of the scores, votes with a slope of their own; held out: each cell",
                              .points = {}}};
  for (std::size_t i = 0; i < choices.size(); ++i) {
    std::vector<Choice> others = choices;
    others.erase(others.begin() + static_cast<std::ptrdiff_t>(i));
    FitPoint point{.shape = choices[i].cell->spec.shape,
                   .measured = choices[i].ns,
                   .spread = relative_spread(choices[i].cell->of()),
                   .converged = choices[i].cell->converged,
                   .fitted = costs->at(choices[i])};
    const bool has_vote = std::ranges::any_of(others, &Choice::votes);
    if (const auto rest = solve(others); rest && (!choices[i].votes || has_vote)) point.held_out = rest->at(choices[i]);
    fit.report.points.push_back(std::move(point));
  }
  return fit;
}

}  // namespace reprefill::calibrate
