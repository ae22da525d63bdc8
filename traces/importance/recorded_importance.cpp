#include "traces/importance/recorded_importance.hpp"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <set>

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "traces/importance/byte_io.hpp"

namespace reprefill::traces {
namespace {

/// A read-only mapping that lives as long as its handle.
std::pair<std::shared_ptr<const void>, std::span<const std::byte>> map_file(const std::filesystem::path& path) {
  const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0)
    throw ConfigError(fmt::format("{}: cannot open the importance trace: {}", path.string(), std::strerror(errno)));
  struct stat status {};
  const bool is_file = ::fstat(fd, &status) == 0 && S_ISREG(status.st_mode);
  const auto num_bytes = is_file ? static_cast<std::size_t>(status.st_size) : 0;
  void* const address = num_bytes == 0 ? nullptr : ::mmap(nullptr, num_bytes, PROT_READ, MAP_PRIVATE, fd, 0);
  const int error = errno;
  ::close(fd);
  if (!is_file) throw ConfigError(fmt::format("{}: not a regular file", path.string()));
  if (address == MAP_FAILED) throw MachineError(fmt::format("{}: mmap: {}", path.string(), std::strerror(error)));
  if (address == nullptr) return {nullptr, {}};
  std::shared_ptr<const void> owner(
      address, [num_bytes](const void* mapped) { ::munmap(const_cast<void*>(mapped), num_bytes); });
  return {std::move(owner), {static_cast<const std::byte*>(address), num_bytes}};
}

const char* grouping_name(HeadGrouping grouping) {
  switch (grouping) {
    case HeadGrouping::all_heads:
      return "all heads";
    case HeadGrouping::per_kv_head:
      return "KV heads";
    case HeadGrouping::probe_heads:
      return "probed heads";
  }
  return "?";
}

}  // namespace

RecordedImportance RecordedImportance::open(const std::filesystem::path& path, const Options& options) {
  auto [owner, bytes] = map_file(path);
  return RecordedImportance(std::move(owner), bytes, path.string(), options);
}

RecordedImportance RecordedImportance::from_bytes(std::vector<std::byte> bytes, std::string origin,
                                                  const Options& options) {
  auto owner = std::make_shared<const std::vector<std::byte>>(std::move(bytes));
  const std::span<const std::byte> view = *owner;
  return RecordedImportance(std::move(owner), view, std::move(origin), options);
}

RecordedImportance::RecordedImportance(std::shared_ptr<const void> owner, std::span<const std::byte> bytes,
                                       std::string origin, const Options& options)
    : owner_(std::move(owner)), origin_(std::move(origin)) {
  const std::vector<detail::RecordView> records = detail::split_records(bytes, origin_);
  header_ = detail::parse_header(records.front());
  for (std::size_t i = 0; i < header_.channels.size(); ++i) {
    const std::string& name = header_.channels[i].name;
    if (name == options.keys_channel) keys_channel_ = i;
    const bool is_probe = options.probe_channel.empty() ? name.starts_with("probe:") : name == options.probe_channel;
    if (is_probe && !probe_channel_) probe_channel_ = i;
    for (const auto& [digest_name, digest] : EnumNames<KeyDigest>::names) {
      if (digest != KeyDigest::none && name == digest_name) digest_channels_.emplace(digest, i);
    }
  }
  for (const detail::RecordView& record : records) {
    bool is_new = true;
    if (record.kind == detail::scores_record) {
      detail::ScoresView view = detail::parse_scores(record, header_);
      const ScoresKey key{view.request, view.layer_idx, view.channel_idx};
      is_new = scores_.emplace(key, std::move(view)).second;
    } else if (record.kind == detail::selection_record) {
      const RecordedSelection found = detail::parse_selection(record, header_);
      const SelectionKey key{found.request, found.layer_idx, found.channel_idx, found.grouping, found.unit_tokens};
      is_new = selections_.emplace(key, record).second;
    }
    if (!is_new)
      throw ConfigError(fmt::format("{}: repeats an earlier record's request, layer and channel", record.place));
  }
}

