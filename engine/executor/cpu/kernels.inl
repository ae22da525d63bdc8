// The kernels' code, included by one source file per instruction set after it has defined
//   Vector (a vector of kLanes floats), Words and Halves (as many 32- and 16-bit integers), multiply_add, widen_fp16,
//   kRowBlock and kVectorBlock (registers of a tile), kName.
// Everything is in an unnamed namespace and no other header is used: an inline function compiled with AVX-512 here must
// not be the one that the linker keeps for the whole program.

constexpr std::size_t kLanes = sizeof(Vector) / sizeof(float);

Vector load(const float* source) {
  Vector v;
  __builtin_memcpy(&v, source, sizeof v);
  return v;
}

void store(float* out, Vector v) { __builtin_memcpy(out, &v, sizeof v); }

Vector broadcast(float x) { return Vector{} + x; }

template <typename To, typename From>
To reinterpret(From from) {
  static_assert(sizeof(To) == sizeof(From));
  To to;
  __builtin_memcpy(&to, &from, sizeof to);
  return to;
}

Halves load_halves(const std::byte* source) {
  Halves halves;
  __builtin_memcpy(&halves, source, sizeof halves);
  return halves;
}

/// bf16 is the upper half of an fp32.
Vector widen_bf16(Halves halves) { return reinterpret<Vector>(__builtin_convertvector(halves, Words) << 16); }

template <Stored kType>
Vector load_stored(const std::byte* source) {
  if constexpr (kType == Stored::bf16) return widen_bf16(load_halves(source));
  if constexpr (kType == Stored::fp16) return widen_fp16(load_halves(source));
  if constexpr (kType == Stored::fp32) {
    Vector v;
    __builtin_memcpy(&v, source, sizeof v);
    return v;
  }
}

template <Stored kType>
constexpr std::size_t kElementBytes = kType == Stored::fp32 ? 4 : 2;

/// The last `count` < kLanes elements, zeros after them.
template <Stored kType>
Vector load_stored_tail(const std::byte* source, std::size_t count) {
  std::byte padded[sizeof(Vector)] = {};
  __builtin_memcpy(padded, source, count * kElementBytes<kType>);
  return load_stored<kType>(padded);
}

Vector load_tail(const float* source, std::size_t count) {
  Vector v = {};
  __builtin_memcpy(&v, source, count * sizeof(float));
  return v;
}

/// Halves that are added in a fixed order.
float sum_lanes(Vector v) {
  float lanes[kLanes];
  store(lanes, v);
  for (std::size_t width = kLanes / 2; width > 0; width /= 2) {
    for (std::size_t i = 0; i < width; ++i) lanes[i] += lanes[i + width];
  }
  return lanes[0];
}

/// exp(x) within 2 ulp: 2^n * e^r with |r| <= ln(2) / 2, the polynomial of Cephes' expf. Below the smallest normal
/// number it gives exactly 0, above the largest infinity; NaN stays NaN.
Vector exponential(Vector x) {
  constexpr float kRound = 12582912.0f;  // 1.5 * 2^23: adding it rounds to an integer in the low bits
  const Vector shifted = multiply_add(x, broadcast(1.44269504088896341f), broadcast(kRound));
  const Vector n = shifted - kRound;
  Vector r = multiply_add(n, broadcast(-0.693359375f), x);
  r = multiply_add(n, broadcast(2.12194440e-4f), r);
  Vector p = broadcast(1.9875691500e-4f);
  p = multiply_add(p, r, broadcast(1.3981999507e-3f));
  p = multiply_add(p, r, broadcast(8.3334519073e-3f));
  p = multiply_add(p, r, broadcast(4.1665795894e-2f));
  p = multiply_add(p, r, broadcast(1.6666665459e-1f));
  p = multiply_add(p, r, broadcast(5.0000001201e-1f));
  p = multiply_add(p, r * r, r + 1.0f);
  // 2^n in two factors, as 2^128 is no fp32; 254 is the bias of both.
  const Words exponents = reinterpret<Words>(shifted) - 0x4b400000u + 254u;
  const Words first = exponents >> 1;
  const Words second = exponents - first;
  const Vector scaled = p * reinterpret<Vector>(first << 23) * reinterpret<Vector>(second << 23);
  const Vector not_small = x < -87.33654f ? Vector{} : scaled;
  return x > 88.722839f ? broadcast(__builtin_inff()) : not_small;
}

template <Stored kType>
void widen_typed(const std::byte* source, std::size_t count, float* out) {
  std::size_t i = 0;
  for (; i + kLanes <= count; i += kLanes) store(out + i, load_stored<kType>(source + i * kElementBytes<kType>));
  if (i == count) return;
  const Vector tail = load_stored_tail<kType>(source + i * kElementBytes<kType>, count - i);
  __builtin_memcpy(out + i, &tail, (count - i) * sizeof(float));
}

