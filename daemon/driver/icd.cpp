#include "driver/icd.hpp"

#include <nlohmann/json.hpp>

#include "driver/host_tree.hpp"

namespace cuda_nspawn {
namespace {

using Json = nlohmann::ordered_json;

constexpr int max_depth = 8;  // the real ones have two or three levels

// Notes the library and cuts its path; whether there was something to cut.
bool take_library(std::string& path, std::vector<std::string>& libraries) {
    std::string name(file_name(path));
    const bool cut = name != path;
    path = name;
    libraries.push_back(std::move(name));
    return cut;
}

bool take_libraries(Json& value, int depth, std::vector<std::string>& libraries) {
    bool cut = false;
    if (depth > max_depth || !value.is_structured()) return false;
    for (auto& [key, member] : value.items()) {
        if (value.is_object() && key == "library_path" && member.is_string())
            cut |= take_library(member.get_ref<std::string&>(), libraries);
        else
            cut |= take_libraries(member, depth + 1, libraries);
    }
    return cut;
}

}  // namespace

std::optional<IcdFile> parse_icd_json(std::string_view text) {
    Json json = Json::parse(text, nullptr, false, true);
    if (json.is_discarded()) return std::nullopt;
    IcdFile icd;
    const bool cut = take_libraries(json, 0, icd.libraries);
    if (icd.libraries.empty()) return std::nullopt;
    if (cut) icd.relative_text = json.dump(4, ' ', false, Json::error_handler_t::replace) + "\n";
    return icd;
}

std::optional<IcdFile> parse_opencl_icd(std::string_view text) {
    std::string path(text.substr(0, text.find_first_of("\r\n")));
    if (path.empty()) return std::nullopt;
    IcdFile icd;
    if (take_library(path, icd.libraries)) icd.relative_text = path + "\n";
    return icd;
}

}  // namespace cuda_nspawn
