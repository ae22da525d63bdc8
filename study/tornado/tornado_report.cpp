#include <cmath>

#include "core/base/text_table.hpp"
#include "study/tornado/tornado.hpp"

namespace reprefill::study {
namespace {

std::string text_of(const Json& value) { return value.is_string() ? value.get<std::string>() : value.dump(); }

double change_of(const Tornado& tornado, const TornadoRun& run) {
  return tornado.base.over_ms > 0 ? run.speed_up() / tornado.base.speed_up() - 1
                                  : run.ttft_ms / tornado.base.ttft_ms - 1;
}

/// One mark for each 2 %, to the left or right of the base; 30 at most.
std::string bar_of(double change) {
  const int marks = std::min(30, static_cast<int>(std::lround(std::abs(change) * 50)));
  return (change < 0 ? "-" : "+") + std::string(static_cast<std::size_t>(marks), change < 0 ? '<' : '>');
}

}  // namespace

std::string tornado_text(const Tornado& tornado, const TornadoOptions& options) {
  const bool has_over = tornado.base.over_ms > 0;
  std::string text = fmt::format("{}: mean TTFT {:.2f} ms", options.system, tornado.base.ttft_ms);
  if (has_over) {
    text += fmt::format("; {:.2f} times as fast as {} ({:.2f} ms)", tornado.base.speed_up(), options.over,
                        tornado.base.over_ms);
  }
  text += tornado.settings.empty() ? "\n" : fmt::format(", at {}\n", tornado.settings.dump());
  std::vector<std::string> header = {"id", "assumption", "reading", "TTFT ms"};
  if (has_over) header.insert(header.end(), {options.over + " ms", "speed-up"});
  header.insert(header.end(), {"change %", "bar"});
  TextTable table(header);
  for (const TornadoBar& bar : tornado.bars) {
    for (const TornadoBar::Reading& reading : bar.readings) {
      std::vector<std::string> line = {bar.assumption.id, bar.assumption.what, text_of(reading.value),
                                       fmt::format("{:.2f}", reading.run.ttft_ms)};
      if (has_over) {
        line.push_back(fmt::format("{:.2f}", reading.run.over_ms));
        line.push_back(fmt::format("{:.2f}", reading.run.speed_up()));
      }
      const double change = change_of(tornado, reading.run);
      line.push_back(fmt::format("{:+.1f}", 100 * change));
      line.push_back(bar_of(change));
      table.add_row(line);
    }
  }
  text += table.to_text() + "\nNot varied:\n";
  for (const Assumption& assumption : tornado.not_varied) {
    text += fmt::format("  {:<4} {}: {}\n", assumption.id, assumption.what, assumption.not_varied);
  }
  return text;
}

Json tornado_json(const Tornado& tornado) {
  const auto run_json = [](const TornadoRun& run) {
    Json json = {{"ttft_ms", run.ttft_ms}};
    if (run.over_ms > 0) {
      json["over_ms"] = run.over_ms;
      json["speed_up"] = run.speed_up();
    }
    return json;
  };
  Json json = {{"schema_version", 1}, {"settings", tornado.settings}, {"base", run_json(tornado.base)}};
  json["bars"] = Json::array();
  for (const TornadoBar& bar : tornado.bars) {
    Json entry = {{"id", bar.assumption.id},
                  {"what", bar.assumption.what},
                  {"set", bar.assumption.path},
                  {"swing", bar.swing},
                  {"readings", Json::array()}};
    for (const TornadoBar::Reading& reading : bar.readings) {
      Json run = run_json(reading.run);
      run["value"] = reading.value;
      run["change"] = change_of(tornado, reading.run);
      entry["readings"].push_back(std::move(run));
    }
    json["bars"].push_back(std::move(entry));
  }
  json["not_varied"] = Json::array();
  for (const Assumption& assumption : tornado.not_varied) {
    json["not_varied"].push_back({{"id", assumption.id}, {"what", assumption.what}, {"why", assumption.not_varied}});
  }
  return json;
}

}  // namespace reprefill::study
