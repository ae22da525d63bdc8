// Raw samples on disk: what --resume goes on from, and what a bundle keeps as evidence.
#pragma once

#include <map>

#include "calibrate/meter/measurement.hpp"
#include "core/record/result_folder.hpp"

namespace reprefill::calibrate {

/// One checksummed row a turn in `folder`/journal.jsonl. With another plan or on another machine it is refused, naming
/// the first difference.
class SampleJournal final : public SampleStore {
 public:
  SampleJournal(const std::filesystem::path& folder, const Json& plan, record::ResultFolder::Mode mode);

  std::vector<Turn> turns_of(const std::string& cell_id) const override;
  void append(const std::string& cell_id, const Turn& turn) override;
  std::size_t num_turns() const { return num_turns_; }

 private:
  record::ResultFolder folder_;
  std::map<std::string, std::vector<Turn>> turns_;
  std::size_t num_turns_ = 0;
};

}  // namespace reprefill::calibrate
