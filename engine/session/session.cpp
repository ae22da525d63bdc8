#include "engine/session/session.hpp"

#include <algorithm>
#include <list>

#include "core/pipeline/reordering.hpp"
#include "engine/session/appended_segments.hpp"
#include "engine/session/prepared_selections.hpp"
#include "engine/session/store_reads.hpp"
#include "engine/session/stored_kv.hpp"
#include "engine/store/system_layouts.hpp"

namespace reprefill::engine {

using namespace pipeline;

Model Model::open(const std::filesystem::path& folder, const std::filesystem::path& tokenizer,
                  const ExecutorOptions& options) {
  Model model;
  model.checkpoint = std::make_unique<Checkpoint>(Checkpoint::open(folder));
  model.tokenizer =
      std::make_unique<Tokenizer>(Tokenizer::open(tokenizer.empty() ? folder / "tokenizer.json" : tokenizer));
  model.tokenizer->check_against_vocab(model.checkpoint->geometry().vocab);
  model.executor = open_executor(*model.checkpoint, options);
  return model;
}

namespace {

/// A request in flight: its coroutine and what it has done so far.
struct InFlight {
  std::size_t index = 0;  // of its prompt
  std::vector<std::int32_t> ids;
  RequestOutcome outcome;
  Task task;
};

/// TTFT ends with the first-token operation, not with the resumption of the coroutine that waited for it.
Nanoseconds first_token_time(const RequestOutcome& outcome) {
  for (const record::Span& span : outcome.spans) {
    if (span.operation == record::Operation::first_token) return span.end;
  }
  REPREFILL_CHECK(false, "request {} ended without a first token", outcome.request.id);
  return {};
}

SoftwarePath resolve_path(const SessionOptions& options) {
  SoftwarePath path = default_software_path(options.path);
  software_path_params().read(JsonValue(options.path_params, "software path"), path);
  return path;
}

}  // namespace

struct Session::Impl final : RealMachineObserver {
  Impl(Model& model, const Store* store, const SessionOptions& options);
  ~Impl() override { machine->stop(); }  // first: lanes look at requests and at the system

  void on_span(const record::Span& span) override;
  void on_selection(const Request& request, int layer_idx, const ScoreSpec& spec, const Scores& scores,
                    const Selection& selection) override;
  void on_attend(const Request& request, int layer_idx, const pipeline::KvView& view) override;

  std::vector<SegmentSpan> find_stored(std::span<const std::int32_t> ids) const;
  Request resolve(std::span<const std::int32_t> ids, std::uint32_t number, const Store* then = nullptr) const;
  void foresee_all();
  bool can_start(std::size_t next) const;
  void check_fits(const Request& request) const;
  void start(const Prompt& prompt, std::size_t index);
  void collect_finished(std::vector<RequestOutcome>& outcomes);
  void finish(InFlight& request);
  void generate(InFlight& request, std::uint32_t max_tokens);
  void open_reads(const SessionOptions& options);
  Bytes stored_payload() const;
  void record_full(const Request& request, std::span<const std::int32_t> own_ids);
  void open_appended();
  void check_foresees(const std::string& found) const;
  void begin_append(InFlight& entry);
  void append_with_output(InFlight& entry);
  void wait_for_all();
  void pin_new_keys();
  void check_conversations() const;
  std::vector<std::int32_t> ids_of(const Prompt& prompt) const;

  Model& model;
  const Store* store;
  SessionOptions options;
  SystemEnvironment environment;
  Json resolved;
  cache::DecisionLog decisions;
  cache::DecisionLog identification_decisions;
  std::unique_ptr<AppendedSegments> appended;  // null: nothing is
  AppendCounts append_counts;
  std::uint32_t num_to_pin = 0;   // segments that were there when keys were last pinned
  std::vector<SegmentId> to_pin;  // of these: without pinned identification keys yet
  std::unique_ptr<ResidentPrefixes> resident;
  std::unique_ptr<StoreReads> reads;
  std::optional<PreparedSelections> selections;
  RunClock clock;
  std::unique_ptr<RealMachine> machine;
  std::unique_ptr<System> system;  // after the machine: it holds operations, and these hold the machine's memory
  std::uint32_t next_number = 0;

