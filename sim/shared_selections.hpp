// What requests choose from scores that nobody else reads: drawn and ordered once for all runs that ask the same.
#pragma once

#include <deque>
#include <map>
#include <memory>
#include <vector>

#include "core/pipeline/selection.hpp"
#include "traces/importance/importance_source.hpp"

namespace reprefill::sim {

struct SelectionQuestion {
  const traces::ImportanceSource* importance = nullptr;
  traces::ImportanceQuery query;
  int unit_tokens = 1;
  pipeline::SelectionRule rule;
};

void draw_scores(const SelectionQuestion& question, pipeline::Scores& scores);
pipeline::Selection choose(const SelectionQuestion& question);

/// Equal questions have equal answers, bit for bit: sharing them changes no result, whatever is dropped meanwhile. Used
/// by one thread. Sources that were asked must outlive it.
class SharedSelections {
 public:
  enum class Keep : std::uint8_t {
    selections,  // all runs choose by one rule
    scores_too   // runs choose by rules of their own from the same scores
  };
  /// Beyond `limit` the layers that were asked for first go.
  explicit SharedSelections(Keep keep, Bytes limit = kDefaultLimit) : keep_(keep), limit_(limit) {}

  std::shared_ptr<const pipeline::Selection> choose(const SelectionQuestion& question);

  std::uint64_t num_drawn() const { return num_drawn_; }
  Bytes size() const { return size_; }

 private:
  // Several requests of the largest models: runs are at most one request apart.
  static constexpr Bytes kDefaultLimit{std::uint64_t{128} << 20};
  using LayerKey = std::pair<std::uint64_t, int>;  // request, layer

  /// A question without its rule, owning its prefix.
  struct Asked {
    explicit Asked(const SelectionQuestion& question);
    bool is(const SelectionQuestion& question) const;
    const traces::ImportanceSource* importance;
    std::uint64_t task;
    std::vector<SegmentSpan> prefix;
    traces::HeadGrouping grouping;
    KeyDigest digest;
    int unit_tokens;
  };
  struct Chosen {
    Asked asked;
    pipeline::SelectionRule rule;
    std::shared_ptr<const pipeline::Selection> selection;
  };
  struct Drawn {
    Asked asked;
    pipeline::Scores scores;
  };
  struct Layer {
    std::vector<Chosen> chosen;
    std::deque<Drawn> drawn;
    Bytes size;
  };

  const pipeline::Scores& scores_of(const SelectionQuestion& question, Layer& layer);
  void grow(Layer& layer, std::size_t bytes);
  void drop_oldest();

  Keep keep_;
  Bytes limit_;
  std::map<LayerKey, Layer> layers_;
  std::deque<LayerKey> oldest_;
  Bytes size_;
  std::uint64_t num_drawn_ = 0;
  pipeline::Scores scratch_;
};

}  // namespace reprefill::sim
