// What a session appends is what was computed, byte for byte; it is the session's own, and the store stays as it was.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <csignal>
#include <cstring>

#include <sys/wait.h>
#include <unistd.h>

#include "engine/session/appended_segments.hpp"
#include "engine/store/synthesize.hpp"
#include "engine/store/verify.hpp"
#include "tests/engine/session/conversation_fixture.hpp"

namespace reprefill::engine {
namespace {

namespace fs = std::filesystem;
using namespace test_support;
using pipeline::Append;
using pipeline::AppendKv;
using pipeline::PathKind;
using testing::HasSubstr;
using testing::ThrowsMessage;

const Variant kAttentionStore{.name = "as", .system = "attention_store"};
const Variant kContiguousKv{.name = "ckv", .system = "contiguous_kv", .params = {{"budget", 0.25}}};
const Variant kImpress{.name = "impress", .system = "impress", .params = {{"budget", 0.25}}};

class AppendedKv : public testing::Test {
 protected:
  static void SetUpTestSuite() { small_ = new SmallModel; }
  static void TearDownTestSuite() { delete small_; }

  static SessionOptions options_for(const Variant& variant, Append append, AppendKv append_kv = AppendKv::as_computed) {
    SessionOptions options = session_options(variant, PathKind::direct);
    options.append = append;
    options.append_kv = append_kv;
    options.verify_reads = true;
    return options;
  }
  static std::vector<Turn> serve(const Variant& variant, const SessionOptions& options) {
    const EmptyStore store(small_->model, variant, PathKind::direct);
    Session session(small_->model, &*store, options);
    return serve_conversations(session, 40);
  }
  static std::vector<float> plain_logits(const std::vector<std::int32_t>& ids) {
    Session session(small_->model, nullptr,
                    session_options({.name = "recompute", .system = "recompute"}, PathKind::direct));
    const Prompt prompt{.ids = ids};
    return session.serve({&prompt, 1}, {}).front().first_logits;
  }
  static SmallModel* small_;
};
SmallModel* AppendedKv::small_ = nullptr;

TEST_F(AppendedKv, OfSystemsThatKeepEverythingGivesPlainPrefillsLogitsToTheBit) {
  const Variant variants[] = {kAttentionStore,
                              {"ckv", "contiguous_kv", {{"budget", 1}}},
                              {"lmcache", "lmcache_like", {{"kv_layout", {{"block_tokens", 64}}}}},
                              {"hicache", "hicache_like", Json::object()}};
  for (const Variant& variant : variants) {
    for (const AppendKv append_kv : {AppendKv::as_computed, AppendKv::recompute_exact}) {
      std::uint32_t most_stored = 0;
      for (const Turn& turn : serve(variant, options_for(variant, Append::suffix, append_kv))) {
        EXPECT_EQ(turn.outcome.first_logits, plain_logits(turn.prompt)) << variant.name << " " << turn.outcome.name;
        most_stored = std::max(most_stored, turn.outcome.request.stored_tokens);
      }
      EXPECT_GT(most_stored, 500u) << "several turns back";
    }
  }
}

TEST_F(AppendedKv, OfOutputsIsThatOfDecodedTokens) {
  std::uint64_t stored = 0, stored_without_outputs = 0;
  for (const Turn& turn : serve(kAttentionStore, options_for(kAttentionStore, Append::suffix_and_output))) {
    const std::vector<float> plain = plain_logits(turn.prompt);
    // Decoding sums in another order than prefill, and K and V may round to the other bf16 neighbour.
    for (std::size_t id = 0; id < plain.size(); ++id) ASSERT_NEAR(turn.outcome.first_logits[id], plain[id], 0.05);
    stored += turn.outcome.request.stored_tokens;
  }
  for (const Turn& turn : serve(kAttentionStore, options_for(kAttentionStore, Append::suffix))) {
    stored_without_outputs += turn.outcome.request.stored_tokens;
  }
  EXPECT_GT(stored, stored_without_outputs);
}

/// The same conversations with a session for each turn, on a store that a writer appends to in between.
class Twin {
 public:
  Twin(Model& model, const Variant& variant) : model_(model), empty_(model, variant, PathKind::direct) {
    writer_.emplace(empty_.folder(), empty_.manifest());
  }

