#include "calibrate/meter/sample_journal.hpp"

namespace reprefill::calibrate {
namespace {

Json to_json(const std::string& cell_id, const SampleStore::Turn& turn) {
  Json samples = Json::array();
  for (const Sample& sample : turn.samples) {
    Json json = {{"values", sample.values}};
    if (!sample.extra.is_null()) json["extra"] = sample.extra;
    samples.push_back(std::move(json));
  }
  return {{"cell", cell_id}, {"spent_s", turn.spent_s}, {"samples", samples}};
}

/// Rows carry a checksum, so what is there is what this program wrote.
SampleStore::Turn turn_of(const Json& row) {
  SampleStore::Turn turn{.samples = {}, .spent_s = row.at("spent_s").get<double>()};
  for (const Json& sample : row.at("samples")) {
    turn.samples.push_back({.values = sample.at("values").get<std::vector<double>>(),
                            .extra = sample.contains("extra") ? sample.at("extra") : Json(nullptr)});
  }
  return turn;
}

}  // namespace

SampleJournal::SampleJournal(const std::filesystem::path& folder, const Json& plan, record::ResultFolder::Mode mode)
    : folder_(folder, plan, mode) {
  for (const Json* row; (row = folder_.row(num_turns_)) != nullptr; ++num_turns_) {
    turns_[row->at("cell").get<std::string>()].push_back(turn_of(*row));
  }
}

std::vector<SampleStore::Turn> SampleJournal::turns_of(const std::string& cell_id) const {
  const auto found = turns_.find(cell_id);
  return found == turns_.end() ? std::vector<Turn>{} : found->second;
}

void SampleJournal::append(const std::string& cell_id, const Turn& turn) {
  folder_.append_row(num_turns_++, "", to_json(cell_id, turn));
}

}  // namespace reprefill::calibrate
