// Named random streams: the same (seed, replica, name) gives the same numbers on every machine and thread.
#pragma once

#include <cstdint>
#include <string_view>

#include <boost/random/exponential_distribution.hpp>
#include <boost/random/mersenne_twister.hpp>
#include <boost/random/normal_distribution.hpp>
#include <boost/random/uniform_01.hpp>
#include <boost/random/uniform_int_distribution.hpp>

namespace reprefill {

/// Mixes 64 bits (the finaliser of SplitMix64, Steele et al. 2014): a counter-based generator in one call.
constexpr std::uint64_t mix64(std::uint64_t x) {
  x += 0x9e3779b97f4a7c15ull;
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ull;
  x = (x ^ (x >> 27)) * 0x94d049bb133111ebull;
  return x ^ (x >> 31);
}

constexpr std::uint64_t combine64(std::uint64_t a, std::uint64_t b) { return mix64(a ^ mix64(b)); }

/// FNV-1a, so that a stream's name decides its numbers.
constexpr std::uint64_t hash_name(std::string_view name) {
  std::uint64_t hash = 0xcbf29ce484222325ull;
  for (const char c : name) hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001b3ull;
  return hash;
}

/// One stream of a scenario. Distributions are Boost's: unlike std's they are the same in every standard library.
class RandomStream {
 public:
  RandomStream(std::uint64_t seed, std::uint64_t replica, std::string_view name)
      : engine_(combine64(combine64(seed, replica), hash_name(name))) {}

  double uniform() { return boost::random::uniform_01<double>{}(engine_); }
  double exponential(double rate) { return boost::random::exponential_distribution<double>{rate}(engine_); }
  double normal(double mean, double sigma) { return boost::random::normal_distribution<double>{mean, sigma}(engine_); }
  /// Uniform in [0, count).
  std::uint64_t below(std::uint64_t count) {
    return boost::random::uniform_int_distribution<std::uint64_t>{0, count - 1}(engine_);
  }

 private:
  boost::random::mt19937_64 engine_;
};

}  // namespace reprefill
