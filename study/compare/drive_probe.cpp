#include "study/compare/drive_probe.hpp"

#include <algorithm>

namespace reprefill::study {

Json to_json(const DriveProbe& probe) {
  Json values = Json::array();
  for (const DriveProbe::Value& value : probe.values) {
    values.push_back({{"bytes", value.cell.size.value}, {"depth", value.cell.depth}, {"ns", value.ns}});
  }
  return {{"num_runs_before", probe.num_runs_before}, {"values", values}};
}

DriveProbe drive_probe_from_json(const Json& json) {
  DriveProbe probe{.num_runs_before = json.at("num_runs_before").get<std::size_t>(), .values = {}};
  for (const Json& value : json.at("values")) {
    probe.values.push_back(
        {.cell = {Bytes{value.at("bytes").get<std::uint64_t>()}, value.at("depth").get<std::uint32_t>()},
         .ns = value.at("ns").get<double>()});
  }
  return probe;
}

DriveMeter::DriveMeter(const engine::Store& store, bool unregistered_buffers)
    : unregistered_buffers_(unregistered_buffers) {
  for (std::uint32_t segment = 0; segment < store.num_segments(); ++segment) {
    for (std::size_t layout = 0; layout < store.manifest().layouts.size(); ++layout) {
      files_.push_back(store.open_file(SegmentId{segment}, layout, engine::DirectIo::required));
      const engine::StoreFile& file = files_.back();
      targets_.push_back({file.descriptor(), file.path().string(), Bytes{file.size()}});
    }
  }
}

DriveProbe DriveMeter::measure(std::size_t num_runs_before, std::uint64_t number) const {
  constexpr double kSlice_s = 0.04;
  DriveProbe probe{.num_runs_before = num_runs_before, .values = {}};
  for (const DriveCell& cell : kDriveCells) {
    const auto fits = [&](const calibrate::ReadTarget& target) { return target.size >= cell.size; };
    if (std::ranges::none_of(targets_, fits)) continue;
    const std::uint64_t seed = combine64(combine64(number, cell.size.value), cell.depth);
    calibrate::ReadLoad load(targets_, {cell.size, cell.depth, calibrate::Pattern::random}, seed,
                             unregistered_buffers_);
    probe.values.push_back({cell, load.run(kSlice_s).ns_each()});
  }
  return probe;
}

}  // namespace reprefill::study
