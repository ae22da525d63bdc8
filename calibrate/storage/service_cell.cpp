#include "calibrate/storage/service_cell.hpp"

#include <algorithm>

#include "calibrate/storage/load.hpp"

namespace reprefill::calibrate {
namespace {

// As many as the direct path has under way, and as large: drives that complete reads in bursts do it to these alike.
constexpr std::uint32_t kGroup = 64;
Bytes size_in(Bytes span) {
  constexpr Bytes kLarge{512 << 10}, kSmall{128 << 10};  // a quarter of the smallest span
  return kLarge.value * 2 * kGroup <= span.value / 4 ? kLarge : kSmall;
}

class ServiceCell final : public Cell {
 public:
  ServiceCell(Bytes size, const ScratchFile* file, bool unregistered_buffers, CellSpec spec)
      : Cell(std::move(spec)), size_(size), file_(file), unregistered_(unregistered_buffers) {}
  void prepare() override {
    load_ = std::make_unique<ReadLoad>(*file_, LoadShape{size_, 2 * kGroup, Pattern::random},
                                       combine64(hash_name(spec().id), ++turn_), unregistered_);
  }
  Sample sample() override {
    const ReadLoad::GroupEnds ends = load_->time_groups();
    return {.values = {ends.first_ns, std::max(ends.first_ns, ends.second_ns)}};
  }
  void finish() override { load_.reset(); }

 private:
  Bytes size_;
  const ScratchFile* file_;
  bool unregistered_;
  std::unique_ptr<ReadLoad> load_;
  std::uint64_t turn_ = 0;
};

}  // namespace

std::unique_ptr<Cell> service_cell(const ScratchFile* file, Bytes span, bool unregistered_buffers) {
  const Bytes size = size_in(span);
  CellSpec spec{.id = fmt::format("service/bytes={}/group={}", size.value, kGroup),
                .quantity = "service",
                .shape = {{"bytes", size.value}, {"group", kGroup}},
                .metrics = {"first_ns", "all_ns"},
                .expected_s = 0.05};
  return std::make_unique<ServiceCell>(size, file, unregistered_buffers, std::move(spec));
}

}  // namespace reprefill::calibrate
