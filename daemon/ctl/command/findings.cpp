#include "ctl/command/findings.hpp"

#include <algorithm>

namespace cuda_nspawn::ctl {

Json findings_json(const Value& findings) {
    auto list = Json::array();
    for (const Value& finding : findings)
        list.push_back({{"code", finding.at(0)},
                        {"severity", finding.at(1)},
                        {"text", finding.at(2)},
                        {"evidence", finding.at(3)},
                        {"where", finding.at(4)},
                        {"fix", finding.at(5)},
                        {"explains", finding.at(6)},
                        {"documentation", finding.at(7)}});
    return list;
}

bool has_error(const Json& findings) {
    return std::ranges::any_of(findings, [](const Json& finding) { return finding["severity"] == "error"; });
}

}  // namespace cuda_nspawn::ctl