void widen_all(Stored type, const std::byte* source, std::size_t count, float* out) {
  switch (type) {
    case Stored::bf16:
      return widen_typed<Stored::bf16>(source, count, out);
    case Stored::fp16:
      return widen_typed<Stored::fp16>(source, count, out);
    case Stored::fp32:
      return widen_typed<Stored::fp32>(source, count, out);
  }
}

template <Stored kType>
float dot_typed(const std::byte* row, const float* x, std::size_t count) {
  constexpr std::size_t kChains = 4;  // independent sums hide the latency of a multiply-add
  constexpr std::size_t kBytes = kElementBytes<kType>;
  Vector sums[kChains] = {};
  std::size_t i = 0;
  for (; i + kChains * kLanes <= count; i += kChains * kLanes) {
    for (std::size_t chain = 0; chain < kChains; ++chain) {
      const std::size_t at = i + chain * kLanes;
      sums[chain] = multiply_add(load_stored<kType>(row + at * kBytes), load(x + at), sums[chain]);
    }
  }
  for (; i + kLanes <= count; i += kLanes) {
    sums[0] = multiply_add(load_stored<kType>(row + i * kBytes), load(x + i), sums[0]);
  }
  if (i < count) {
    sums[0] = multiply_add(load_stored_tail<kType>(row + i * kBytes, count - i), load_tail(x + i, count - i), sums[0]);
  }
  return sum_lanes((sums[0] + sums[1]) + (sums[2] + sums[3]));
}

float dot(Stored type, const std::byte* row, const float* x, std::size_t count) {
  switch (type) {
    case Stored::bf16:
      return dot_typed<Stored::bf16>(row, x, count);
    case Stored::fp16:
      return dot_typed<Stored::fp16>(row, x, count);
    case Stored::fp32:
      return dot_typed<Stored::fp32>(row, x, count);
  }
  return 0;
}

struct Operand {
  const float* data;
  std::size_t stride;
};

/// kRows x (kVectorBlock vectors) outputs in registers.
template <int kRows>
void multiply_block(Operand a, Operand b, int inner, float* c, std::size_t c_stride, bool accumulate) {
  Vector sums[kRows][kVectorBlock];
#pragma GCC unroll 8
  for (int row = 0; row < kRows; ++row) {
#pragma GCC unroll 8
    for (int v = 0; v < kVectorBlock; ++v) {
      sums[row][v] = accumulate ? load(c + row * c_stride + v * kLanes) : Vector{};
    }
  }
  for (int i = 0; i < inner; ++i) {
    Vector columns[kVectorBlock];
#pragma GCC unroll 8
    for (int v = 0; v < kVectorBlock; ++v) columns[v] = load(b.data + i * b.stride + v * kLanes);
#pragma GCC unroll 8
    for (int row = 0; row < kRows; ++row) {
      const Vector x = broadcast(a.data[row * a.stride + i]);
#pragma GCC unroll 8
      for (int v = 0; v < kVectorBlock; ++v) sums[row][v] = multiply_add(x, columns[v], sums[row][v]);
    }
  }
#pragma GCC unroll 8
  for (int row = 0; row < kRows; ++row) {
#pragma GCC unroll 8
    for (int v = 0; v < kVectorBlock; ++v) store(c + row * c_stride + v * kLanes, sums[row][v]);
  }
}

template <int kRows>
void multiply_rows(Operand a, Operand b, int inner, float* c, std::size_t c_stride, int columns, bool accumulate) {
  constexpr int kStep = kVectorBlock * static_cast<int>(kLanes);
  static_assert(kColumnStep % kStep == 0);
  for (int j = 0; j < columns; j += kStep) {
    multiply_block<kRows>(a, {b.data + j, b.stride}, inner, c + j, c_stride, accumulate);
  }
}

void multiply(const float* a, std::size_t a_stride, int rows, const float* b, std::size_t b_stride, int inner, float* c,
              std::size_t c_stride, int columns, bool accumulate) {
  int row = 0;
  for (; row + kRowBlock <= rows; row += kRowBlock) {
    multiply_rows<kRowBlock>({a + row * a_stride, a_stride}, {b, b_stride}, inner, c + row * c_stride, c_stride,
                             columns, accumulate);
  }
  const Operand rest = {a + row * a_stride, a_stride};
  float* out = c + row * c_stride;
  switch (rows - row) {
    case 1:
      return multiply_rows<1>(rest, {b, b_stride}, inner, out, c_stride, columns, accumulate);
    case 2:
      return multiply_rows<2>(rest, {b, b_stride}, inner, out, c_stride, columns, accumulate);
    case 3:
      return multiply_rows<3>(rest, {b, b_stride}, inner, out, c_stride, columns, accumulate);
    case 4:
      return multiply_rows<4>(rest, {b, b_stride}, inner, out, c_stride, columns, accumulate);
    case 5:
      return multiply_rows<5>(rest, {b, b_stride}, inner, out, c_stride, columns, accumulate);
    default:
      return;
  }
}

