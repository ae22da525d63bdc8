// A model, its tokenizer, a prefix store and one system, ready to serve requests on this machine.
#pragma once

#include <atomic>
#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "core/pipeline/append.hpp"
#include "core/pipeline/request.hpp"
#include "core/pipeline/system.hpp"
#include "core/record/time_classes.hpp"
#include "engine/executor/open_executor.hpp"
#include "engine/real_machine/real_machine.hpp"
#include "engine/session/importance_recorder.hpp"
#include "engine/session/prompts.hpp"
#include "engine/store/store.hpp"

namespace reprefill::engine {

/// What stays the same for all systems: read once, shared by sessions. Outlives them.
struct Model {
  static Model open(const std::filesystem::path& folder, const std::filesystem::path& tokenizer,
                    const ExecutorOptions& options);

  std::unique_ptr<Checkpoint> checkpoint;
  std::unique_ptr<Tokenizer> tokenizer;
  std::unique_ptr<Executor> executor;
};

struct SessionOptions {
  std::string system = "contiguous_kv";
  Json system_params = Json::object();  // over the path's defaults
  pipeline::PathKind path = pipeline::PathKind::direct;
  Json path_params = Json::object();
  int max_in_flight = 1;
  bool buffered_reads = false;        // through the page cache: the prototype path does so anyway
  bool unregistered_buffers = false;  // where locked memory is short
  bool verify_reads = false;          // checksums of everything that was read
  pipeline::Append append = pipeline::Append::none;
  pipeline::AppendKv append_kv = pipeline::AppendKv::as_computed;
  const traces::ImportanceSource* selections = nullptr;
  bool keep_logits = false;
  bool keep_spans = false;
};

struct RequestOutcome {
  std::string name;
  pipeline::Request request;  // with its account
  Nanoseconds arrival{0};
  Nanoseconds admission{0};
  Nanoseconds first_token{0};
  record::TimeBreakdown time;
  std::vector<std::int32_t> generated;
  std::vector<float> first_logits;  // with keep_logits
  std::vector<record::Span> spans;  // with keep_spans: its own, until its first token
  Nanoseconds ttft() const { return first_token - arrival; }
};

/// What a session's requests have appended so far.
struct AppendCounts {
  std::uint64_t segments = 0;
  std::uint64_t writes = 0;  // of a layer each
  Bytes bytes;               // of the layout's slabs, as accounts count them
};

/// What a caller may follow while requests run.
struct SessionCallbacks {
  std::function<void(const pipeline::Request&, int layer_idx, const pipeline::KvView&)> on_attend = nullptr;
  std::function<void(const RequestOutcome&)> on_outcome = nullptr;
  /// The request has its first token and may be decoded further; it ends when this returns.
  std::function<void(RealMachine&, const pipeline::Request&, RequestOutcome&)> after_first_token = nullptr;
  const std::atomic<bool>* interrupted = nullptr;
};

class Session {
 public:
  /// `store` may be null for a system that reuses nothing. Throws ConfigError for parameters, layouts that the store
  /// lacks (with the command that writes them), another model's store, and for what cannot append.
  Session(Model& model, const Store* store, const SessionOptions& options);
  ~Session();

  /// Serves all prompts, `max_in_flight` at a time, in order; caches stay warm from one call to the next. Afterwards
  /// `outcomes` are in the order of the prompts.
  std::vector<RequestOutcome> serve(std::span<const Prompt> prompts, const SessionCallbacks& callbacks,
                                    ImportanceRecorder* recorder = nullptr);

  /// A prompt as a request: what the store holds of it, and what is left to compute.
  pipeline::Request resolve(const Prompt& prompt, std::uint32_t number) const;

  const pipeline::System& system() const;
  const pipeline::SoftwarePath& path() const;
  /// System and software path with every parameter, for output.
  const Json& resolved() const;
  /// What stands behind the reads: file system, direct or buffered, registered or not.
  std::string describe_storage() const;
  const cache::DecisionLog& decisions() const;
  const cache::DecisionLog& identification_decisions() const;
  AppendCounts append_counts() const;
  const RealMachine& machine() const;
  /// What the cache of the system says that a tier holds, identification keys included.
  Bytes resident_bytes(cache::Tier tier) const;
  Bytes device_peak() const;
  Bytes host_peak() const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace reprefill::engine