  std::vector<float> serve(const std::vector<std::int32_t>& ids, const SessionOptions& options, AppendKv append_kv) {
    Session session(model_, &writer_->store(), options);
    std::vector<std::vector<std::byte>> keys, values;
    SessionCallbacks callbacks;
    callbacks.after_first_token = [&](RealMachine& machine, const pipeline::Request& request, RequestOutcome&) {
      machine.with_sequence(request.id, [&](Sequence& sequence) {
        const std::size_t bytes = request.own_tokens * token_bytes();
        for (int layer = 0; layer < 10; ++layer) {
          keys.emplace_back(bytes);
          values.emplace_back(bytes);
          model_.executor->copy_own_kv(sequence, layer, {0, request.own_tokens}, keys.back(), values.back());
        }
      });
    };
    const Prompt prompt{.ids = ids};
    std::vector<float> logits = session.serve({&prompt, 1}, callbacks).front().first_logits;
    if (append_kv == AppendKv::recompute_exact) {
      build_prefix(*model_.executor, *writer_, ids);
      return logits;
    }
    writer_->add_prefix(ids, [&](const NewSegment& missing) -> KvSource {
      return [&, bytes = missing.token_ids.size() * token_bytes()](int layer_idx) {
        const auto layer = static_cast<std::size_t>(layer_idx);
        return LayerKv{.keys = std::span(keys[layer]).first(bytes), .values = std::span(values[layer]).first(bytes)};
      };
    });
    return logits;
  }

 private:
  std::size_t token_bytes() const { return empty_.manifest().model.geometry.tensor_bytes_per_token().value; }

