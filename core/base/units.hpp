// Strong types for the two quantities that must never be mixed up: sizes in bytes and simulated time in nanoseconds.
#pragma once

#include <cmath>
#include <compare>
#include <cstdint>

namespace reprefill {

/// A size or a file offset, in bytes.
struct Bytes {
  std::uint64_t value = 0;

  constexpr Bytes() = default;
  constexpr explicit Bytes(std::uint64_t count) : value(count) {}

  constexpr auto operator<=>(const Bytes&) const = default;
  constexpr Bytes& operator+=(Bytes other) {
    value += other.value;
    return *this;
  }
  constexpr Bytes& operator-=(Bytes other) {
    value -= other.value;
    return *this;
  }
  constexpr friend Bytes operator+(Bytes a, Bytes b) { return Bytes{a.value + b.value}; }
  constexpr friend Bytes operator-(Bytes a, Bytes b) { return Bytes{a.value - b.value}; }
  constexpr friend Bytes operator*(Bytes a, std::uint64_t factor) { return Bytes{a.value * factor}; }
  constexpr friend Bytes operator*(std::uint64_t factor, Bytes a) { return a * factor; }
};

/// A point in simulated or measured time, or a span of it, in integer nanoseconds.
struct Nanoseconds {
  std::int64_t value = 0;

  constexpr Nanoseconds() = default;
  constexpr explicit Nanoseconds(std::int64_t count) : value(count) {}

  constexpr auto operator<=>(const Nanoseconds&) const = default;
  constexpr Nanoseconds& operator+=(Nanoseconds other) {
    value += other.value;
    return *this;
  }
  constexpr Nanoseconds& operator-=(Nanoseconds other) {
    value -= other.value;
    return *this;
  }
  constexpr friend Nanoseconds operator+(Nanoseconds a, Nanoseconds b) { return Nanoseconds{a.value + b.value}; }
  constexpr friend Nanoseconds operator-(Nanoseconds a, Nanoseconds b) { return Nanoseconds{a.value - b.value}; }
  constexpr friend Nanoseconds operator*(Nanoseconds a, std::int64_t factor) { return Nanoseconds{a.value * factor}; }
};

struct BytesPerSecond {
  double value = 0;
  constexpr auto operator<=>(const BytesPerSecond&) const = default;
};

struct FlopsPerSecond {
  double value = 0;
  constexpr auto operator<=>(const FlopsPerSecond&) const = default;
};

/// Seconds rounded up to whole nanoseconds: an operation never ends before its last byte or flop.
inline Nanoseconds nanoseconds_from_seconds(double seconds) {
  return Nanoseconds{static_cast<std::int64_t>(std::ceil(seconds * 1e9))};
}

/// Rounded up once: up to 4 GB, bytes times 1e9 is exact, so that 7 bytes at 1 GB/s take 7 ns (7 / 1e9 * 1e9 is above
/// 7). `slowdown` makes it last that many times longer.
inline Nanoseconds transfer_time(Bytes size, BytesPerSecond rate, double slowdown = 1) {
  return Nanoseconds{
      static_cast<std::int64_t>(std::ceil(static_cast<double>(size.value) * 1e9 / rate.value * slowdown))};
}

constexpr double to_seconds(Nanoseconds time) { return static_cast<double>(time.value) * 1e-9; }
constexpr double to_milliseconds(Nanoseconds time) { return static_cast<double>(time.value) * 1e-6; }

template <typename Integer>
constexpr Integer divide_rounding_up(Integer numerator, Integer denominator) {
  return (numerator + denominator - 1) / denominator;
}

}  // namespace reprefill