std::vector<std::uint64_t> RecordedImportance::requests() const {
  std::set<std::uint64_t> numbers;
  for (const auto& [key, view] : scores_) numbers.insert(std::get<0>(key));
  for (const auto& [key, view] : selections_) numbers.insert(std::get<0>(key));
  return {numbers.begin(), numbers.end()};
}

std::optional<std::size_t> RecordedImportance::channel_of(HeadGrouping grouping, KeyDigest digest) const {
  if (digest != KeyDigest::none && grouping != HeadGrouping::probe_heads) {
    const auto found = digest_channels_.find(digest);
    return found == digest_channels_.end() ? std::nullopt : std::optional(found->second);
  }
  return grouping == HeadGrouping::probe_heads ? probe_channel_ : keys_channel_;
}

std::size_t RecordedImportance::require_channel(HeadGrouping grouping, KeyDigest digest) const {
  if (const auto channel = channel_of(grouping, digest)) return *channel;
  std::string names;
  for (const ImportanceChannel& channel : header_.channels) names += (names.empty() ? "" : " ") + channel.name;
  const std::string wanted = digest == KeyDigest::none ? fmt::format("with scores of {}", grouping_name(grouping))
                                                       : fmt::format("{}", enum_name(digest));
  throw ConfigError(fmt::format("{}: no channel {}; it has: {}", origin_, wanted, names));
}

bool RecordedImportance::has_channel(HeadGrouping grouping) const { return channel_of(grouping).has_value(); }

std::vector<SegmentSpan> RecordedImportance::prefix_of(std::uint64_t request) const {
  const auto found = scores_.lower_bound(ScoresKey{request, 0, 0});
  if (found == scores_.end() || std::get<0>(found->first) != request) {
    throw ConfigError(fmt::format("{}: no scores of request {}: a trace of a full run is needed", origin_, request));
  }
  std::vector<SegmentSpan> prefix;
  for (const std::uint32_t tokens : found->second.span_tokens) {
    prefix.push_back({.segment = SegmentId{static_cast<std::uint32_t>(prefix.size())}, .num_tokens = tokens});
  }
  return prefix;
}

int RecordedImportance::num_layers() const {
  int layers = 0;
  for (const auto& [key, view] : scores_) layers = std::max(layers, std::get<1>(key) + 1);
  return layers;
}

int RecordedImportance::num_groups(HeadGrouping grouping) const {
  const int num_heads = header_.channels[require_channel(grouping)].num_heads;
  return grouping == HeadGrouping::all_heads ? 1 : num_heads;
}

int RecordedImportance::granularity_tokens(HeadGrouping grouping) const {
  return header_.channels[require_channel(grouping)].granularity_tokens;
}

std::optional<RecordedSelection> RecordedImportance::selection(std::uint64_t request, int layer_idx,
                                                               HeadGrouping grouping, int unit_tokens,
                                                               KeyDigest digest) const {
  const auto channel = channel_of(grouping, digest);
  if (!channel) return std::nullopt;
  const auto found = selections_.find({request, layer_idx, *channel, grouping, unit_tokens});
  if (found == selections_.end()) return std::nullopt;
  return detail::parse_selection(found->second, header_);
}

void RecordedImportance::unit_scores(const ImportanceQuery& query, int unit_tokens, std::span<float> out) const {
  const std::size_t channel_idx = require_channel(query.grouping, query.digest);
  const auto groups = static_cast<std::size_t>(num_groups(query.grouping));
  const std::size_t num_out = num_units(query.prefix, unit_tokens);
  REPREFILL_CHECK(out.size() == groups * num_out, "room for {} scores, {} groups of {} units", out.size(), groups,
                  num_out);
  const int leader = query.layer_idx - query.layer_idx % header_.layers_per_period;
  for (int layer = query.layer_idx; layer >= leader; --layer) {
    if (const auto as_run = selection(query.request, layer, query.grouping, unit_tokens, query.digest)) {
      if (as_run->scores.size() != out.size()) {
        throw ConfigError(fmt::format("{}: request {}, layer {}: {} recorded scores, {} units of {} tokens asked for",
                                      origin_, query.request, layer, as_run->scores.size(), out.size(), unit_tokens));
      }
      std::copy(as_run->scores.begin(), as_run->scores.end(), out.begin());
      return;
    }
    if (const auto found = scores_.find({query.request, layer, channel_idx}); found != scores_.end()) {
      sum_runs(found->second, query, unit_tokens, out);
      return;
    }
  }
  throw ConfigError(fmt::format("{}: no scores of request {}, layer {} (or its period from layer {} on) in channel {}",
                                origin_, query.request, query.layer_idx, leader, header_.channels[channel_idx].name));
}