  // Of the call to `serve` in progress.
  std::span<const Prompt> prompts;
  std::vector<std::vector<std::int32_t>> said;  // of each prompt that is done, with its answer
  const SessionCallbacks* callbacks = nullptr;
  ImportanceRecorder* recorder = nullptr;
  std::list<InFlight> in_flight;  // after the machine: coroutines let go of its operations first
};

Session::Impl::Impl(Model& opened, const Store* opened_store, const SessionOptions& wanted)
    : model(opened), store(opened_store), options(wanted) {
  environment.geometry = model.checkpoint->geometry();
  environment.path = resolve_path(options);
  environment.max_in_flight = options.max_in_flight;
  environment.importance = options.selections;
  if (store != nullptr) {
    environment.store_block_tokens = store->manifest().store_block_tokens;
    environment.segment_tokens = [this](SegmentId segment) { return store->segment(segment).num_tokens(); };
    environment.token_places = [this](SegmentId segment, int layer_idx) {
      return reads ? reads->token_places(segment, layer_idx) : std::span<const std::uint32_t>{};
    };
  }
  const Json name = options.system;
  const SystemEntry& entry = find_system(JsonValue(name, "--system"));
  const Json params = entry.resolve(JsonValue(options.system_params, "--set"), options.path);
  resolved = {{"system", entry.name}, {"params", params}, {"path", software_path_params().write(environment.path)}};
  system = entry.make(params, environment);
  if (system->cache() != nullptr) system->cache()->set_decision_log(&decisions);
  if (cache::TieredCache* keys = system->identification_cache()) keys->set_decision_log(&identification_decisions);
  if (system->foresees() && options.selections == nullptr) {
    throw ConfigError(
        fmt::format("--selections: {} knows selections before the request and needs a trace of them: "
                    "record one with --record-importance under contiguous_kv",
                    entry.name));
  }
  if (system->reuses_prefix() && store == nullptr) {
    throw ConfigError(fmt::format("--store: {} reuses stored prefixes and needs a store", entry.name));
  }
  if (const Reordering* on = system->reordering(); on != nullptr && on->params().io == ReorderIo::background) {
    throw ConfigError(
        "reorder.io: found background, which the simulator has; expected off, or offline after `reprefill store "
        "reorder`: the engine writes no store while it serves from it");
  }
  open_appended();
  if (system->store_layout() != nullptr) {
    open_reads(options);
  } else if (system->reuses_prefix()) {
    resident = std::make_unique<ResidentPrefixes>(*store, *model.executor);
  }
  if (options.selections != nullptr) selections.emplace(*options.selections);
  machine = std::make_unique<RealMachine>(
      RealMachineOptions{.clock = &clock,
                         .executor = model.executor.get(),
                         .system = system.get(),
                         .environment = &environment,
                         .reads = reads.get(),
                         .stored = store == nullptr ? Bytes{} : stored_payload(),
                         .resident = [this](SegmentId segment, int layer) { return resident->layer(segment, layer); },
                         .selections = selections ? &*selections : nullptr},
      *this);
  decisions.set_observer(&machine->cache_observer());
  identification_decisions.set_observer(&machine->cache_observer());
  pin_new_keys();
}

/// The store is the session's own view of it from here on.
void Session::Impl::open_appended() {
  if (options.append == Append::none) return;
  resolved["append"] = enum_name(options.append);
  resolved["append_kv"] = enum_name(options.append_kv);
  if (!system->reuses_prefix()) return;  // it stores nothing, and would find nothing
  const std::string found = fmt::format("append: found {} with ", enum_name(options.append));
  if (system->store_layout() == nullptr) {
    throw ConfigError(found +
                      "resident, whose prefixes are in GPU memory from the start; expected a system that reads");
  }
  check_foresees(found);
  if (const Reordering* on = system->reordering(); on != nullptr && on->is_on()) {
    throw ConfigError(found + "reorder.io offline, whose order no new segment has; expected reorder.io off, or none");
  }
  appended = std::make_unique<AppendedSegments>(*store, store->layout_for(make_stored_layout(*system->store_layout())));
  store = &appended->index();
}

/// Who knows the run before it begins must know what every request will find stored.
void Session::Impl::check_foresees(const std::string& found) const {
  if (!system->foresees()) return;
  if (options.append == Append::suffix_and_output) {
    throw ConfigError(found +
                      "oracle, which must know what every request finds stored before the run, when no answer is "
                      "known; expected suffix, or none");
  }
  if (options.max_in_flight > 1) {
    throw ConfigError(fmt::format(
        "{}oracle and {} requests in flight; expected 1: oracle must know what every request finds stored before the "
        "run, and which of them finds what another appends is a matter of time",
        found, options.max_in_flight));
  }
}

/// Those of segments that were not there, or not visible, before.
void Session::Impl::pin_new_keys() {
  if (!system->pins_identification_keys()) return;
  while (num_to_pin < store->num_segments()) to_pin.push_back(SegmentId{num_to_pin++});
  std::vector<SegmentId> visible;
  std::erase_if(to_pin, [&](SegmentId segment) {
    if (appended && !appended->is_visible(segment)) return false;
    visible.push_back(segment);
    return true;
  });
  if (visible.empty()) return;
  wait_for_all();  // a segment can be read when its last layer is written
  machine->pin_identification_keys(visible);
}

Bytes Session::Impl::stored_payload() const {
  std::uint64_t tokens = 0;
  for (std::uint32_t i = 0; i < store->num_segments(); ++i) tokens += store->segment(SegmentId{i}).num_tokens();
  return Bytes{tokens * environment.geometry.kv_bytes_per_token().value};
}

/// Staging is locked memory: no more of it than the longest stored path can fill, and one layer's largest read.
void Session::Impl::open_reads(const SessionOptions& wanted) {
  if (environment.path.read_target == pipeline::ReadTarget::gpu) {
    throw ConfigError("software path: found reads that land in GPU memory (gds); the engine has prototype and direct");
  }
  std::uint64_t longest = 0;
  for (std::uint32_t i = 0; i < store->num_segments(); ++i) {
    std::uint64_t tokens = 0;
    for (const SegmentSpan& span : store->path_of(SegmentId{i})) tokens += span.num_tokens;
    longest = std::max(longest, tokens);
  }
  // What will be appended is not known yet; reads of more land outside this memory, and the report counts them.
  constexpr std::uint64_t kAppendedTokens = 4096;
  if (appended) longest += kAppendedTokens;
  const std::uint64_t payload = longest * environment.geometry.kv_bytes_per_token().value;
  const std::uint64_t largest = system->largest_read(static_cast<std::uint32_t>(longest)).value;
  const std::uint64_t needed = (2 * payload + largest) * static_cast<std::uint64_t>(environment.max_in_flight);
  const Reordering* reordering = system->reordering();
  reads =
      open_store_reads({.store = store,
                        .layout_idx = store->layout_for(make_stored_layout(*system->store_layout())),
                        .path = &environment.path,
                        .staging = std::min(system->staging(), Bytes{needed}),
                        .buffered = wanted.buffered_reads || wanted.path == PathKind::prototype,
                        .unregistered_buffers = wanted.unregistered_buffers,
                        .gpu = model.executor->gpu(),
                        .verify = wanted.verify_reads,
                        .calibration_requests = reordering == nullptr ? 0 : reordering->params().calibration_requests},
                       clock);
  if (reordering == nullptr) return;
  // Places are in memory before a request needs them (reference 3.2: lists in the radix tree).
  for (std::uint32_t i = 0; i < store->num_segments(); ++i) reads->token_places(SegmentId{i}, 0);
}

void Session::Impl::on_span(const record::Span& span) {
  if (span.operation == record::Operation::write) {
    ++append_counts.writes;
    append_counts.bytes += span.bytes;
  }
  for (InFlight& request : in_flight) {
    if (request.outcome.request.id == span.request) request.outcome.spans.push_back(span);
  }
}

void Session::Impl::on_selection(const Request& request, int layer_idx, const ScoreSpec& spec, const Scores& scores,
                                 const Selection& selection) {
  if (recorder != nullptr && recorder->mode() == RecordMode::as_run) {
    recorder->add_selection(request, layer_idx, spec, scores, selection);
  }
}

void Session::Impl::on_attend(const Request& request, int layer_idx, const pipeline::KvView& view) {
  if (callbacks->on_attend) callbacks->on_attend(request, layer_idx, view);
}

std::vector<SegmentSpan> Session::Impl::find_stored(std::span<const std::int32_t> ids) const {
  return appended ? appended->match(ids) : store->match(ids);
}

/// `then`: the store as it will be when the request begins.
Request Session::Impl::resolve(std::span<const std::int32_t> ids, std::uint32_t number, const Store* then) const {
  Request request;
  request.id = number;
  request.importance_id = number;
  request.prompt_tokens = static_cast<std::uint32_t>(ids.size());
  if (ids.empty()) throw ConfigError(fmt::format("request {}: the prompt has no tokens", number));
  if (system->reuses_prefix()) {
    // At least one token is computed: the one whose logits are wanted.
    const std::span<const std::int32_t> reusable = ids.first(ids.size() - 1);
    request.stored_prefix = then != nullptr ? then->match(reusable) : find_stored(reusable);
    for (const SegmentSpan& span : request.stored_prefix) request.stored_tokens += span.num_tokens;
  }
  if (appended) request.account.approximate_tokens_reused = appended->approximate_tokens(request.stored_prefix);
  request.own_tokens = request.prompt_tokens - request.stored_tokens;
  request.hit_trace_tokens = request.stored_tokens;
  check_fits(request);
  return request;
}

std::vector<std::int32_t> Session::Impl::ids_of(const Prompt& prompt) const {
  std::vector<std::int32_t> ids = prompt.ids.empty() ? model.tokenizer->encode(prompt.text) : prompt.ids;
  if (prompt.continues) {
    const std::vector<std::int32_t>& before = said.at(*prompt.continues);
    ids.insert(ids.begin(), before.begin(), before.end());
  }
  return ids;
}

void Session::Impl::check_conversations() const {
  if (std::ranges::none_of(prompts, [](const Prompt& prompt) { return prompt.continues.has_value(); })) return;
  if (system->foresees()) throw ConfigError("continues: found a system that knows all prompts before the run");
}

/// A turn waits for the answer before, and the prompts behind it for their turn.
bool Session::Impl::can_start(std::size_t next) const {
  if (next == prompts.size()) return false;
  const std::optional<std::size_t>& before = prompts[next].continues;
  return !before || !said[*before].empty();
}

/// Of prompts that append, what the ones before them will have stored by then: one after the other, as they are served.
void Session::Impl::foresee_all() {
  std::optional<Store> then;
  if (appended) then.emplace(*store);
  for (std::size_t i = 0; i < prompts.size(); ++i) {
    const std::vector<std::int32_t> ids = ids_of(prompts[i]);
    system->foresee(resolve(ids, next_number + static_cast<std::uint32_t>(i), then ? &*then : nullptr));
    if (!then) continue;
    NewSegment missing = then->missing_part(ids);
    if (missing.token_ids.empty()) continue;
    const SegmentKey key = make_segment_key(then->manifest().model.fingerprint, missing.parent, missing.token_ids);
    then->add({.key = key, .parent = missing.parent, .token_ids = std::move(missing.token_ids)});
  }
}

/// Reads and workspace are bounded; a request that no amount of waiting makes fit is refused, with the numbers.
void Session::Impl::check_fits(const Request& request) const {
  const Bytes needed = system->one_layer_working_set(request.stored_tokens);
  const Bytes workspace{system->workspace().value / static_cast<std::uint64_t>(environment.max_in_flight)};
  const auto check = [&](const char* key, Bytes wanted, Bytes found) {
    if (wanted <= found) return;
    throw ConfigError(
        fmt::format("{}: one layer of a request with {} stored tokens needs {} bytes, there are {}; set it "
                    "higher",
                    key, request.stored_tokens, wanted.value, found.value));
  };
  if (needed.value == 0) return;
  check("workspace_bytes", needed, workspace);
  check("staging_bytes", system->largest_read(request.stored_tokens), system->staging());
}

void Session::Impl::start(const Prompt& prompt, std::size_t index) {
  pin_new_keys();  // first: spans of others that end meanwhile must not find a request without a number
  InFlight& entry = in_flight.emplace_back();
  entry.index = index;
  const std::vector<std::int32_t>& ids = entry.ids = ids_of(prompt);
  entry.outcome.name = prompt.name;
  entry.outcome.request = resolve(ids, next_number++);
  const Request& request = entry.outcome.request;
  RequestInput input;
  input.own_ids.assign(ids.begin() + request.stored_tokens, ids.end());
  input.prefix_ids.assign(ids.begin(), ids.begin() + request.stored_tokens);
  input.keep_views = prompt.max_tokens > 1 || callbacks->after_first_token;
  // Tokenising and look-up were needed to know the request; here they are done again where the request waits for them.
  if (prompt.ids.empty()) input.tokenise = [this, &prompt] { model.tokenizer->encode(prompt.text); };
  if (store != nullptr) input.look_up = [this, ids] { find_stored(ids); };
  if (resident) {
    machine->run_on_compute([&] { resident->load(request.stored_prefix, environment.geometry.num_layers); });
  }
  if (recorder != nullptr && recorder->mode() == RecordMode::full) record_full(request, input.own_ids);
  if (selections) selections->prepare(request);
  machine->begin_request(request, std::move(input));
  if (options.append == Append::suffix) begin_append(entry);
  entry.outcome.arrival = entry.outcome.admission = machine->now();
  entry.task = system->serve(*machine, entry.outcome.request);
  entry.task.start();
}

/// The system's own coroutine issues the writes.
void Session::Impl::begin_append(InFlight& entry) {
  if (!appended) return;
  Request& request = entry.outcome.request;
  const AppendedSegments::Rule rule{.append_kv = options.append_kv, .system_prunes = system->prunes()};
  std::optional<NewKv> kv = appended->add(entry.ids, request, rule);
  if (!kv) return;
  ++append_counts.segments;
  machine->will_append(request.id, std::move(*kv));
}

/// Once the output is known: only then is it known which blocks it fills. Of its last token no KV was computed.
void Session::Impl::append_with_output(InFlight& entry) {
  const std::vector<std::int32_t>& generated = entry.outcome.generated;
  entry.ids.insert(entry.ids.end(), generated.begin(), generated.end() - 1);
  begin_append(entry);
  Request& request = entry.outcome.request;
  if (!request.append) return;
  constexpr std::uint32_t kPrefillBlockTokens = 2048;  // the pipelines' default, semantics 3
  const layout::StoreLayout& layout = *system->store_layout();
  const int num_layers = environment.geometry.num_layers;
  if (request.append->recompute_tokens > 0) {
    append_recomputed(*machine, request, layout, {.num_layers = num_layers, .block_tokens = kPrefillBlockTokens}, {},
                      nullptr);
    return;
  }
  for (int layer = 0; layer < num_layers; ++layer) append_layer(*machine, request, layout, layer, {}, nullptr);
}

void Session::Impl::wait_for_all() {
  while (machine->num_unfinished() > 0) machine->wait();
}

/// Scores of the whole prefix at every layer, under full KV: a forward pass of its own, before the request.
void Session::Impl::record_full(const Request& request, std::span<const std::int32_t> own_ids) {
  if (request.stored_tokens == 0) return;
  wait_for_all();  // for what the request before appends
  machine->run_on_compute([&] {
    StoredKv kv(*store, *model.executor);
    std::vector<StoredKv::Layer> layers;
    const std::unique_ptr<Sequence> sequence = model.executor->begin(own_ids, request.stored_tokens);
    const OwnRange all{0, request.own_tokens};
    for (int layer = 0; layer < environment.geometry.num_layers; ++layer) {
      const std::vector<KvPage> pages = kv.read_prefix(request.stored_prefix, layer, layers);
      std::vector<KeyPage> key_pages;
      for (const StoredKv::Layer& layer_of_segment : layers) {
        key_pages.push_back({.keys = layer_of_segment.keys.data(), .num_tokens = layer_of_segment.num_tokens});
      }
      model.executor->project(*sequence, layer, all);
      recorder->add_layer(
          *model.executor, *sequence, request, layer,
          {.pages = key_pages, .num_tokens = request.stored_tokens, .num_heads = environment.geometry.num_kv_heads});
      model.executor->attend(*sequence, layer, all,
                             reprefill::KvView{.pages = pages, .num_tokens = request.stored_tokens});
    }
  });
}

void Session::Impl::collect_finished(std::vector<RequestOutcome>& outcomes) {
  for (auto entry = in_flight.begin(); entry != in_flight.end();) {
    if (!entry->task.done()) {
      ++entry;
      continue;
    }
    entry->task.check();
    finish(*entry);
    outcomes[entry->index] = std::move(entry->outcome);
    entry = in_flight.erase(entry);
  }
}

void Session::Impl::finish(InFlight& entry) {
  RequestOutcome& outcome = entry.outcome;
  const std::uint32_t id = outcome.request.id;
  outcome.first_token = first_token_time(outcome);
  outcome.time = record::classify_time(outcome.arrival, outcome.admission, outcome.first_token, outcome.spans);
  outcome.generated = {machine->first_token_id(id)};
  if (options.keep_logits) {
    const std::span<const float> logits = machine->logits(id);
    outcome.first_logits.assign(logits.begin(), logits.end());
  }
  if (callbacks->after_first_token) callbacks->after_first_token(*machine, outcome.request, outcome);
  generate(entry, prompts[entry.index].max_tokens);
  said[entry.index] = entry.ids;
  said[entry.index].insert(said[entry.index].end(), outcome.generated.begin(), outcome.generated.end());
  if (options.append == Append::suffix_and_output) append_with_output(entry);
  machine->end_request(id);
  if (!options.keep_spans) outcome.spans.clear();
  if (callbacks->on_outcome) callbacks->on_outcome(outcome);
}

/// Greedy. Every layer sees of the prefix what the first token saw.
void Session::Impl::generate(InFlight& entry, std::uint32_t max_tokens) {
  const std::vector<std::int32_t>& ends = model.checkpoint->config().end_of_sequence_ids;
  std::vector<std::int32_t>& generated = entry.outcome.generated;
  while (generated.size() < max_tokens && std::find(ends.begin(), ends.end(), generated.back()) == ends.end()) {
    generated.push_back(machine->decode(entry.outcome.request.id, generated.back()));
  }
}

Session::Session(Model& model, const Store* store, const SessionOptions& options)
    : impl_(std::make_unique<Impl>(model, store, options)) {}
Session::~Session() = default;

std::vector<RequestOutcome> Session::serve(std::span<const Prompt> prompts, const SessionCallbacks& callbacks,
                                           ImportanceRecorder* recorder) {
  Impl& impl = *impl_;
  REPREFILL_CHECK(impl.in_flight.empty(), "a session serves nothing after a failure");
  impl.prompts = prompts;
  impl.said.assign(prompts.size(), {});
  impl.check_conversations();
  impl.callbacks = &callbacks;
  impl.recorder = recorder;
  if (impl.system->foresees()) impl.foresee_all();
  std::vector<RequestOutcome> outcomes(prompts.size());
  const auto limit = static_cast<std::size_t>(impl.environment.max_in_flight);
  for (std::size_t next = 0; next < prompts.size() || !impl.in_flight.empty();) {
    if (callbacks.interrupted != nullptr && *callbacks.interrupted) throw Interrupted();
    while (impl.can_start(next) && impl.in_flight.size() < limit) impl.start(prompts[next], next), ++next;
    impl.machine->resume_ready();
    impl.collect_finished(outcomes);
    const bool is_full = impl.in_flight.size() == limit || !impl.can_start(next);
    if (!impl.in_flight.empty() && is_full && !impl.machine->has_ready()) impl.machine->wait();
  }
  // Demotions and unneeded prefetch of the last requests: nothing waits for them, but their memory is still in use.
  impl.wait_for_all();
  return outcomes;
}

Request Session::resolve(const Prompt& prompt, std::uint32_t number) const {
  return impl_->resolve(impl_->ids_of(prompt), number);
}
const System& Session::system() const { return *impl_->system; }
const SoftwarePath& Session::path() const { return impl_->environment.path; }
const Json& Session::resolved() const { return impl_->resolved; }
std::string Session::describe_storage() const { return impl_->reads ? impl_->reads->describe() : "no reads"; }
const cache::DecisionLog& Session::decisions() const { return impl_->decisions; }
const cache::DecisionLog& Session::identification_decisions() const { return impl_->identification_decisions; }
AppendCounts Session::append_counts() const { return impl_->append_counts; }
const RealMachine& Session::machine() const { return *impl_->machine; }
Bytes Session::resident_bytes(cache::Tier tier) const {
  Bytes bytes;
  for (const cache::TieredCache* cache : {impl_->system->cache(), impl_->system->identification_cache()}) {
    if (cache != nullptr) bytes += cache->resident_bytes(tier);
  }
  return bytes;
}
Bytes Session::device_peak() const { return impl_->machine->device_peak(); }
Bytes Session::host_peak() const { return impl_->machine->host_peak(); }

}  // namespace reprefill::engine
