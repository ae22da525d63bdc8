// A Re-Prefill system: a plan of operations, written once and run on every machine.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "core/cache/tiered_cache.hpp"
#include "core/layout/store_layout.hpp"
#include "core/model/geometry.hpp"
#include "core/pipeline/machine.hpp"
#include "core/pipeline/request.hpp"
#include "core/pipeline/software_path.hpp"
#include "core/pipeline/task.hpp"

namespace reprefill::pipeline {

class Reordering;

/// What a system is built for; outlives it.
struct SystemEnvironment {
  ModelGeometry geometry;
  SoftwarePath path;
  std::uint32_t store_block_tokens = 64;
  int max_in_flight = 1;
  /// Scores before anybody computed them: only a system that knows the future (`oracle`) asks. Null: there are none.
  const traces::ImportanceSource* importance = nullptr;
  /// Length of a stored segment in tokens; 0 once it has left the store.
  std::function<std::uint32_t(SegmentId)> segment_tokens;
  /// [token of the segment] -> its place in the payload, where the store has another order than the tokens' own (empty:
  /// it has not). Only a system whose layout has a permutation asks. Null: there are none.
  std::function<std::span<const std::uint32_t>(SegmentId, int layer_idx)> token_places = nullptr;
};

class System {
 public:
  virtual ~System() = default;
  /// The coroutine that serves one request, from arrival to its first token. `request` and `machine` outlive it.
  virtual Task serve(Machine& machine, Request& request) = 0;
  /// True: wants to be told, by `foresee`, of all requests of the run in their order, before it serves the first.
  virtual bool foresees() const { return false; }
  virtual void foresee(const Request&) {}
  /// Waiting requests, first come first, that want to be announced before their turn; results depend on timing if any.
  virtual std::uint32_t scheduler_lookahead() const { return 0; }
  /// `request`, whose account takes what is read for it, outlives nothing: it is served later as another object with
  /// the same id.
  virtual void announce(Machine&, Request& /*request*/) {}
  /// False: stored prefixes are of no use to it, everything is computed.
  virtual bool reuses_prefix() const { return true; }
  /// Where this system's pieces lie in the store; null for a system that stores nothing.
  virtual const layout::StoreLayout* store_layout() const { return nullptr; }
  virtual cache::TieredCache* cache() { return nullptr; }
  /// Keys for scoring that are kept in host memory by a policy of their own; null where there is none.
  virtual cache::TieredCache* identification_cache() { return nullptr; }
  /// All of them are always in host memory.
  virtual bool pins_identification_keys() const { return false; }
  /// Its scorer has no kernel: scoring is charged to the host and rows say so.
  virtual bool scores_on_host() const { return false; }
  /// The largest working set of one layer for a request with this many stored tokens; `check` compares it with the
  /// workspace and staging sizes.
  virtual Bytes one_layer_working_set(std::uint32_t stored_tokens) const = 0;
  /// No read of one layer of such a request asks the device for more, alignment included: what staging must hold.
  virtual Bytes largest_read(std::uint32_t stored_tokens) const { return one_layer_working_set(stored_tokens); }
  /// Own tokens attend to a part of the stored prefix only, so that their KV is approximate.
  virtual bool prunes() const { return false; }
  /// Stored tokens in an order of their importance; null for a system that has none, or has it off.
  virtual const Reordering* reordering() const { return nullptr; }
  /// With these parameters decisions or bytes depend on durations (design 4): results are flagged.
  virtual bool timing_dependent() const { return false; }
  virtual Bytes workspace() const { return Bytes{0}; }
  virtual Bytes staging() const { return Bytes{std::uint64_t{1} << 40}; }
};

/// One row of the table of systems: everything `reprefill systems` prints and a scenario may say.
struct SystemEntry {
  std::string name;
  std::string doc;
  bool timing_dependent = false;
  bool needs_selections = false;  // known before a request: `run` needs a trace of them
  bool is_preset = false;         // of another system's code; a store has its layout only if asked
  /// Reads and checks params (for errors and `check`), giving the resolved ones.
  std::function<Json(const JsonValue& params, PathKind)> resolve;
  std::function<std::unique_ptr<System>(const Json& resolved, const SystemEnvironment&)> make;
  std::function<std::vector<ParamInfo>()> params;
  std::function<std::vector<std::string>()> param_names;  // every accepted key
};

const std::vector<SystemEntry>& system_registry();
/// A row from outside the tree, before anything reads the table. Throws ConfigError where the name is taken.
void register_system(SystemEntry system, const std::string& origin);
/// Throws ConfigError with the known names.
const SystemEntry& find_system(const JsonValue& name);

}  // namespace reprefill::pipeline