float softmax_tile(float* logits, RowState& state) {
  constexpr std::size_t kVectors = kTileKeys / kLanes;
  Vector highest = load(logits);
  for (std::size_t v = 1; v < kVectors; ++v) {
    const Vector x = load(logits + v * kLanes);
    highest = x > highest ? x : highest;
  }
  float lanes[kLanes];
  store(lanes, highest);
  float maximum = state.maximum;
  for (const float lane : lanes) maximum = lane > maximum ? lane : maximum;
  // Where nothing is visible yet all logits are -inf, and -inf - (-inf) is no number. A NaN may be missed by the
  // maximum, but not by the sum.
  const float reference = maximum == -__builtin_inff() ? 0.0f : maximum;
  Vector sum = {};
  for (std::size_t v = 0; v < kVectors; ++v) {
    const Vector p = exponential(load(logits + v * kLanes) - reference);
    store(logits + v * kLanes, p);
    sum += p;
  }
  float rescale[kLanes];
  store(rescale, exponential(broadcast(state.maximum - reference)));
  state.sum = state.sum * rescale[0] + sum_lanes(sum);
  state.maximum = maximum;
  return rescale[0];
}

void add_probabilities(const float* logits, float maximum, float scale, float* out) {
  for (std::size_t j = 0; j < kTileKeys; j += kLanes) {
    store(out + j, load(out + j) + exponential(load(logits + j) - maximum) * scale);
  }
}

template <Stored kType>
void transpose_typed(const std::byte* const* keys, int dim, float* out) {
  for (int i = 0; i < dim; ++i) {
    float column[kKeyGroup];
    for (int key = 0; key < kKeyGroup; ++key) {
      const std::byte* at = keys[key] + i * kElementBytes<kType>;
      if constexpr (kType == Stored::bf16) {
        std::uint16_t bits;
        __builtin_memcpy(&bits, at, sizeof bits);
        column[key] = reinterpret<float>(static_cast<std::uint32_t>(bits) << 16);
      } else {
        __builtin_memcpy(&column[key], at, sizeof(float));
      }
    }
    __builtin_memcpy(out + i * kTileKeys, column, sizeof column);
  }
}

void transpose_keys(Stored type, const std::byte* const* keys, int dim, float* out) {
  if (type == Stored::bf16) return transpose_typed<Stored::bf16>(keys, dim, out);
  transpose_typed<Stored::fp32>(keys, dim, out);
}

void add(const float* a, const float* b, std::size_t count, float* out) {
  std::size_t i = 0;
  for (; i + kLanes <= count; i += kLanes) store(out + i, load(a + i) + load(b + i));
  for (; i < count; ++i) out[i] = a[i] + b[i];
}

void scale(float* data, std::size_t count, float factor) {
  std::size_t i = 0;
  for (; i + kLanes <= count; i += kLanes) store(data + i, load(data + i) * factor);
  for (; i < count; ++i) data[i] *= factor;
}

void rms_norm(const float* x, const float* weight, std::size_t count, float eps, float* out) {
  const float squares = dot_typed<Stored::fp32>(reinterpret_cast<const std::byte*>(x), x, count);
  const float factor = 1.0f / __builtin_sqrtf(squares / static_cast<float>(count) + eps);
  std::size_t i = 0;
  for (; i + kLanes <= count; i += kLanes) store(out + i, load(x + i) * factor * load(weight + i));
  for (; i < count; ++i) out[i] = x[i] * factor * weight[i];
}

void swiglu(float* gate, const float* up, std::size_t count) {
  for (std::size_t i = 0; i < count; i += kLanes) {
    const std::size_t left = count - i;
    if (left >= kLanes) {
      const Vector g = load(gate + i);
      store(gate + i, g / (exponential(-g) + 1.0f) * load(up + i));
    } else {
      const Vector g = load_tail(gate + i, left);
      const Vector product = g / (exponential(-g) + 1.0f) * load_tail(up + i, left);
      __builtin_memcpy(gate + i, &product, left * sizeof(float));
    }
  }
}

constexpr Kernels kKernels = {
    .name = kName,
    .widen = widen_all,
    .dot = dot,
    .multiply = multiply,
    .softmax_tile = softmax_tile,
    .add_probabilities = add_probabilities,
    .transpose_keys = transpose_keys,
    .add = add,
    .scale = scale,
    .rms_norm = rms_norm,
    .swiglu = swiglu,
};
