#include "engine/executor/cpu/linear.hpp"

#include <algorithm>
#include <cstring>

#include <cblas.h>

#include "core/base/error.hpp"
#include "engine/executor/cpu/row_products.hpp"

namespace reprefill::engine {
namespace {

constexpr int kPanel = 256;         // outputs of a tile, at most
constexpr int kMinRows = 128;       // below, more tiles for more threads cost more than they give
constexpr int kTilesPerThread = 3;  // so that threads end together
constexpr int kMaxPadding = 256;    // rows
// OpenBLAS 0.3.21, kernel/x86_64/sgemm_small_kernel_permit_skylakex.c: above 100^3 the small-matrix path is not taken.
constexpr std::int64_t kSmallMatrix = 1'000'000;
constexpr int kRowsPerTask = 64;  // of weights, in multiply_row

int round_up(int value, int step) { return (value + step - 1) / step * step; }

/// Equal panels; a function of the weights alone.
int panel_width(int outputs) {
  const int num_panels = divide_rounding_up(outputs, kPanel);
  return round_up(divide_rounding_up(outputs, num_panels), kRowStep);
}

/// Fewest rows of a tile that keep it out of the small-matrix path; above kMaxPadding for tiny layers.
int least_rows(int outputs, int inputs) {
  const std::int64_t per_row = std::int64_t{outputs} * inputs;
  return round_up(static_cast<int>(kSmallMatrix / per_row + 1), kRowStep);
}

/// For layers so small that padding beyond the small-matrix path would take more than kMaxPadding rows.
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
  int num_rows = 0;
};

LinearLayers::LinearLayers(WorkerPool& pool, const Kernels& kernels)
    : pool_(pool),
      kernels_(kernels),
      results_(static_cast<std::size_t>(pool.num_threads())),
      frames_(static_cast<std::size_t>(pool.num_threads())),
      widened_(static_cast<std::size_t>(pool.num_threads())) {
  // The library's own threads would split a product by their number. Process-wide, as there is no other setting.
  openblas_set_num_threads(1);
}

int LinearLayers::padded_rows(int count) { return count + kMaxPadding; }

/// Rows of a tile may depend on the number of threads, since a row does not depend on the others.
std::vector<LinearLayers::Tile> LinearLayers::tiles(Rows rows, std::span<const LinearJob> jobs) const {
  int num_panels = 0;
  for (const LinearJob& job : jobs) {
    num_panels += divide_rounding_up(job.weights->outputs(), panel_width(job.weights->outputs()));
  }
  const int wanted = divide_rounding_up(kTilesPerThread * pool_.num_threads(), num_panels);
  const int row_tiles = std::max(std::min(wanted, divide_rounding_up(rows.count, kMinRows)),
                                 divide_rounding_up(rows.count, most_rows(row_placement())));
  const int rows_per_tile = round_up(divide_rounding_up(rows.count, row_tiles), kRowStep);
  std::vector<Tile> all;
  for (const LinearJob& job : jobs) {
    const int outputs = job.weights->outputs();
    const int width = panel_width(outputs);
    for (int output = 0; output < outputs; output += width) {
      for (int row = 0; row < rows.count; row += rows_per_tile) {
        all.push_back({.job = &job,
                       .first_output = output,
                       .num_outputs = std::min(width, outputs - output),
                       .first_row = row,
                       .num_rows = std::min(rows_per_tile, rows.count - row)});
      }
    }
  }
  return all;
}

void LinearLayers::multiply(Rows rows, std::span<const LinearJob> jobs) {
  if (rows.count == 0) return;
  for (const LinearJob& job : jobs) {
    REPREFILL_CHECK(job.bias == nullptr || job.store == Store::assign, "a bias is not added to what is there");
  }
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
  const int padded = std::max(round_up(tile.num_rows, kRowStep), least);
  const float* weights = panel_weights(tile, thread_idx);
  const float* input = rows.data + static_cast<std::size_t>(tile.first_row) * rows.stride;
  const auto width = static_cast<std::size_t>(tile.num_outputs);
  std::vector<float>& result = results_[static_cast<std::size_t>(thread_idx)];
  const std::size_t result_size = static_cast<std::size_t>(padded) * width;
  if (result.size() < result_size) result.resize(result_size);
  if (least <= kMaxPadding) {
    multiply_rows({.rows = input,
                   .stride = rows.stride,
                   .num_rows = row_placement() == RowPlacement::rows ? padded : tile.num_rows,
                   .weights = weights,
                   .outputs = tile.num_outputs,
                   .inputs = inputs,
                   .result = result.data()},
                  row_placement(), frames_[static_cast<std::size_t>(thread_idx)]);
  } else {
    multiply_tiny(kernels_, {input, rows.stride, tile.num_rows}, weights, tile.num_outputs, inputs, result.data());
  }
  for (int row = 0; row < tile.num_rows; ++row) {
    float* out = job.out + static_cast<std::size_t>(tile.first_row + row) * job.out_stride + tile.first_output;
    const float* sums = result.data() + static_cast<std::size_t>(row) * width;
    if (job.store == Store::add) {
      kernels_.add(sums, out, width, out);
    } else if (job.bias != nullptr) {
      kernels_.add(sums, job.bias + tile.first_output, width, out);
    } else {
      std::memcpy(out, sums, width * sizeof(float));
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
      const float sum = kernels_.dot(type, view.data + static_cast<std::size_t>(output) * row_bytes, row, inputs);
      float& out = part.job->out[output];
      out = sum + (part.job->store == Store::add ? out : part.job->bias != nullptr ? part.job->bias[output] : 0.0f);
    }
  });
}

}  // namespace reprefill::engine
