// `reprefill profile`: what a hardware profile says and where each number comes from; two of them beside each other;
// what-if parts.
#include <cmath>
#include <map>

#include "calibrate/bundle.hpp"
#include "calibrate/bundle_diff.hpp"
#include "calibrate/derive.hpp"
#include "cli/verbs.hpp"
#include "core/base/files.hpp"
#include "core/base/text_table.hpp"
#include "sim/devices/profile.hpp"

namespace reprefill::cli {
namespace {

constexpr const char* kParts[] = {"gpu", "ssd", "link", "host"};

struct ProfileOptions {
  std::string name;
  std::string other;
  std::string out;
  bool json = false;
  bool all = false;
  std::map<std::string, calibrate::PartChanges> changes;
};

std::string brief(const Json& shape) {
  std::string text;
  for (const auto& [key, value] : shape.items()) {
    const bool is_whole = value.is_number_float() && value.get<double>() == std::floor(value.get<double>());
    text += fmt::format("{}{}={}", text.empty() ? "" : " ", key,
                        is_whole            ? fmt::format("{:.0f}", value.get<double>())
                        : value.is_string() ? value.get<std::string>()
                                            : value.dump());
  }
  return text.empty() ? "-" : text;
}

std::string percent(double share) { return fmt::format("{:+.1f} %", 100 * share); }

void print_part(const char* part, const Json& numbers) {
  fmt::print("\n{}: {}\n", part, numbers.value("name", ""));
  TextTable table({"parameter", "value", "source"});
  for (const auto& [key, value] : numbers.items()) {
    if (key == "sources" || key == "name" || key == "operations" || key == "read_curve") continue;
    table.add_row({key, value.dump(), numbers["sources"].value(key, "")});
  }
  fmt::print("{}", table.to_text());
}

/// Measured against fitted.
void print_fits(const std::vector<calibrate::FitReport>& fits) {
  for (const calibrate::FitReport& fit : fits) {
    fmt::print("\n{} ({}): {}\n", fit.name, fit.unit, fit.rule);
    TextTable table({"shape", "measured", "spread", "fitted", "error", "held-out error", ""});
    for (const calibrate::FitPoint& point : fit.points) {
      table.add_row({brief(point.shape), fmt::format("{:.6g}", point.measured),
                     fmt::format("{:.1f} %", 100 * point.spread), fmt::format("{:.6g}", point.fitted),
                     percent(point.fitted / point.measured - 1),
                     point.held_out ? percent(*point.held_out / point.measured - 1) : "-",
                     point.converged ? "" : "not converged"});
    }
    fmt::print("{}", table.to_text());
  }
  if (!fits.empty()) fmt::print("\n{}", calibrate::describe(fits));
}

void show(const ProfileOptions& options, const Environment& environment) {
  const std::filesystem::path folder = sim::find_bundle(options.name, environment.scenario.profiles);
  const Json bundle = sim::read_bundle(folder);
  sim::check_bundle(folder);
  if (options.json) {
    fmt::print("{}\n", bundle.dump(2));
    return;
  }
  const Json& meta = bundle["meta"];
  fmt::print("{} ({})\n", folder.filename().string(), meta.value("kind", ""));
  for (const auto& [key, value] : meta.items()) {
    if (value.is_string() && key != "model_digest") fmt::print("  {}: {}\n", key, value.get<std::string>());
  }
  for (const char* part : kParts) {
    if (bundle["model"].contains(part)) print_part(part, bundle["model"][part]);
  }
  if (bundle["model"].contains("interference")) {
    const std::size_t pairs = bundle["model"]["interference"].size();
    fmt::print("\ninterference: {} pairs measured, {} missing (taken as 1)\n", pairs,
               sim::kNumActivities * (sim::kNumActivities - 1) - static_cast<int>(pairs));
  }
  print_fits(calibrate::fits_of(bundle["model"], (folder / "model.json").string()));
  for (const Json& text : meta.value("disturbances", Json::array())) {
    fmt::print("note: while it was measured, {}\n", text.get<std::string>());
  }
  const int threads = meta.contains("plan") ? meta["plan"].value("threads", 0) : 0;
  for (const std::string& difference : calibrate::differences_of_machine(meta, threads)) {
    fmt::print("note: {}\n", difference);
  }
}

void list(const ProfileOptions& options, const Environment& environment) {
  const std::vector<std::string> names = sim::shipped_profiles(environment.scenario.profiles);
  if (options.json) {
    fmt::print("{}\n", Json(names).dump());
    return;
  }
  for (const std::string& name : names) fmt::print("{}\n", name);
}

Json read_model(const std::string& name, const Environment& environment) {
  const std::filesystem::path folder = sim::find_bundle(name, environment.scenario.profiles);
  sim::check_bundle(folder);
  return sim::read_bundle(folder).at("model");
}

void diff(const ProfileOptions& options, const Environment& environment) {
  const std::vector<calibrate::Difference> differences =
      calibrate::diff_bundles(read_model(options.name, environment), read_model(options.other, environment));
  if (options.json) {
    Json json = Json::array();
    for (const calibrate::Difference& d : differences) {
      json.push_back({{"quantity", d.quantity},
                      {"shape", d.shape},
                      {"first", d.first ? Json(*d.first) : Json(nullptr)},
                      {"second", d.second ? Json(*d.second) : Json(nullptr)},
                      {"noise", d.noise},
                      {"change", calibrate::name_of(d.change)}});
    }
    fmt::print("{}\n", json.dump(2));
    return;
  }
  TextTable table({"quantity", "shape", options.name, options.other, "difference", "noise", "verdict"});
  std::map<calibrate::Change, std::size_t> counts;
  const auto text_of = [](const std::optional<double>& value) {
    return value ? fmt::format("{:.6g}", *value) : std::string("-");
  };
  for (const calibrate::Difference& d : differences) {
    ++counts[d.change];
    const bool tells = d.first && d.second && d.change != calibrate::Change::same;
    if (!tells && !options.all) continue;
    const bool both = d.first && d.second && *d.first != 0;
    table.add_row({d.quantity, d.shape.is_null() ? "-" : brief(d.shape), text_of(d.first), text_of(d.second),
                   both ? percent(*d.second / *d.first - 1) : "-",
                   d.noise > 0 ? fmt::format("{:.1f} %", 100 * d.noise) : "-", calibrate::name_of(d.change)});
  }
  fmt::print("{}\n", table.to_text());
  std::string summary;
  for (const auto& [change, count] : counts) {
    summary += fmt::format("{}{} {}", summary.empty() ? "" : ", ", count, calibrate::name_of(change));
  }
  fmt::print("{}{}\n", summary, options.all ? "" : "; --all lists all");
}

void derive(const ProfileOptions& options, const Environment& environment) {
  const std::filesystem::path out(options.out);
  if (path_exists(out / "model.json")) {
    throw ConfigError(fmt::format("--out: {} holds a bundle already; name another folder", out.string()));
  }
  const std::string name = std::filesystem::absolute(out).lexically_normal().filename();
  const calibrate::DerivedBundle derived =
      calibrate::derive_bundle(options.name, options.changes, name, environment.scenario.profiles);
  std::filesystem::create_directories(out);
  calibrate::write_bundle(out, {.meta = derived.meta, .model = derived.model, .fits = {}});
  fmt::print("{}: hypothetical. Use it as \"profile\": \"{}\", or `--set profile={}`\n", name, out.string(),
             out.string());
}

template <typename Part>
void add_number_options(CLI::App& verb, const char* part, const ParamTable<Part>& table,
                        const std::shared_ptr<ProfileOptions>& options) {
  for (const ParamInfo& info : table.infos()) {
    const std::string bare = detail::name_without_suffix(info);
    verb.add_option_function<std::string>(
        fmt::format("--{}.{}", part, bare),
        [options, part, bare](const std::string& value) { options->changes[part].numbers[bare] = value; },
        bare == info.name ? info.doc : fmt::format("{}, with a unit", info.doc));
  }
}

void add_derive(CLI::App& profile, const Environment& environment) {
  auto options = std::make_shared<ProfileOptions>();
  CLI::App* verb = profile.add_subcommand("derive", "A what-if profile: numbers changed, parts of other profiles");
  verb->add_option("name", options->name, "The profile to begin with: shipped, or a bundle's folder")->required();
  verb->add_option("--out", options->out, "Folder of the new bundle")->required();
  for (const char* part : kParts) {
    verb->add_option_function<std::string>(
        fmt::format("--{}", part), [options, part](const std::string& from) { options->changes[part].from = from; },
        fmt::format("Take the part {} of this profile", part));
  }
  add_number_options(*verb, "gpu", sim::gpu_profile_params(), options);
  add_number_options(*verb, "ssd", sim::ssd_profile_params(), options);
  add_number_options(*verb, "link", sim::link_profile_params(), options);
  add_number_options(*verb, "host", sim::host_profile_params(), options);
  verb->callback([options, environment] { derive(*options, environment); });
}

}  // namespace

void add_profile(CLI::App& app, const Environment& environment) {
  CLI::App* verb = app.add_subcommand("profile", "Hardware profiles");
  verb->require_subcommand(1);
  auto options = std::make_shared<ProfileOptions>();
  CLI::App* show_verb =
      verb->add_subcommand("show", "Every number of a profile, with its source; what was measured against its fit");
  show_verb->add_option("name", options->name, "A shipped profile or a bundle's folder")->required();
  show_verb->add_flag("--json", options->json, "Machine-readable");
  show_verb->callback([options, environment] { show(*options, environment); });
  CLI::App* list_verb = verb->add_subcommand("list", "Shipped profiles");
  list_verb->add_flag("--json", options->json, "Machine-readable");
  list_verb->callback([options, environment] { list(*options, environment); });
  CLI::App* diff_verb = verb->add_subcommand("diff", "Two profiles: what is better, worse, the same or ambiguous");
  diff_verb->add_option("name", options->name, "A shipped profile or a bundle's folder")->required();
  diff_verb->add_option("other", options->other, "Another one")->required();
  diff_verb->add_flag("--all", options->all, "List what is the same, and what only one has, too");
  diff_verb->add_flag("--json", options->json, "Machine-readable");
  diff_verb->callback([options, environment] { diff(*options, environment); });
  add_derive(*verb, environment);
}

}  // namespace reprefill::cli
