#include "engine/executor/cpu/linear.hpp"

#include <algorithm>

#include <cblas.h>

#include "core/base/error.hpp"

namespace reprefill::engine {
namespace {

constexpr int kRowTile = 256;      // tokens of a tile
constexpr int kWidePanel = 256;    // outputs of a tile, where there are many
constexpr int kNarrowPanel = 128;  // and where wide ones would leave threads without work
constexpr int kManyOutputs = 2048;
constexpr int kRowStep = 16;  // rows are padded to a multiple of this
// OpenBLAS 0.3.21, kernel/x86_64/sgemm_small_kernel_permit_skylakex.c: above 100^3 the small-matrix path is not taken.
constexpr std::int64_t kSmallMatrix = 1'000'000;
constexpr int kRowsPerTask = 64;  // of weights, in multiply_row

int round_up(int value, int step) { return (value + step - 1) / step * step; }

int panel_width(int outputs) { return outputs >= kManyOutputs ? kWidePanel : kNarrowPanel; }

/// Fewest rows of a tile that keep it out of the small-matrix path.
int least_rows(int outputs, int inputs) {
  const std::int64_t per_row = std::int64_t{outputs} * inputs;
  return round_up(static_cast<int>(kSmallMatrix / per_row + 1), kRowStep);
}

void store_row(const float* result, const float* bias, std::size_t count, Store store, float* out) {
  for (std::size_t j = 0; j < count; ++j) {
    const float value = bias != nullptr ? result[j] + bias[j] : result[j];
    out[j] = store == Store::add ? out[j] + value : value;
  }
}

/// For layers so small that padding beyond the small-matrix path would take more than a tile.
void multiply_tiny(const Kernels& kernels, Rows rows, const float* weights, int outputs, int inputs, float* result) {
  const auto width = static_cast<std::size_t>(inputs);
  for (int row = 0; row < rows.count; ++row) {
    for (int output = 0; output < outputs; ++output) {
      const auto* weight = reinterpret_cast<const std::byte*>(weights + static_cast<std::size_t>(output) * width);
      *result++ = kernels.dot(Stored::fp32, weight, rows.data + static_cast<std::size_t>(row) * rows.stride, width);
    }
  }
}

}  // namespace

Stored stored_type(ElementType type) {
  switch (type) {
    case ElementType::bf16:
      return Stored::bf16;
    case ElementType::fp16:
      return Stored::fp16;
    case ElementType::fp32:
      return Stored::fp32;
  }
  REPREFILL_CHECK(false, "element type {}", static_cast<int>(type));
}

Bytes LinearWeights::widened_bytes() const {
  return Bytes{static_cast<std::uint64_t>(view_.rows) * static_cast<std::uint64_t>(view_.columns) * sizeof(float)};
}

bool LinearWeights::needs_widening() const {
  return view_.type != ElementType::fp32 || reinterpret_cast<std::uintptr_t>(view_.data) % alignof(float) != 0;
}

struct LinearLayers::Tile {
  const LinearJob* job = nullptr;
  int first_output = 0;
  int num_outputs = 0;
  int first_row = 0;
  int end_row = 0;  // several row tiles where a panel is widened for this task
};

LinearLayers::LinearLayers(WorkerPool& pool, const Kernels& kernels)
    : pool_(pool),
      kernels_(kernels),
      results_(static_cast<std::size_t>(pool.num_threads())),
      widened_(static_cast<std::size_t>(pool.num_threads())) {
  // The library's own threads would split a product by their number. Process-wide, as there is no other setting.
  openblas_set_num_threads(1);
}

int LinearLayers::padded_rows(int count) {
  return round_up(count, kRowTile);
}

std::vector<LinearLayers::Tile> LinearLayers::tiles(Rows rows, std::span<const LinearJob> jobs) const {
  std::vector<Tile> all;
  for (const LinearJob& job : jobs) {
    const int outputs = job.weights->outputs();
    const int width = panel_width(outputs);
    const bool is_widened = job.weights->widened_ != nullptr || !job.weights->needs_widening();
    const int rows_per_task = is_widened ? kRowTile : rows.count;
    for (int output = 0; output < outputs; output += width) {
      for (int row = 0; row < rows.count; row += rows_per_task) {
        all.push_back({.job = &job,
                       .first_output = output,
                       .num_outputs = std::min(width, outputs - output),
                       .first_row = row,
                       .end_row = std::min(rows.count, row + rows_per_task)});
      }
    }
  }
  return all;
}

void LinearLayers::multiply(Rows rows, std::span<const LinearJob> jobs) {
  if (rows.count == 0) return;
  fill_caches(jobs);
  const std::vector<Tile> work = tiles(rows, jobs);
  pool_.run(work.size(), [&](std::size_t i, int thread_idx) { run_tile(work[i], rows, thread_idx); });
}

void LinearLayers::fill_caches(std::span<const LinearJob> jobs) {
  for (const LinearJob& job : jobs) {
    LinearWeights& weights = *job.weights;
    if (!weights.cache_granted() || weights.widened_ || !weights.needs_widening()) continue;
    const auto inputs = static_cast<std::size_t>(weights.inputs());
    const auto outputs = static_cast<std::size_t>(weights.outputs());
    weights.widened_ = std::make_unique_for_overwrite<float[]>(outputs * inputs);
    const WeightView& view = weights.view_;
    const std::size_t row_bytes = inputs * (view.type == ElementType::fp32 ? 4 : 2);
    const std::size_t num_tasks = divide_rounding_up<std::size_t>(outputs, kRowsPerTask);
    pool_.run(num_tasks, [&](std::size_t task, int) {
      const std::size_t first = task * kRowsPerTask;
      const std::size_t count = std::min<std::size_t>(kRowsPerTask, outputs - first);
      kernels_.widen(stored_type(view.type), view.data + first * row_bytes, count * inputs,
                     weights.widened_.get() + first * inputs);
    });
  }
}

const float* LinearLayers::panel_weights(const Tile& tile, int thread_idx) {
  const LinearWeights& weights = *tile.job->weights;
  const auto inputs = static_cast<std::size_t>(weights.inputs());
  const std::size_t offset = static_cast<std::size_t>(tile.first_output) * inputs;
  if (weights.widened_) return weights.widened_.get() + offset;
  if (!weights.needs_widening()) return reinterpret_cast<const float*>(weights.view_.data) + offset;
  std::vector<float>& panel = widened_[static_cast<std::size_t>(thread_idx)];
  const std::size_t count = static_cast<std::size_t>(tile.num_outputs) * inputs;
  if (panel.size() < count) panel.resize(count);
  const Stored type = stored_type(weights.view_.type);
  kernels_.widen(type, weights.view_.data + offset * (type == Stored::fp32 ? 4 : 2), count, panel.data());
  return panel.data();
}

void LinearLayers::run_tile(const Tile& tile, Rows rows, int thread_idx) {
  const LinearJob& job = *tile.job;
  const int inputs = job.weights->inputs();
  const int least = least_rows(tile.num_outputs, inputs);
  const float* weights = panel_weights(tile, thread_idx);
  std::vector<float>& result = results_[static_cast<std::size_t>(thread_idx)];
  const auto width = static_cast<std::size_t>(tile.num_outputs);
  for (int row = tile.first_row; row < tile.end_row; row += kRowTile) {
    const int count = std::min(kRowTile, tile.end_row - row);
    const int padded = std::max(round_up(count, kRowStep), least);
    if (result.size() < static_cast<std::size_t>(padded) * width) result.resize(static_cast<std::size_t>(padded) * width);
    const float* input = rows.data + static_cast<std::size_t>(row) * rows.stride;
    if (least <= kRowTile) {
      cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasTrans, padded, tile.num_outputs, inputs, 1.0f, input,
                  static_cast<int>(rows.stride), weights, inputs, 0.0f, result.data(), tile.num_outputs);
    } else {
      multiply_tiny(kernels_, {input, rows.stride, count}, weights, tile.num_outputs, inputs, result.data());
    }
    const float* bias = job.bias != nullptr ? job.bias + tile.first_output : nullptr;
    for (int r = 0; r < count; ++r) {
      float* out = job.out + static_cast<std::size_t>(row + r) * job.out_stride + tile.first_output;
      store_row(result.data() + static_cast<std::size_t>(r) * width, bias, width, job.store, out);
    }
  }
}

void LinearLayers::multiply_row(const float* row, std::span<const LinearJob> jobs) {
  struct Part {
    const LinearJob* job;
    int first;
    int end;
  };
  std::vector<Part> parts;
  for (const LinearJob& job : jobs) {
    for (int first = 0; first < job.weights->outputs(); first += kRowsPerTask) {
      parts.push_back({&job, first, std::min(first + kRowsPerTask, job.weights->outputs())});
    }
  }
  pool_.run(parts.size(), [&](std::size_t i, int) {
    const Part& part = parts[i];
    const WeightView& view = part.job->weights->view_;
    const Stored type = stored_type(view.type);
    const auto inputs = static_cast<std::size_t>(view.columns);
    const std::size_t row_bytes = inputs * (type == Stored::fp32 ? 4 : 2);
    for (int output = part.first; output < part.end; ++output) {
      float sum = kernels_.dot(type, view.data + static_cast<std::size_t>(output) * row_bytes, row, inputs);
      if (part.job->bias != nullptr) sum += part.job->bias[output];
      float& out = part.job->out[output];
      out = part.job->store == Store::add ? out + sum : sum;
    }
  });
}

}  // namespace reprefill::engine
