// cuda-nspawnctl gpus
#include <fmt/format.h>

#include <algorithm>

#include "ctl/command/commands.hpp"
#include "ctl/output.hpp"
#include "ctl/show.hpp"
#include "policy/gpu_selector.hpp"

namespace cuda_nspawn::ctl {

namespace {

// A word is what a policy may have, in any of its forms.
bool is_named(const Value& gpu, const std::string& word) {
    const auto parsed = parse_gpu_selector(word);
    const auto* selector = std::get_if<GpuSelector>(&parsed);
    return selector != nullptr && selects(*selector, gpu);
}

std::vector<const Value*> in_order(const Objects& objects) {
    std::vector<const Value*> gpus;
    for (const auto& [path, gpu] : objects.all("Gpu")) gpus.push_back(gpu);
    std::ranges::sort(gpus, {}, [](const Value* gpu) { return gpu->at("Index").get<unsigned>(); });
    return gpus;
}

// Those that are named; all if none is.
Json wanted(const std::vector<const Value*>& gpus, const std::vector<std::string>& words) {
    auto list = Json::array();
    for (const Value* gpu : gpus)
        if (words.empty() || std::ranges::any_of(words, [&](const std::string& word) { return is_named(*gpu, word); }))
            list.push_back(gpu_json(*gpu));
    return list;
}

}  // namespace

int gpus(const Arguments& arguments) {
    Bus bus;
    const Objects objects = get_objects(bus);
    const std::vector<const Value*> all = in_order(objects);
    int status = 0;
    for (const std::string& word : arguments.words)
        if (std::ranges::none_of(all, [&](const Value* gpu) { return is_named(*gpu, word); })) {
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
