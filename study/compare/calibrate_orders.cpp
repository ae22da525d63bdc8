#include "study/compare/calibrate_orders.hpp"

#include <algorithm>

#include "core/pipeline/reordering.hpp"
#include "engine/store/calibration.hpp"
#include "traces/importance/recorded_importance.hpp"

namespace reprefill::study {
namespace {

/// One layout's order, wanted by some points: the first of them decides how its scores are computed.
struct Order {
  WantedOrder wanted;
  const sim::Point* point = nullptr;
};

std::vector<Order> orders_of(std::span<const sim::Point> points) {
  std::vector<Order> orders;
  for (const sim::Point& point : points) {
    const std::optional<WantedOrder> wanted = wanted_order(point);
    if (!wanted) continue;
    const auto known = std::ranges::find_if(orders, [&](const Order& o) { return o.wanted.layout == wanted->layout; });
    if (known == orders.end()) {
      orders.push_back({.wanted = *wanted, .point = &point});
    } else if (known->wanted.calibration_requests != wanted->calibration_requests) {
      throw ConfigError(
          fmt::format("{}: reorder.calibration_requests: found {} and {}; compare builds one store, give it one value",
                      point.origin, known->wanted.calibration_requests, wanted->calibration_requests));
    }
  }
  return orders;
}

/// `count` requests on each segment, those of other scenarios in the same store too.
std::vector<engine::Prompt> calibration_prompts(const engine::Store& store, const sim::Point& point,
                                                std::uint32_t count) {
  std::vector<engine::Prompt> prompts;
  for (std::uint32_t i = 0; i < store.num_segments(); ++i) {
    std::vector<std::int32_t> prefix;
    for (const SegmentSpan& span : store.path_of(SegmentId{i})) {
      const std::vector<std::int32_t>& ids = store.segment(span.segment).token_ids;
      prefix.insert(prefix.end(), ids.begin(), ids.begin() + span.num_tokens);
    }
    for (std::uint32_t number = 0; number < count; ++number) {
      engine::Prompt& prompt = prompts.emplace_back();
      prompt.name = fmt::format("calibration {}", prompts.size() - 1);
      prompt.ids = prefix;
      const auto suffix = calibration_suffix(point, store.segment(SegmentId{i}).key.low, number);
      prompt.ids.insert(prompt.ids.end(), suffix.begin(), suffix.end());
    }
  }
  return prompts;
}

bool is_ordered(const engine::Store& store, const WantedOrder& wanted) {
  const std::vector<engine::StoredLayout>& layouts = store.manifest().layouts;
  return std::ranges::find(layouts, wanted.layout) != layouts.end() &&
         engine::StoredOrders(store, wanted.layout).come_from(wanted.calibration_requests);
}

/// Scores of all layers under full KV, of the heads that the system probes.
traces::RecordedImportance record_scores(engine::Model& model, const engine::Store& store, const Order& order,
                                         std::span<const engine::Prompt> prompts, const RealRunOptions& options,
                                         const std::filesystem::path& file) {
  sim::Point point = *order.point;
  point.system_params["reorder"]["io"] = "off";
  point.system_params["budget"] = "1";
  const CompareWorkload workload{.prompts = {prompts.begin(), prompts.end()}, .num_warmup = 0, .prefixes = {}};
  run_on_engine(model, store, point, workload, options, file);
  return traces::RecordedImportance::open(file);
}

}  // namespace

std::optional<WantedOrder> wanted_order(const sim::Point& point) {
  const pipeline::SystemEnvironment environment = environment_of(point);
  const Json name = point.system;
  const auto system = pipeline::find_system(JsonValue(name, point.origin)).make(point.system_params, environment);
  const pipeline::Reordering* reordering = system->reordering();
  if (reordering == nullptr || reordering->params().io != pipeline::ReorderIo::offline) return std::nullopt;
  return WantedOrder{.layout = engine::make_stored_layout(*system->store_layout()),
                     .calibration_requests = reordering->params().calibration_requests};
}

void calibrate_orders(engine::Model& model, engine::Store& store, std::span<const sim::Point> points,
                      const RealRunOptions& options, const std::filesystem::path& work_folder) {
  for (const Order& order : orders_of(points)) {
    if (is_ordered(store, order.wanted)) continue;
    const std::uint32_t count = order.wanted.calibration_requests;
    const std::vector<engine::Prompt> prompts = calibration_prompts(store, *order.point, count);
    const auto importance = record_scores(model, store, order, prompts, options, work_folder / "calibration.rimp");
    engine::StoredLayout plain = order.wanted.layout;
    plain.permutation = false;
    engine::reorder_store(store.folder(), {.layout = layout_name(plain), .calibration_requests = count},
                          [&](const engine::Store& opened) {
                            std::vector<pipeline::CalibrationRequest> requests;
                            for (std::size_t i = 0; i < prompts.size(); ++i) {
                              requests.push_back(engine::calibration_request(opened, prompts[i].ids, i));
                            }
                            return engine::orders_from_recording(opened, importance, requests, count,
                                                                 "calibration requests");
                          });
    store = engine::Store::open(store.folder());
  }
}

}  // namespace reprefill::study
