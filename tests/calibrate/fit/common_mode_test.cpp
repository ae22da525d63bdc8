#include "calibrate/common_mode.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

#include "calibrate/predicted_session.hpp"
#include "calibrate/session/driver_cells.hpp"
#include "tests/support/shared_data.hpp"

namespace reprefill::calibrate {
namespace {

Measured reads(const char* quantity, std::vector<double> ns) {
  return {.spec = {.id = quantity, .quantity = quantity, .shape = {{"bytes", 4096}, {"depth", 1}}},
          .values = {std::move(ns)}};
}

TEST(DriveDriftSigma, IsWhatTurnsDifferByBeyondTheirSamples) {
  EXPECT_EQ(drive_drift_sigma({}), 0);
  EXPECT_EQ(drive_drift_sigma({reads("read", {100, 110, 90})}), 0);  // one turn
  // Two turns alike inside, e^0.2 apart: variance of two values 0.2 apart is 0.02.
  const double later = 100 * std::exp(0.2);
  EXPECT_NEAR(drive_drift_sigma({reads("read", {100, 100, 100, later, later, later})}), std::sqrt(0.02), 1e-9);
  // The same samples, mixed: they differ within turns.
  EXPECT_LT(drive_drift_sigma({reads("read", {100, later, 100, later, 100, later})}), 0.05);
}

TEST(DriveDriftSigma, CountsWhatHappensUntilTheCalibrationsEnd) {
  const std::vector<double> before(6, 100.0), after(3, 100 * std::exp(0.3));
  EXPECT_NEAR(drive_drift_sigma({reads("read", before), reads("read_again", after)}), 0.3, 1e-9);
}

class CommonModeFitTest : public testing::Test {
 protected:
  static ModelGeometry tiny() {
    return {.name = "tiny",
            .num_layers = 4,
            .hidden = 64,
            .num_query_heads = 4,
            .num_kv_heads = 2,
            .head_dim = 16,
            .intermediate = 96,
            .vocab = 128,
            .tied_embeddings = true,
            .max_position_embeddings = 512};
  }
  CommonModeFitTest() {
    plan_.models.push_back({.geometry = tiny(), .config = {}, .checkpoint = {}, .tokenizer = {}, .num_layers = 4});
    model_ = sim::read_bundle(test_support::source_folder() / "calibrate/profiles/a800-990pro").at("model");
    model_["host"]["driver"] = {
        {"per_operation_ns", 3000}, {"per_piece_ns", 0}, {"start_ns", 4000}, {"notice_ns", 9000}};
  }
  /// What a machine that is the profile, but for these factors, would have measured.
  Measurements machine(double gpu, double ssd, double ttft) const {
    const sim::Profile profile = sim::read_whole_model(model_, "test");
    Measurements m;
    for (const auto& cell : driver_cells(tiny(), {})) {
      const PredictedSession session = predict_session(cell->spec().shape, tiny(), profile);
      SessionWork work = session.work;
      work.gpu_ns *= gpu;
      work.ssd_ns *= ssd;
      const Json extra = {{"ttft_ns", session.ttft_ns * ttft}, {"work", to_json(work)}};
      // One sample of all the requests that a prediction has counts as three.
      m.cells.push_back({.spec = cell->spec(),
                         .values = {{300'000}, {100}, {0}, {4000}, {9000}},
                         .extras = {extra, Json(extra), Json(extra)}});
      for (Json& each : m.cells.back().extras) {
        SessionWork part = work;
        for (double* value : {&part.gpu_ns, &part.ssd_ns, &part.link_ns, &part.ssd_bytes, &part.link_bytes})
          *value /= 3;
        each["work"] = to_json(part);
      }
    }
    return m;
  }
  Plan plan_;
  Json model_;
};

TEST_F(CommonModeFitTest, AMachineThatIsTheProfileSharesNothing) {
  const auto fit = fit_common_mode(plan_, machine(1, 1, 1), model_);
  ASSERT_TRUE(fit);
  for (const auto* term :
       {&fit->common.gpu, &fit->common.ssd, &fit->common.link, &fit->common.host, &fit->common.session}) {
    EXPECT_NEAR(term->sigma, 0, 1e-3);
  }
  EXPECT_EQ(fit->common.session.num_sessions, 6);
  ASSERT_EQ(fit->report.points.size(), 6u);
  for (const FitPoint& point : fit->report.points) EXPECT_NEAR(*point.held_out / point.measured, 1, 1e-3);
}

TEST_F(CommonModeFitTest, ABiasOfADeviceIsThatDevicesTerm) {
  const auto fit = fit_common_mode(plan_, machine(1.1, 0.8, 1), model_);
  ASSERT_TRUE(fit);
  EXPECT_NEAR(fit->common.gpu.sigma, std::log(1.1), 1e-3);
  EXPECT_NEAR(fit->common.ssd.sigma, -std::log(0.8), 1e-3);
  EXPECT_EQ(fit->common.ssd.num_sessions, 5);  // resident reads nothing
  EXPECT_NEAR(fit->common.session.sigma, 0, 1e-6);
}

TEST_F(CommonModeFitTest, WhatNoDeviceAccountsForIsTheSessions) {
  const auto fit = fit_common_mode(plan_, machine(1, 1, 1.25), model_);
  ASSERT_TRUE(fit);
  EXPECT_NEAR(fit->common.session.sigma, std::log(1.25), 2e-3);
  EXPECT_NEAR(fit->common.gpu.sigma, 0, 1e-3);
}

TEST_F(CommonModeFitTest, WithoutSessionsOrAPartThereIsNone) {
  Measurements old = machine(1, 1, 1);
  for (Measured& cell : old.cells) cell.extras.clear();  // samples from before sessions were kept
  EXPECT_FALSE(fit_common_mode(plan_, old, model_));
  Json without_drive = model_;
  without_drive.erase("ssd");
  EXPECT_FALSE(fit_common_mode(plan_, machine(1, 1, 1), without_drive));
  EXPECT_FALSE(fit_common_mode(plan_, Measurements{}, model_));
}

}  // namespace
}  // namespace reprefill::calibrate
