#include "engine/executor/cuda/gpu_weights.hpp"

#include <algorithm>
#include <cstring>
#include <initializer_list>
#include <span>
#include <thread>

#include "core/base/error.hpp"

namespace reprefill::engine {
namespace {

constexpr std::size_t kAlignment = 256;
constexpr std::size_t kChunkElements = std::size_t{16} << 20;  // 32 MiB of bf16

std::size_t num_elements(const WeightView& view) { return static_cast<std::size_t>(view.rows * view.columns); }

std::size_t aligned_bytes(std::size_t elements) {
  return (elements * sizeof(BFloat16) + kAlignment - 1) / kAlignment * kAlignment;
}

float widen_half(std::uint16_t bits) {
  _Float16 value;
  std::memcpy(&value, &bits, sizeof value);
  return static_cast<float>(value);
}

/// Elements [first, first + count) of the view, as bf16.
void convert(const WeightView& view, std::size_t first, std::size_t count, BFloat16* out) {
  if (view.type == ElementType::bf16) {
    std::memcpy(out, view.data + first * sizeof(BFloat16), count * sizeof(BFloat16));
    return;
  }
  for (std::size_t i = 0; i < count; ++i) {
    if (view.type == ElementType::fp32) {
      float value;
      std::memcpy(&value, view.data + (first + i) * sizeof value, sizeof value);
      out[i] = BFloat16::round(value);
    } else {
      std::uint16_t bits;
      std::memcpy(&bits, view.data + (first + i) * sizeof bits, sizeof bits);
      out[i] = BFloat16::round(widen_half(bits));
    }
  }
}

/// Pages of a mapped file come in while they are copied: several threads keep a drive busy.
void convert_in_parallel(const WeightView& view, std::size_t first, std::size_t count, BFloat16* out) {
  const std::size_t num_threads = std::clamp<std::size_t>(std::thread::hardware_concurrency(), 1, 16);
  const std::size_t share = (count + num_threads - 1) / num_threads;
  if (count < (std::size_t{1} << 18)) return convert(view, first, count, out);
  std::vector<std::jthread> threads;
  for (std::size_t at = 0; at < count; at += share) {
    threads.emplace_back(
        [&view, first, out, at, size = std::min(share, count - at)] { convert(view, first + at, size, out + at); });
  }
}

bool is_tied(const Checkpoint& checkpoint) { return checkpoint.lm_head().data == checkpoint.embedding().data; }

}  // namespace

/// Fills one allocation from its start.
class GpuWeights::Loader {
 public:
  Loader(Gpu& gpu, std::byte* memory) : gpu_(gpu), next_(memory), stream_(gpu) {
    for (Buffer& buffer : buffers_) buffer.memory = PinnedArray(gpu, Bytes{kChunkElements * sizeof(BFloat16)});
  }

  /// The views one behind the other.
  const BFloat16* load(std::initializer_list<const WeightView*> views) {
    std::byte* begin = next_;
    std::byte* at = begin;
    for (const WeightView* view : views) {
      for (std::size_t done = 0; done < num_elements(*view);) {
        const std::size_t count = std::min(kChunkElements, num_elements(*view) - done);
        copy_chunk(*view, done, count, at);
        done += count;
        at += count * sizeof(BFloat16);
      }
    }
    next_ = begin + aligned_bytes(static_cast<std::size_t>(at - begin) / sizeof(BFloat16));
    return reinterpret_cast<const BFloat16*>(begin);
  }
  void finish() { gpu_.synchronize(stream_); }

 private:
  struct Buffer {
    PinnedArray memory;
    GpuEventRef sent;
  };

  void copy_chunk(const WeightView& view, std::size_t first, std::size_t count, std::byte* to) {
    Buffer& buffer = buffers_[turn_++ % 2];
    if (buffer.sent) gpu_.synchronize(*buffer.sent);
    convert_in_parallel(view, first, count, reinterpret_cast<BFloat16*>(buffer.memory.data()));
    gpu_.copy(to, buffer.memory.data(), Bytes{count * sizeof(BFloat16)}, stream_);
    buffer.sent = gpu_.record(stream_);
  }

  Gpu& gpu_;
  std::byte* next_;
  GpuStream stream_;
  Buffer buffers_[2];
  std::size_t turn_ = 0;
};

Bytes GpuWeights::size(const Checkpoint& checkpoint) {
  const auto together = [](std::initializer_list<const WeightView*> views) {
    std::size_t elements = 0;
    for (const WeightView* view : views) elements += num_elements(*view);
    return aligned_bytes(elements);
  };
  std::size_t bytes = together({&checkpoint.embedding()}) + together({&checkpoint.final_norm()});
  if (!is_tied(checkpoint)) bytes += together({&checkpoint.lm_head()});
  for (int i = 0; i < checkpoint.geometry().num_layers; ++i) {
    const LayerWeights& layer = checkpoint.layer(i);
    bytes += together({&layer.input_norm}) + together({&layer.post_attention_norm}) +
             together({&layer.q_weight, &layer.k_weight, &layer.v_weight}) +
             together({&layer.q_bias, &layer.k_bias, &layer.v_bias}) + together({&layer.o_weight}) +
             together({&layer.gate_weight, &layer.up_weight}) + together({&layer.down_weight});
  }
  return Bytes{bytes};
}

GpuWeights::GpuWeights(Gpu& gpu, const Checkpoint& checkpoint)
    : memory_(gpu, static_cast<std::size_t>(size(checkpoint).value)) {
  Loader loader(gpu, memory_.data());
  embedding_ = loader.load({&checkpoint.embedding()});
  for (int i = 0; i < checkpoint.geometry().num_layers; ++i) {
    const LayerWeights& layer = checkpoint.layer(i);
    layers_.push_back({.input_norm = loader.load({&layer.input_norm}),
                       .post_attention_norm = loader.load({&layer.post_attention_norm}),
                       .qkv = loader.load({&layer.q_weight, &layer.k_weight, &layer.v_weight}),
                       .qkv_bias = loader.load({&layer.q_bias, &layer.k_bias, &layer.v_bias}),
                       .output = loader.load({&layer.o_weight}),
                       .gate_up = loader.load({&layer.gate_weight, &layer.up_weight}),
                       .down = loader.load({&layer.down_weight})});
  }
  final_norm_ = loader.load({&checkpoint.final_norm()});
  lm_head_ = is_tied(checkpoint) ? embedding_ : loader.load({&checkpoint.lm_head()});
  loader.finish();
}

}  // namespace reprefill::engine