  Model& model_;
  EmptyStore empty_;
  std::optional<StoreWriter> writer_;
};

TEST_F(AppendedKv, OfSystemsThatPruneIsWhatTheStoresWriterWouldHold) {
  for (const Variant& variant : {kContiguousKv, kImpress}) {
    for (const AppendKv append_kv : {AppendKv::as_computed, AppendKv::recompute_exact}) {
      Twin twin(small_->model, variant);
      for (const Turn& turn : serve(variant, options_for(variant, Append::suffix, append_kv))) {
        const std::vector<float> logits = twin.serve(turn.prompt, options_for(variant, Append::none), append_kv);
        EXPECT_EQ(turn.outcome.first_logits, logits)
            << variant.name << " " << enum_name(append_kv) << " " << turn.outcome.name;
      }
    }
  }
}

// ---- whose it is ----

std::vector<std::string> names_in(const fs::path& folder) {
  std::vector<std::string> names;
  for (const auto& entry : fs::recursive_directory_iterator(folder)) names.push_back(entry.path().string());
  std::sort(names.begin(), names.end());
  return names;
}

TEST_F(AppendedKv, IsSoundWhileTheSessionLivesAndGoneBehindIt) {
  const PrefixStore store(small_->model, kContiguousKv, PathKind::direct);
  const std::vector<std::string> before = names_in(store.folder());
  {
    Session session(small_->model, &*store, options_for(kContiguousKv, Append::suffix));
    const std::vector<Turn> turns = serve_conversations(session, 2);
    VerifyReport report;
    for (const auto& entry : fs::directory_iterator(appended_path(store.folder()))) {
      const StoreManifest& manifest = (*store).manifest();
      const auto key = SegmentKey::from_hex(entry.path().filename().string());
      ASSERT_TRUE(key) << entry.path();
      const StoredLayout& layout = manifest.layouts.front();
      verify_file(entry.path() / layout_file_name(layout), manifest, layout, *key, Repair::no, report);
    }
    EXPECT_EQ(report.num_files, 10u);
    EXPECT_TRUE(report.is_sound());
    EXPECT_EQ(Store::open(store.folder()).num_segments(), (*store).num_segments()) << "readers do not see it";
    EXPECT_THAT([&] { Session(small_->model, &*store, options_for(kContiguousKv, Append::suffix)); },
                ThrowsMessage<ConfigError>(HasSubstr(store.folder().string())))
        << "one session at a time appends to a store";
  }
  EXPECT_EQ(names_in(store.folder()), before);
  EXPECT_TRUE(verify_store(scan_store(store.folder()), Repair::no).is_sound());
}

TEST_F(AppendedKv, IsFoundByLaterRequestsOfTheSessionOnly) {
  const EmptyStore store(small_->model, kAttentionStore, PathKind::direct);
  const std::vector<Prompt> requests = some_requests(2);
  for (int i = 0; i < 2; ++i) {
    Session session(small_->model, &*store, options_for(kAttentionStore, Append::suffix));
    EXPECT_EQ(session.serve({&requests[0], 1}, {}).front().request.stored_tokens, 0u);
    EXPECT_EQ(session.serve({&requests[0], 1}, {}).front().request.stored_tokens, 640u);
  }
}

TEST_F(AppendedKv, OfASessionThatEndsInTheMiddleOfARequestIsGoneToo) {
  for (const AppendKv append_kv : {AppendKv::as_computed, AppendKv::recompute_exact}) {
    const PrefixStore store(small_->model, kContiguousKv, PathKind::direct);
    const std::vector<std::string> before = names_in(store.folder());
    for (int end = 1; end < 60; end += 1 + end / 3) {
      {
        Session session(small_->model, &*store, options_for(kContiguousKv, Append::suffix, append_kv));
        int num_layers = 0;
        SessionCallbacks callbacks;
        callbacks.on_attend = [&](const pipeline::Request&, int, const pipeline::KvView&) {
          if (++num_layers == end) throw Interrupted();
        };
        EXPECT_THROW(serve_conversations(session, 2, nullptr, callbacks), Interrupted);
      }
      EXPECT_EQ(names_in(store.folder()), before) << end;
    }
  }
}

// ---- a kill at any moment ----

/// Appends two segments of synthetic KV, one behind the other.
void append_two(const Store& store, const BeforeCall& before) {
  AppendedSegments appended(store, 0, {.direct = DirectIo::off, .before_call = before});
  const std::vector<std::int32_t> ids = some_prefixes().front();
  const std::size_t token_bytes = store.manifest().model.geometry.tensor_bytes_per_token().value;
  for (const std::size_t end : {384u, 640u}) {
    pipeline::Request request;
    const std::optional<NewKv> kv = appended.add(std::span(ids).first(end), request, {});
    REPREFILL_CHECK(kv && kv->first_position + kv->num_tokens == end, "all of it is new");
    std::vector<std::byte> bytes(kv->num_tokens * token_bytes);
    for (int layer = 0; layer < 10; ++layer) {
      fill_synthetic_kv(7, {}, layer, KvTensor::keys, KvType::bf16, bytes);
      kv->store_layer(layer, bytes, bytes);
    }
  }
}

TEST_F(AppendedKv, OfAKilledSessionIsNeverAcceptedAndTheNextRemovesIt) {
  const EmptyStore store(small_->model, kContiguousKv, PathKind::direct);
  std::size_t calls = 0;
  append_two(*store, [&](auto, const auto&) { ++calls; });
  ASSERT_GT(calls, 20u);
  const std::vector<std::string> before = names_in(store.folder());
  std::size_t leftovers_seen = 0;
  for (std::size_t killed_at = 0; killed_at < calls; ++killed_at) {
    const pid_t child = fork();
    if (child == 0) {
      std::size_t call = 0;
      append_two(*store, [&](auto, const auto&) {
        if (call++ == killed_at) raise(SIGKILL);
      });
      _exit(0);
    }
    int status = 0;
    waitpid(child, &status, 0);
    ASSERT_TRUE(WIFSIGNALED(status)) << killed_at;
    const StoreScan scan = scan_store(store.folder());
    EXPECT_TRUE(scan.problems.empty()) << killed_at;
    EXPECT_TRUE(scan.segments.empty()) << killed_at;
    EXPECT_TRUE(verify_store(scan, Repair::no).is_sound()) << killed_at;
    leftovers_seen += scan.leftovers.size();
    if (killed_at % 2 == 0) {
      append_two(Store::open(store.folder()), {});
    } else {
      StoreWriter(store.folder(), store.manifest());
    }
    EXPECT_EQ(names_in(store.folder()), before) << killed_at;
  }
  EXPECT_GT(leftovers_seen, 15u);
}

TEST_F(AppendedKv, ThatCannotBeWrittenEndsTheSessionWithTheFilesName) {
  const EmptyStore store(small_->model, kAttentionStore, PathKind::direct);
  Session session(small_->model, &*store, options_for(kAttentionStore, Append::suffix));
  fs::remove_all(appended_path(store.folder()));  // as if the disk were lost
  const std::vector<Prompt> requests = some_requests(3);
  EXPECT_THAT([&] { session.serve(requests, {}); }, ThrowsMessage<MachineError>(HasSubstr(".appended")));
}

// ---- what cannot be appended ----

TEST_F(AppendedKv, IsRefusedByNameWhereItCannotBe) {
  const auto expect_refused = [&](const Variant& variant, Append append, int in_flight, const char* text) {
    Variant stored = variant;
    stored.params.erase("reorder");
    const EmptyStore store(small_->model, stored, PathKind::direct);
    SessionOptions options = options_for(variant, append);
    options.max_in_flight = in_flight;
    EXPECT_THAT([&] { Session(small_->model, &*store, options); },
                ThrowsMessage<ConfigError>(testing::AllOf(HasSubstr("append"), HasSubstr(text))));
  };
  const Variant oracle{.name = "oracle", .system = "oracle"};
  expect_refused({.name = "resident", .system = "resident"}, Append::suffix, 1, "resident");
  expect_refused(oracle, Append::suffix_and_output, 1, "no answer is known");
  expect_refused(oracle, Append::suffix, 2, "2 requests in flight");
  expect_refused({.name = "reordered", .system = "impress", .params = {{"reorder", {{"io", "offline"}}}}},
                 Append::suffix, 1, "reorder.io offline");
}

}  // namespace
}  // namespace reprefill::engine
