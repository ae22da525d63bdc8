#include "calibrate/cpu/interference_cells.hpp"

#include <algorithm>
#include <cstring>

namespace reprefill::calibrate {
namespace {

/// Something that can be done for a while, alone or beside another.
class Work {
 public:
  virtual ~Work() = default;
  /// Nanoseconds of one unit, measured over a slice.
  virtual double measure() = 0;
  /// Goes on until `stop` is set.
  virtual void keep_on(const std::atomic<bool>& stop) = 0;
};

class ReadWork final : public Work {
 public:
  explicit ReadWork(const InterferenceParts& parts)
      : load_(*parts.file, {Bytes{128 * 1024}, 16, Pattern::random}, 11, parts.unregistered_buffers),
        slice_s_(parts.slice_s) {}
  double measure() override { return load_.run(slice_s_).ns_each(); }
  void keep_on(const std::atomic<bool>& stop) override { load_.run(1e9, nullptr, &stop); }

 private:
  ReadLoad load_;
  double slice_s_;
};

class CopyWork final : public Work {
 public:
  explicit CopyWork(Clock& clock) : clock_(clock), source_(kBytes, std::byte{1}), target_(kBytes, std::byte{2}) {}
  double measure() override {
    return time_of(clock_, [&] { std::memcpy(target_.data(), source_.data(), kBytes); });
  }
  void keep_on(const std::atomic<bool>& stop) override {
    while (!stop) std::memcpy(target_.data(), source_.data(), kBytes);
  }

 private:
  static constexpr std::size_t kBytes = std::size_t{64} << 20;
  Clock& clock_;
  std::vector<std::byte> source_, target_;
};

/// Linear layers: many queries that see no prefix. Attention: scoring a long prefix.
class ComputeWork final : public Work {
 public:
  ComputeWork(LayerWalk& walk, bool attention) : walk_(walk), attention_(attention) { walk_.restart(); }
  double measure() override { return step(); }
  void keep_on(const std::atomic<bool>& stop) override {
    while (!stop) step();
  }

 private:
  double step() {
    const auto positions = static_cast<std::uint32_t>(walk_.geometry().max_position_embeddings);
    if (attention_) {
      const std::uint32_t queries = std::min(32u, positions / 2);
      return walk_.time_layer(queries, std::min(4096u, positions - queries)).score_ns;
    }
    const LayerWalk::Timing timing = walk_.time_layer(std::min(128u, positions), 0);
    return timing.project_ns + timing.attend_ns;
  }
  LayerWalk& walk_;
  bool attention_;
};

std::unique_ptr<Work> make_work(const std::string& activity, const InterferenceParts& parts, Clock& clock) {
  if (activity == "ssd_read") return std::make_unique<ReadWork>(parts);
  if (activity == "copy") return std::make_unique<CopyWork>(clock);
  return std::make_unique<ComputeWork>(*parts.walk, activity == "attention");
}

class PairCell final : public Cell {
 public:
  PairCell(const InterferenceParts& parts, Clock& clock, CellSpec spec)
      : Cell(std::move(spec)), parts_(parts), clock_(clock) {}
  void prepare() override {
    slowed_ = make_work(spec().shape.at("slowed"), parts_, clock_);
    by_ = make_work(spec().shape.at("by"), parts_, clock_);
  }
  Sample sample() override {
    const double alone = slowed_->measure();
    Background other([this](const std::atomic<bool>& stop) { by_->keep_on(stop); });
    slowed_->measure();  // until the other has got going
    const double beside = slowed_->measure();
    other.stop();
    return {.values = {beside / alone}};
  }
  void finish() override {
    slowed_.reset();
    by_.reset();
  }

 private:
  InterferenceParts parts_;
  Clock& clock_;
  std::unique_ptr<Work> slowed_, by_;
};

}  // namespace

std::vector<std::unique_ptr<Cell>> interference_cells(const InterferenceParts& parts, Clock& clock) {
  std::vector<std::string> activities = {"copy"};
  if (parts.has_storage) activities.push_back("ssd_read");
  if (parts.has_compute) activities.insert(activities.end(), {"gemm", "attention"});
  const auto computes = [](const std::string& activity) { return activity == "gemm" || activity == "attention"; };
  std::vector<std::unique_ptr<Cell>> cells;
  for (const std::string& slowed : activities) {
    for (const std::string& by : activities) {
      // Copies beside copies: one lane each way. Reads beside reads share their device, which the drive's model has.
      if ((slowed == by && slowed != "copy") || (computes(slowed) && computes(by))) continue;
      CellSpec spec{.id = fmt::format("interference/{}/by/{}", slowed, by),
                    .quantity = "interference",
                    .shape = {{"slowed", slowed}, {"by", by}},
                    .metrics = {"factor"},
                    .expected_s = 0.2};
      cells.push_back(std::make_unique<PairCell>(parts, clock, std::move(spec)));
    }
  }
  return cells;
}

}  // namespace reprefill::calibrate
