// `reprefill systems`: systems, cache policies, scorers and software paths, with every parameter.
#include <fmt/ranges.h>

#include "cli/new_system.hpp"
#include "cli/verbs.hpp"
#include "core/base/text_table.hpp"
#include "core/cache/eviction/registry.hpp"
#include "core/pipeline/system.hpp"
#include "traces/importance/importance_presets.hpp"

namespace reprefill::cli {
namespace {

struct SystemsOptions {
  std::string name;
  std::string new_name;
  std::string out;
  bool json = false;
};

struct Scorer {
  const char* name;
  const char* doc;
};
constexpr Scorer kScorers[] = {
    {"keys", "column sums over all KV heads (contiguous_kv) or per KV head (as_h2o); reads all keys of the layer"},
    {"digest:mean", "as keys, every token standing for its chunk's mean key (contiguous_kv); reads one key a chunk"},
    {"digest:minmax",
     "as keys, every token standing for the largest product that its chunk's extremes allow (contiguous_kv); reads two "
     "keys' bytes a chunk"},
    {"int4_keys",
     "as keys, in 4 bits an element (contiguous_kv); reads 28 % of their bytes, or none once in host memory"},
    {"probe", "column sums of a few query heads (impress); reads their KV heads' keys"},
    {"probe_per_group", "the same of the first query head of each KV head (impress); reads all keys"},
    {"recorded", "scores of an importance trace: importance.kind recorded"},
};

Json param_json(const ParamInfo& info, const Json& prototype, const Json& direct) {
  const auto value_in = [&](const Json& resolved) -> Json {
    const auto dot = info.name.find('.');
    if (dot == std::string::npos) return resolved.at(info.name);
    return resolved.at(info.name.substr(0, dot)).at(info.name.substr(dot + 1));
  };
  Json json = {
      {"name", info.name}, {"type", info.type}, {"unit", info.unit}, {"doc", info.doc}, {"source", info.source}};
  if (!info.choices.empty()) json["choices"] = info.choices;
  json["default_prototype"] = value_in(prototype);
  json["default_direct"] = value_in(direct);
  return json;
}

Json system_json(const pipeline::SystemEntry& system) {
  const Json none = Json::object();
  const JsonValue empty(none, system.name);
  const Json prototype = system.resolve(empty, pipeline::PathKind::prototype);
  const Json direct = system.resolve(empty, pipeline::PathKind::direct);
  Json json = {{"name", system.name}, {"doc", system.doc}, {"timing_dependent", system.timing_dependent}};
  json["params"] = Json::array();
  for (const ParamInfo& info : system.params()) json["params"].push_back(param_json(info, prototype, direct));
  return json;
}

Json everything() {
  Json json = Json::object();
  for (const pipeline::SystemEntry& system : pipeline::system_registry())
    json["systems"].push_back(system_json(system));
  for (const cache::PolicyInfo& policy : cache::eviction_policies()) {
    json["cache_policies"].push_back({{"name", policy.name}, {"doc", policy.doc}, {"source", policy.source}});
  }
  for (const Scorer& scorer : kScorers) json["scorers"].push_back({{"name", scorer.name}, {"doc", scorer.doc}});
  const Json prototype =
      pipeline::software_path_params().write(pipeline::default_software_path(pipeline::PathKind::prototype));
  const Json direct =
      pipeline::software_path_params().write(pipeline::default_software_path(pipeline::PathKind::direct));
  for (const ParamInfo& info : pipeline::software_path_params().infos()) {
    json["software_path"].push_back(param_json(info, prototype, direct));
  }
  for (const traces::ImportancePreset& preset : traces::importance_presets()) {
    json["importance_presets"].push_back({{"name", preset.name}, {"doc", preset.doc}});
  }
  return json;
}

std::string text_of(const Json& value) { return value.is_string() ? value.get<std::string>() : value.dump(); }

void print_params(const Json& params) {
  TextTable table({"parameter", "prototype", "direct", "unit", "meaning", "source"});
  for (const Json& param : params) {
    const std::string type = param["type"].get<std::string>();
    std::string unit = param["unit"].get<std::string>();
    if (param.contains("choices")) {
      unit = fmt::format("{}", fmt::join(param["choices"].get<std::vector<std::string>>(), "|"));
    }
    table.add_row({param["name"].get<std::string>(), text_of(param["default_prototype"]),
                   text_of(param["default_direct"]), unit.empty() ? type : unit, param["doc"].get<std::string>(),
                   param["source"].get<std::string>()});
  }
  fmt::print("{}", table.to_text());
}

void print_names(const Json& list) {
  TextTable table({"name", "what"});
  for (const Json& item : list) table.add_row({item["name"].get<std::string>(), item["doc"].get<std::string>()});
  fmt::print("{}", table.to_text());
}

void write_new(const SystemsOptions& options, const Environment& environment) {
  const std::filesystem::path out = options.out.empty() ? options.new_name : options.out;
  for (const std::filesystem::path& file : write_new_system(options.new_name, out, environment.home)) {
    fmt::print("wrote {}\n", file.string());
  }
  fmt::print(
      "\nOutside the tree:  cmake -S {0} -B {0}/build && cmake --build {0}/build\n"
      "                   reprefill --plugin {0}/build/lib{1}.so sweep {0}/{1}.json\n"
      "Inside the tree:   {1}.cpp to core/pipeline/systems and into core/pipeline/CMakeLists.txt; its test to "
      "tests/sim/machines\n"
      "                   core/pipeline/system_entry.hpp:  SystemEntry {1}_entry();\n"
      "                   core/pipeline/registry.cpp:      {1}_entry()\n"
      "docs/add-a-system.md goes through one step by step.\n",
      out.string(), options.new_name);
}

void run(const SystemsOptions& options, const Environment& environment) {
  if (!options.new_name.empty()) {
    write_new(options, environment);
    return;
  }
  if (!options.name.empty()) {
    const Json name = options.name;
    const Json json = system_json(pipeline::find_system(JsonValue(name, "reprefill systems")));
    if (options.json) {
      fmt::print("{}\n", json.dump(2));
      return;
    }
    fmt::print("{}: {}\n\n", json["name"].get<std::string>(), json["doc"].get<std::string>());
    print_params(json["params"]);
    return;
  }
  const Json json = everything();
  if (options.json) {
    fmt::print("{}\n", json.dump(2));
    return;
  }
  for (const auto& [key, title] :
       {std::pair{"systems", "Systems (reprefill systems NAME shows parameters)"},
        std::pair{"cache_policies", "Cache policies (cache_policy)"}, std::pair{"scorers", "Scorers"},
        std::pair{"importance_presets", "Importance presets (importance.preset)"}}) {
    fmt::print("{}\n", title);
    print_names(json[key]);
    fmt::print("\n");
  }
  fmt::print("Software path (software_path)\n");
  print_params(json["software_path"]);
}

}  // namespace

void add_systems(CLI::App& app, const Environment& environment) {
  auto options = std::make_shared<SystemsOptions>();
  CLI::App* verb = app.add_subcommand("systems", "List systems, cache policies, scorers and their parameters");
  CLI::Option* name = verb->add_option("name", options->name, "Show one system's parameters");
  CLI::Option* created = verb->add_option("--new", options->new_name,
                                          "Write a system, its test and a scenario to start from, under this name")
                             ->excludes(name);
  verb->add_option("--out", options->out, "Folder for the files of --new (default: the name)")->needs(created);
  verb->add_flag("--json", options->json, "Machine-readable");
  verb->callback([options, environment] { run(*options, environment); });
}

}  // namespace reprefill::cli
