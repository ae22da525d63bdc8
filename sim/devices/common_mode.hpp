// What all operations of one run share: clocks, the drive's minute, a model's bias. Residuals of single operations,
// taken within minutes, have none of it.
#pragma once

#include <cstdint>
#include <string>

#include "core/base/json.hpp"
#include "core/base/units.hpp"

namespace reprefill::sim {

struct Profile;

/// Standard deviation of the logarithm of a factor, as that many sessions showed it. Few sessions say little: draws
/// follow Student's t with that many degrees of freedom.
struct CommonTerm {
  double sigma = 0;
  int num_sessions = 1;
  bool operator==(const CommonTerm&) const = default;
};

/// From sessions that calibration served, predicted and measured; never from what is judged. `session` is what whole
/// requests are off by beyond the devices' terms, and multiplies all of them.
struct CommonMode {
  CommonTerm gpu, ssd, link, host;
  CommonTerm session;
  bool operator==(const CommonMode&) const = default;

  /// One draw a replica: durations of this device times this.
  double factor(CommonTerm CommonMode::*device, std::uint64_t seed, std::uint64_t replica) const;
};

/// {"version": 1, "gpu": {"sigma": 0.03, "sessions": 6}, "ssd": ..., "link": ..., "host": ..., "session": ...}
Json to_json(const CommonMode& common);
CommonMode read_common_mode(const JsonValue& object);

/// The profile with its host's costs as this replica draws them: they have no noise of their own. The same profile
/// without a common mode.
Profile with_host_of_replica(const Profile& profile, std::uint64_t seed, std::uint64_t replica);

}  // namespace reprefill::sim
