// What an account says of requests, under the names of result rows: the same for simulated and real ones.
#pragma once

#include "core/base/json.hpp"
#include "core/pipeline/request.hpp"

namespace reprefill::pipeline {

/// numerator / denominator; null where there was nothing to divide by.
Json ratio(double numerator, double denominator);
Json ratio(Bytes numerator, Bytes denominator);

/// Means over `num_requests` requests of what was needed, read, requested and useful (semantics 5).
Json bytes_per_request(const RequestAccount& account, double num_requests);
/// Amplification by its three definitions, kept share, hits, prefetch precision and recall.
Json efficiency(const RequestAccount& account, double num_requests);

}  // namespace reprefill::pipeline
