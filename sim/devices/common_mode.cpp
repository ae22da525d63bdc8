#include "sim/devices/common_mode.hpp"

#include <algorithm>
#include <cmath>
#include <utility>

#include "core/base/random.hpp"
#include "sim/devices/profile.hpp"

namespace reprefill::sim {
namespace {

constexpr std::pair<const char*, CommonTerm CommonMode::*> kTerms[] = {{"gpu", &CommonMode::gpu},
                                                                       {"ssd", &CommonMode::ssd},
                                                                       {"link", &CommonMode::link},
                                                                       {"host", &CommonMode::host},
                                                                       {"session", &CommonMode::session}};

const char* name_of(CommonTerm CommonMode::*term) {
  return std::ranges::find(kTerms, term, &std::pair<const char*, CommonTerm CommonMode::*>::second)->first;
}

double draw(const CommonTerm& term, const char* name, std::uint64_t seed, std::uint64_t replica) {
  if (term.sigma == 0) return 1;
  RandomStream stream(seed, replica, std::string("common/") + name);
  const double normal = stream.normal(0, 1);
  double squares = 0;
  for (int i = 0; i < term.num_sessions; ++i) squares += std::pow(stream.normal(0, 1), 2);
  const double student = normal / std::sqrt(squares / term.num_sessions);
  constexpr double kFarthest = 4;  // a replica of a single session's t may be anywhere: no run would end
  return std::exp(term.sigma * std::clamp(student, -kFarthest, kFarthest));
}

}  // namespace

double CommonMode::factor(CommonTerm CommonMode::*device, std::uint64_t seed, std::uint64_t replica) const {
  return draw(this->*device, name_of(device), seed, replica) * draw(session, "session", seed, replica);
}

Json to_json(const CommonMode& common) {
  Json json = {{"version", 1}};
  for (const auto& [name, term] : kTerms) {
    json[name] = {{"sigma", (common.*term).sigma}, {"sessions", (common.*term).num_sessions}};
  }
  return json;
}

CommonMode read_common_mode(const JsonValue& object) {
  object.require_object().refuse_unknown_keys({"version", "gpu", "ssd", "link", "host", "session"});
  object.key("version").as_integer(1, 1, "version");
  CommonMode common;
  for (const auto& [name, term] : kTerms) {
    const JsonValue value = object.key(name);
    value.require_object().refuse_unknown_keys({"sigma", "sessions"});
    common.*term = {.sigma = value.key("sigma").as_number(0, 2, ""),
                    .num_sessions = static_cast<int>(value.key("sessions").as_integer(1, 1'000'000, "sessions"))};
  }
  return common;
}

Profile with_host_of_replica(const Profile& profile, std::uint64_t seed, std::uint64_t replica) {
  Profile drawn = profile;
  if (!profile.common_mode) return drawn;
  const double factor = profile.common_mode->factor(&CommonMode::host, seed, replica);
  HostProfile& host = drawn.host;
  for (Nanoseconds* cost :
       {&host.submission_cost, &host.completion_cost, &host.selection_cost, &host.first_token_cost,
        &host.tokenise_per_token, &host.look_up_per_block, &host.cache_update_per_entry, &host.driver.per_operation,
        &host.driver.per_piece, &host.driver.start, &host.driver.notice}) {
    *cost = Nanoseconds{std::llround(static_cast<double>(cost->value) * factor)};
  }
  return drawn;
}

}  // namespace reprefill::sim
