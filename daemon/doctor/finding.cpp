#include "doctor/finding.hpp"

namespace cuda_nspawn {

std::string_view to_string(FindingSeverity value) {
    switch (value) {
        case FindingSeverity::error:
            return "error";
        case FindingSeverity::warning:
            return "warning";
        case FindingSeverity::info:
            return "info";
    }
    return "unknown";
}

std::string_view to_string(FixPlace value) {
    switch (value) {
        case FixPlace::none:
            return "";
        case FixPlace::host:
            return "host";
        case FixPlace::machine:
            return "machine";
        case FixPlace::policy:
            return "policy";
    }
    return "unknown";
}

}  // namespace cuda_nspawn
