#include "worker/examined_cache.hpp"

#include <algorithm>
#include <fstream>
#include <iterator>
#include <nlohmann/json.hpp>
#include <stdexcept>
#include <system_error>

namespace cuda_nspawn {

namespace fs = std::filesystem;

namespace {
// Another program finds other things.
constexpr const char* version = CUDA_NSPAWN_VERSION "-1";
}  // namespace

std::optional<Examined> ExaminedCache::find(const std::string& machine, const std::string& image,
                                            const GuestTree& tree) const {
    std::ifstream stream(file_of(machine), std::ios::binary);
    const std::string text(std::istreambuf_iterator<char>(stream), {});
    try {
        const nlohmann::json json = nlohmann::json::parse(text);
        if (json.at("version") != version || json.at("image") != image) return std::nullopt;
        if (json.at("stamp") != stamp_of(tree, json.at("paths").get<std::vector<std::string>>())) return std::nullopt;
        return parse_examined(json.at("examined").get<std::string>());
    } catch (const nlohmann::json::exception&) {
        return std::nullopt;  // there is none, or it is of no use
    } catch (const std::runtime_error&) {
        return std::nullopt;
    }
}

void ExaminedCache::keep(const std::string& machine, const Examined& examined, const RecordingTree& asked) const {
    const nlohmann::json json{{"version", version},
                              {"image", examined.path},
                              {"paths", asked.paths()},
                              {"stamp", asked.stamp()},
                              {"examined", to_json(examined)}};
    const fs::path place = file_of(machine);
    const fs::path next = place.native() + ".new";
    std::ofstream stream(next, std::ios::binary | std::ios::trunc);
    stream << json.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
    stream.close();
    std::error_code ignored;
    if (stream) fs::rename(next, place, ignored);
}

void ExaminedCache::forget_others(const std::vector<std::string>& machines) const {
    std::error_code ignored;
    for (fs::directory_iterator entry(directory_, ignored), end; entry != end; entry.increment(ignored))
        if (std::ranges::find(machines, entry->path().stem().native()) == machines.end())
            fs::remove(entry->path(), ignored);
}

}  // namespace cuda_nspawn
