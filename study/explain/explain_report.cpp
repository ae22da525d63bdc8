#include "study/explain/explain_report.hpp"

#include <algorithm>
#include <map>

#include <fmt/ranges.h>

#include "core/base/text_table.hpp"
#include "core/pipeline/account_metrics.hpp"

namespace reprefill::study {
namespace {

using record::PathStep;
using record::TimeClass;

constexpr TimeClass kClasses[] = {TimeClass::gpu_compute, TimeClass::scoring,  TimeClass::ssd,
                                  TimeClass::link,        TimeClass::queueing, TimeClass::host};

std::string ms(Nanoseconds time) { return fmt::format("{:.2f}", to_milliseconds(time)); }
double megabytes(Bytes bytes) { return static_cast<double>(bytes.value) / 1e6; }
double share(Nanoseconds part, Nanoseconds whole) {
  return whole.value > 0 ? static_cast<double>(part.value) / static_cast<double>(whole.value) : 0;
}
Bytes requested(const pipeline::RequestAccount& account) {
  return account.payload_requested + account.identification_requested;
}

/// What an operation is, for "65 % are ...".
std::string operation_of(const PathPart& part) {
  using record::Operation;
  using record::Resource;
  switch (part.operation) {
    case Operation::read:
      return part.resource == Resource::ssd_prefetch ? "prefetch reads of K and V" : "demand reads of K and V";
    case Operation::read_keys:
      return "reads of keys for identification";
    case Operation::copy:
      return part.resource == Resource::host_memory     ? "copies into the host tier"
             : part.resource == Resource::link_h2d_copy ? "prefetch copies to the GPU"
                                                        : "demand copies to the GPU";
    case Operation::project:
      return "projections";
    case Operation::attend:
      return "attention and MLP";
    case Operation::score:
      return "scoring";
    case Operation::select:
      return "selection and its way to the host";
    case Operation::first_token:
      return "logits and the first token";
    case Operation::framework:
      return "framework time";
    case Operation::tokenise:
      return "tokenising";
    case Operation::look_up:
      return "looking up the prefix";
    case Operation::cache_update:
      return "keeping the caches' books";
    case Operation::write:
      return "writes of new KV";
    case Operation::wait:
      return "waiting for the prefetch limit";
    case Operation::decode:
      return "a decode step of other requests";
  }
  return record::name_of(part.operation);
}

std::string described(const PathPart& part) {
  const std::string what = operation_of(part);
  switch (part.kind) {
    case PathStep::Kind::admission:
      return "waiting for admission";
    case PathStep::Kind::gap:
      return "waiting for another request";
    case PathStep::Kind::queued_own:
      return what + ", queued behind its own";
    case PathStep::Kind::queued_other:
      return what + ", queued behind other requests";
    case PathStep::Kind::operation:
      break;
  }
  return what;
}

std::string path_table(const ServedRequest& served) {
  TextTable table({"on the critical path", "steps", "ms", "share %", "MB"});
  for (const PathPart& part : path_parts(served)) {
    const bool has_bytes = part.kind == PathStep::Kind::operation && part.bytes.value > 0;
    table.add_row({described(part), std::to_string(part.num_steps), ms(part.time),
                   fmt::format("{:.1f}", 100 * share(part.time, served.ttft())),
                   has_bytes ? fmt::format("{:.1f}", megabytes(part.bytes)) : "-"});
  }
  return table.to_text();
}

/// Where in the model the path lies: a quarter of the layers a line.
std::string layers_line(const ServedRequest& served) {
  const int num_layers = served.point.geometry.num_layers;
  const int num_parts = std::min(4, num_layers);
  std::vector<Nanoseconds> times(static_cast<std::size_t>(num_parts));
  Nanoseconds elsewhere{0};
  for (const PathStep& step : served.path) {
    const bool has_span = step.kind != PathStep::Kind::gap && step.kind != PathStep::Kind::admission;
    const int layer = has_span ? served.recorded.spans[step.span].layer_idx : -1;
    (layer < 0 ? elsewhere : times[static_cast<std::size_t>(layer * num_parts / num_layers)]) += step.duration();
  }
  std::vector<std::string> parts;
  for (int part = 0; part < num_parts; ++part) {
    const int first = divide_rounding_up(part * num_layers, num_parts);
    const int last = divide_rounding_up((part + 1) * num_layers, num_parts) - 1;
    parts.push_back(fmt::format("layers {}-{}: {} ms", first, last, ms(times[static_cast<std::size_t>(part)])));
  }
  return fmt::format("By layer: {}; outside the layers: {} ms.\n", fmt::join(parts, ", "), ms(elsewhere));
}

std::string class_table(const Explanation& explanation) {
  std::vector<std::string> header = {"system", "TTFT ms"};
  for (const TimeClass time_class : kClasses) header.emplace_back(record::name_of(time_class));
  for (const char* column : {"read MB", "reads", "kept", "bottleneck"}) header.emplace_back(column);
  TextTable table(header);
  const auto add = [&](const ServedRequest& served) {
    std::vector<std::string> line = {served.point.label, ms(served.ttft())};
    for (const TimeClass time_class : kClasses) line.push_back(ms(served.time[time_class]));
    const pipeline::RequestAccount& account = served.recorded.request.account;
    line.push_back(fmt::format("{:.1f}", megabytes(requested(account))));
    line.push_back(std::to_string(account.num_reads));
    line.push_back(account.kv_tokens_stored > 0
                       ? fmt::format("{:.3f}", static_cast<double>(account.kv_tokens_kept) /
                                                   static_cast<double>(account.kv_tokens_stored))
                       : "-");
    line.emplace_back(record::name_of(record::bottleneck(served.time)));
    table.add_row(line);
  };
  add(explanation.served);
  for (const ServedRequest& other : explanation.others) add(other);
  return table.to_text();
}

/// What differs between two systems in a class of time: the quantities behind the milliseconds.
std::string reason(TimeClass time_class, const pipeline::RequestAccount& ours, const pipeline::RequestAccount& theirs) {
  const auto amount = [](const pipeline::RequestAccount& account) {
    return fmt::format("{:.1f} MB in {} reads", megabytes(requested(account)), account.num_reads);
  };
  switch (time_class) {
    case TimeClass::ssd:
      return fmt::format("it asks the drive for {} instead of {}", amount(ours), amount(theirs));
    case TimeClass::scoring:
      return fmt::format("it scores {} times instead of {}", ours.num_identifications, theirs.num_identifications);
    case TimeClass::link:
      return fmt::format("its attention needs {:.1f} MB instead of {:.1f} MB", megabytes(ours.payload_needed),
                         megabytes(theirs.payload_needed));
    case TimeClass::gpu_compute:
      return "it computes on other tokens, or more of its compute hides behind other waits";
    case TimeClass::queueing:
      return "work of other requests in its way";
    case TimeClass::host:
      return "host work and framework time that nothing else hides";
  }
  return "";
}

std::string comparison(const ServedRequest& ours, const ServedRequest& theirs) {
  const Nanoseconds difference = theirs.ttft() - ours.ttft();
  const bool gains = difference.value >= 0;
  std::string text = fmt::format("{} {} {} ms {} {} ({:.2f}x):\n", ours.point.label, gains ? "gains" : "loses",
                                 ms(Nanoseconds{std::abs(difference.value)}), gains ? "over" : "to", theirs.point.label,
                                 static_cast<double>(theirs.ttft().value) / static_cast<double>(ours.ttft().value));
  std::vector<TimeClass> order(std::begin(kClasses), std::end(kClasses));
  const auto gain_in = [&](TimeClass time_class) { return theirs.time[time_class] - ours.time[time_class]; };
  std::stable_sort(order.begin(), order.end(),
                   [&](TimeClass a, TimeClass b) { return std::abs(gain_in(a).value) > std::abs(gain_in(b).value); });
  const std::int64_t negligible = std::max(ours.ttft(), theirs.ttft()).value / 200;  // half a percent
  for (const TimeClass time_class : order) {
    const Nanoseconds gain = gain_in(time_class);
    if (std::abs(gain.value) <= negligible) continue;
    text += fmt::format("  {} {:>9} ms in {}: {}\n", gain.value > 0 ? "gains" : "loses",
                        ms(Nanoseconds{std::abs(gain.value)}), record::name_of(time_class),
                        reason(time_class, ours.recorded.request.account, theirs.recorded.request.account));
  }
  return text;
}

std::string changes_text(const Explanation& explanation) {
  const Nanoseconds now = explanation.served.ttft();
  std::string text;
  for (const bool floor : {false, true}) {
    TextTable table({floor ? "bound" : "change", "TTFT ms", "gain ms", "gain %"});
    for (const ChangeResult& change : explanation.changes) {
      if (change.what_if.floor != floor) continue;
      const Nanoseconds gain = now - change.ttft;
      table.add_row({change.what_if.change, ms(change.ttft), ms(gain), fmt::format("{:.1f}", 100 * share(gain, now))});
    }
    text += floor ? "\nThe floor: the same request with one thing for nothing\n"
                  : "\nWhat would have to change: the same request, one thing changed, simulated again\n";
    text += table.to_text();
  }
  return text;
}

/// The path's longest part and what the drive would need for the bytes alone.
std::string in_words(const ServedRequest& served) {
  const std::vector<PathPart> parts = path_parts(served);
  if (parts.empty()) return "Its first token came the moment it arrived.\n";
  const PathPart& longest = parts.front();
  std::string text = fmt::format("Of its {} ms, {:.0f} % are {}.", ms(served.ttft()),
                                 100 * share(longest.time, served.ttft()), described(longest));
  const pipeline::RequestAccount& account = served.recorded.request.account;
  if (account.num_reads > 0) {
    const sim::SsdProfile& ssd = served.point.profile.ssd;
    const Nanoseconds least =
        transfer_time(requested(account), {ssd.read_bandwidth.value * static_cast<double>(ssd.num_devices)});
    text += fmt::format(
        " It asks the SSD for {:.1f} MB in {} reads; at the drive's bandwidth the bytes take {} ms, the "
        "request waits {} ms for the SSD.",
        megabytes(requested(account)), account.num_reads, ms(least), ms(served.time[TimeClass::ssd]));
  }
  return text + "\n";
}

Json classes_json(const record::TimeBreakdown& time) {
  Json json = Json::object();
  for (const TimeClass time_class : kClasses) json[record::name_of(time_class)] = to_milliseconds(time[time_class]);
  return json;
}

Json served_json(const ServedRequest& served, bool steps) {
  Json json = {{"label", served.point.label},
               {"system", served.point.system},
               {"point", served.point.index},
               {"axes", served.point.axes},
               {"ttft_ms", to_milliseconds(served.ttft())},
               {"time_ms", classes_json(served.time)},
               {"identification_ms", to_milliseconds(served.time.identification)},
               {"bottleneck", record::name_of(record::bottleneck(served.time))},
               {"bytes", pipeline::bytes_per_request(served.recorded.request.account, 1)},
               {"efficiency", pipeline::efficiency(served.recorded.request.account, 1)}};
  json["critical_path"] = Json::array();
  for (const PathPart& part : path_parts(served)) {
    json["critical_path"].push_back({{"kind", record::name_of(part.kind)},
                                     {"operation", record::name_of(part.operation)},
                                     {"resource", record::name_of(part.resource)},
                                     {"what", described(part)},
                                     {"steps", part.num_steps},
                                     {"ms", to_milliseconds(part.time)},
                                     {"bytes", part.bytes.value}});
  }
  if (!steps) return json;
  json["steps"] = Json::array();
  for (const PathStep& step : served.path) {
    Json entry = {{"kind", record::name_of(step.kind)},
                  {"from_ns", (step.from - served.recorded.times.arrival).value},
                  {"to_ns", (step.to - served.recorded.times.arrival).value}};
    if (step.kind != PathStep::Kind::gap && step.kind != PathStep::Kind::admission) {
      const record::Span& span = served.recorded.spans[step.span];
      entry["operation"] = record::name_of(span.operation);
      entry["resource"] = record::name_of(span.resource);
      entry["layer"] = span.layer_idx;
      entry["bytes"] = span.bytes.value;
    }
    json["steps"].push_back(std::move(entry));
  }
  return json;
}

}  // namespace

std::vector<PathPart> path_parts(const ServedRequest& served) {
  std::map<std::tuple<PathStep::Kind, record::Operation, record::Resource>, PathPart> parts;
  for (const PathStep& step : served.path) {
    const bool has_span = step.kind != PathStep::Kind::gap && step.kind != PathStep::Kind::admission;
    const record::Span span = has_span ? served.recorded.spans[step.span] : record::Span{};
    const auto key = std::tuple(step.kind, span.operation, span.resource);
    PathPart& part =
        parts.try_emplace(key, PathPart{step.kind, span.operation, span.resource, 0, Nanoseconds{0}, Bytes{0}})
            .first->second;
    ++part.num_steps;
    part.time += step.duration();
    part.bytes += span.bytes;
  }
  std::vector<PathPart> list;
  for (const auto& [key, part] : parts) list.push_back(part);
  std::stable_sort(list.begin(), list.end(), [](const PathPart& a, const PathPart& b) { return a.time > b.time; });
  return list;
}

std::string explanation_text(const Explanation& explanation) {
  const ServedRequest& served = explanation.served;
  const pipeline::Request& request = served.recorded.request;
  std::string text = fmt::format(
      "Request {} of {} (point {}{}), after {} warm-up requests: {} stored tokens, {} computed", explanation.request,
      served.point.label, served.point.index, served.point.axes.empty() ? "" : ", " + served.point.axes.dump(),
      explanation.num_warmup, request.stored_tokens, request.own_tokens);
  text += fmt::format("; {} on the {} path.\n", served.point.profile.name, enum_name(served.point.path.kind));
  if (served.point.profile.hypothetical) text += "The profile is hypothetical: no number of it was measured.\n";
  text += in_words(served) + "\n" + path_table(served) + layers_line(served);
  text += "\nWhere the time goes, every nanosecond charged once (ms)\n" + class_table(explanation) + "\n";
  for (const ServedRequest& other : explanation.others) text += comparison(served, other);
  return text + changes_text(explanation);
}

Json explanation_json(const Explanation& explanation, bool steps) {
  Json json = {{"schema_version", 1},
               {"request", explanation.request},
               {"warmup_requests", explanation.num_warmup},
               {"stored_tokens", explanation.served.recorded.request.stored_tokens},
               {"own_tokens", explanation.served.recorded.request.own_tokens},
               {"served", served_json(explanation.served, steps)}};
  json["others"] = Json::array();
  for (const ServedRequest& other : explanation.others) {
    Json entry = served_json(other, false);
    entry["gain_ms"] = to_milliseconds(other.ttft() - explanation.served.ttft());
    record::TimeBreakdown gain;
    for (const TimeClass time_class : kClasses) {
      gain[time_class] = other.time[time_class] - explanation.served.time[time_class];
    }
    entry["gain_by_class_ms"] = classes_json(gain);
    json["others"].push_back(std::move(entry));
  }
  json["changes"] = Json::array();
  for (const ChangeResult& change : explanation.changes) {
    json["changes"].push_back({{"name", change.what_if.name},
                               {"change", change.what_if.change},
                               {"floor", change.what_if.floor},
                               {"ttft_ms", to_milliseconds(change.ttft)},
                               {"gain_ms", to_milliseconds(explanation.served.ttft() - change.ttft)}});
  }
  return json;
}

}  // namespace reprefill::study
