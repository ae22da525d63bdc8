// `reprefill profile`: what a hardware profile says and where each number comes from.
#include "sim/devices/profile.hpp"
#include "cli/verbs.hpp"
#include "core/base/text_table.hpp"

namespace reprefill::cli {
namespace {

struct ProfileOptions {
  std::string name;
  bool json = false;
};

void show(const ProfileOptions& options, const Environment& environment) {
  const Json name = options.name;
  const sim::Profile profile = sim::read_profile(JsonValue(name, "reprefill profile"), environment.scenario.profiles);
  const std::filesystem::path shipped = environment.scenario.profiles / options.name;
  const Json bundle =
      sim::read_bundle(std::filesystem::exists(shipped) ? shipped : std::filesystem::path(options.name));
  if (options.json) {
    fmt::print("{}\n", bundle.dump(2));
    return;
  }
  fmt::print("{} ({})\n", profile.name, profile.hypothetical ? "hypothetical" : "measured");
  for (const auto& [key, value] : bundle["meta"].items()) {
    if (value.is_string()) fmt::print("  {}: {}\n", key, value.get<std::string>());
  }
  for (const char* part : {"gpu", "ssd", "link", "host"}) {
    const Json& numbers = bundle["model"][part];
    fmt::print("\n{}: {}\n", part, numbers.value("name", ""));
    TextTable table({"parameter", "value", "source"});
    for (const auto& [key, value] : numbers.items()) {
      if (key == "sources" || key == "name") continue;
      table.add_row({key, value.dump(), numbers["sources"].value(key, "")});
    }
    fmt::print("{}", table.to_text());
  }
  fmt::print("\ninterference: {} pairs measured, {} missing (taken as 1)\n", profile.interference.size(),
             profile.num_missing_interference_pairs());
}

void list(const ProfileOptions& options, const Environment& environment) {
  const std::vector<std::string> names = sim::shipped_profiles(environment.scenario.profiles);
  if (options.json) {
    fmt::print("{}\n", Json(names).dump());
    return;
  }
  for (const std::string& name : names) fmt::print("{}\n", name);
}

}  // namespace

void add_profile(CLI::App& app, const Environment& environment) {
  CLI::App* verb = app.add_subcommand("profile", "Hardware profiles");
  verb->require_subcommand(1);
  auto options = std::make_shared<ProfileOptions>();
  CLI::App* show_verb = verb->add_subcommand("show", "Every number of a profile, with its source");
  show_verb->add_option("name", options->name, "A shipped profile or a bundle's folder")->required();
  show_verb->add_flag("--json", options->json, "Machine-readable");
  show_verb->callback([options, environment] { show(*options, environment); });
  CLI::App* list_verb = verb->add_subcommand("list", "Shipped profiles");
  list_verb->add_flag("--json", options->json, "Machine-readable");
  list_verb->callback([options, environment] { list(*options, environment); });
}

}  // namespace reprefill::cli
