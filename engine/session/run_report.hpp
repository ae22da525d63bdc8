// What a run of the engine says of its requests, under the names that simulated rows use.
#pragma once

#include "engine/session/session.hpp"

namespace reprefill::engine {

/// One request: its text, TTFT by class, bytes, hits, amplification.
Json report_request(const RequestOutcome& outcome, const Tokenizer& tokenizer);

/// The whole run: how it was set up, every request, and means over all of them.
Json report_run(const Session& session, std::span<const RequestOutcome> outcomes, const Model& model);

/// The same for people: the continuation, then where the time went.
std::string describe_run(const Session& session, std::span<const RequestOutcome> outcomes, const Model& model);

}  // namespace reprefill::engine