void RecordedImportance::sum_runs(const detail::ScoresView& view, const ImportanceQuery& query, int unit_tokens,
                                  std::span<float> out) const {
  const ImportanceChannel& channel = header_.channels[view.channel_idx];
  if (unit_tokens % channel.granularity_tokens != 0) {
    throw ConfigError(fmt::format("{}: channel {} has runs of {} tokens; units of {} tokens are not a multiple",
                                  origin_, channel.name, channel.granularity_tokens, unit_tokens));
  }
  const std::vector<std::uint32_t> unit_of_run = units_of_runs(view, query, unit_tokens);
  const std::size_t num_out = num_units(query.prefix, unit_tokens);
  std::vector<float> runs(view.num_runs);
  std::vector<double> sums(num_out, 0.0);
  for (int head = 0; head < channel.num_heads; ++head) {
    detail::decode_scores(view, channel, head, runs);
    for (std::size_t i = 0; i < unit_of_run.size(); ++i) sums[unit_of_run[i]] += static_cast<double>(runs[i]);
    if (query.grouping == HeadGrouping::all_heads) continue;
    const auto first = out.begin() + static_cast<std::ptrdiff_t>(static_cast<std::size_t>(head) * num_out);
    std::transform(sums.begin(), sums.end(), first, [](double sum) { return static_cast<float>(sum); });
    std::fill(sums.begin(), sums.end(), 0.0);
  }
  if (query.grouping == HeadGrouping::all_heads) {
    std::transform(sums.begin(), sums.end(), out.begin(), [](double sum) { return static_cast<float>(sum); });
  }
}

/// For the leading runs that the query's prefix covers, the unit that each falls into.
std::vector<std::uint32_t> RecordedImportance::units_of_runs(const detail::ScoresView& view,
                                                             const ImportanceQuery& query, int unit_tokens) const {
  const auto granularity = static_cast<std::uint64_t>(header_.channels[view.channel_idx].granularity_tokens);
  std::vector<std::uint64_t> run_ends;  // in tokens from the prefix's first one
  run_ends.reserve(view.num_runs);
  std::uint64_t recorded_tokens = 0;
  for (const std::uint32_t span_tokens : view.span_tokens) {
    for (std::uint64_t t = granularity; t < span_tokens; t += granularity) run_ends.push_back(recorded_tokens + t);
    recorded_tokens += span_tokens;
    if (span_tokens > 0) run_ends.push_back(recorded_tokens);
  }

  std::vector<std::uint32_t> unit_of_run;
  unit_of_run.reserve(run_ends.size());
  std::uint64_t span_begin = 0;
  std::uint32_t unit = 0;
  for (const SegmentSpan& span : query.prefix) {
    for (std::uint64_t t = 0; t < span.num_tokens; t += static_cast<std::uint64_t>(unit_tokens), ++unit) {
      const std::uint64_t unit_end =
          span_begin + std::min<std::uint64_t>(t + static_cast<std::uint64_t>(unit_tokens), span.num_tokens);
      std::uint64_t covered = 0;
      while (unit_of_run.size() < run_ends.size() && run_ends[unit_of_run.size()] <= unit_end) {
        covered = run_ends[unit_of_run.size()];
        unit_of_run.push_back(unit);
      }
      if (covered != unit_end) {
        throw ConfigError(
            fmt::format("{}: request {}, layer {}: no recorded run ends at token {} of the prefix ({} tokens recorded, "
                        "{} asked for)",
                        origin_, view.request, view.layer_idx, unit_end, recorded_tokens, total_tokens(query.prefix)));
      }
    }
    span_begin += span.num_tokens;
  }
  return unit_of_run;
}

}  // namespace reprefill::traces
