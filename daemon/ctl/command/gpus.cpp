// cuda-nspawnctl gpus
#include <fmt/format.h>

#include <algorithm>

#include "ctl/command/commands.hpp"
#include "ctl/output.hpp"
#include "ctl/show.hpp"

namespace cuda_nspawn::ctl {

namespace {

bool is_named(const Json& gpu, const std::string& word) {
    return gpu["uuid"] == word || gpu["pci_address"] == word || word == fmt::format("{}", gpu["index"].get<unsigned>());
}

std::vector<Json> in_order(const Objects& objects) {
    std::vector<Json> gpus;
    for (const auto& [path, gpu] : objects.all("Gpu")) gpus.push_back(gpu_json(*gpu));
    std::ranges::sort(gpus, {}, [](const Json& gpu) { return gpu["index"].get<unsigned>(); });
    return gpus;
}

// Those that are named; all if none is.
Json wanted(const std::vector<Json>& gpus, const std::vector<std::string>& words) {
    auto list = Json::array();
    for (const Json& gpu : gpus)
        if (words.empty() || std::ranges::any_of(words, [&](const std::string& word) { return is_named(gpu, word); }))
            list.push_back(gpu);
    return list;
}

}  // namespace

int gpus(const Arguments& arguments) {
    Bus bus;
    const std::vector<Json> all = in_order(get_objects(bus));
    int status = 0;
    for (const std::string& word : arguments.words)
        if (std::ranges::none_of(all, [&](const Json& gpu) { return is_named(gpu, word); })) {
            fmt::print(stderr, "This host has no GPU \"{}\". cuda-nspawnctl gpus shows all.\n", harmless(word));
            status = 1;
        }
    const Json list = wanted(all, arguments.words);
    if (print_json(arguments, list)) return status;
    Table table({"INDEX", "MINOR", "PCI ADDRESS", "MODEL", "UUID", "MACHINES"}, {0, 1});
    for (const Json& gpu : list) {
        const std::string uuid = gpu["uuid"];
        const std::string machines = joined(gpu["machines"]);
        table.add({{fmt::format("{}", gpu["index"].get<unsigned>())},
                   {fmt::format("{}", gpu["minor"].get<unsigned>())},
                   {gpu["pci_address"].get<std::string>()},
                   {harmless(gpu["model"].get<std::string>())},
                   {uuid.empty() ? "-" : uuid},
                   {machines.empty() ? "-" : machines}});
    }
    print_table(arguments, table, table.size() == 1 ? "1 GPU." : fmt::format("{} GPUs.", table.size()));
    return status;
}

}  // namespace cuda_nspawn::ctl
