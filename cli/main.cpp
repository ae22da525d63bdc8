#include <cstdio>
#include "sim/simulation/run_point.hpp"
#include "core/base/error.hpp"
using namespace reprefill; using namespace reprefill::sim;
int main(int argc, char** argv) {
  try {
    ScenarioContext c{"scenarios/models", "calibrate/profiles", "../shared/traces", "traces/samples"};
    std::vector<Override> o; for (int i=2;i<argc;++i) o.push_back(parse_override(argv[i]));
    Scenario s = read_scenario(argv[1], o, c); SharedInputs in(c);
    for (auto& p : s.points) { auto r = run_point(p, in, {}); fmt::print("{:16} {:10} {} ttft {} ms  time {} bytes {} eff {} mass {} events {}\n", p.label, std::string(enum_name(p.path.kind)), p.axes.dump(), r.row["ttft"]["mean_ttft_ms"].dump(), r.row["time_ms"].dump(), r.row["bytes_per_request"]["requested_bytes"].dump(), r.row["efficiency"].dump(), r.row["attention_mass_kept"].dump(), r.num_events); }
  } catch (const std::exception& e) { std::fprintf(stderr, "%s\n", e.what()); return 2; }
}
