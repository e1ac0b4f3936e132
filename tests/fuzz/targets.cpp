#include "targets.hpp"

#include <cstdio>
#include <cstdlib>

#include "guest/printable.hpp"

namespace cuda_nspawn::fuzz {

// What an admin writes, and names.
void fuzz_policy(std::string_view);
void fuzz_defaults(std::string_view);
void fuzz_names(std::string_view);
void fuzz_settings(std::string_view);
void fuzz_exec_start(std::string_view);
// What a guest has on its disk.
void fuzz_guest(std::string_view);
void fuzz_environment(std::string_view);
void fuzz_elf(std::string_view);
void fuzz_ld_cache(std::string_view);
// What a guest says.
void fuzz_self_test(std::string_view);
void fuzz_setup_state(std::string_view);
void fuzz_proc_text(std::string_view);
void fuzz_printable(std::string_view);
// What the host has.
void fuzz_kernel_side(std::string_view);
void fuzz_kernel_log(std::string_view);
void fuzz_uevent(std::string_view);
void fuzz_manifest(std::string_view);
void fuzz_icd(std::string_view);
// What daemon and workers write to each other.
void fuzz_requests(std::string_view);
void fuzz_reports(std::string_view);

const std::map<std::string, Target, std::less<>>& targets() {
    static const std::map<std::string, Target, std::less<>> all{
        {"policy", fuzz_policy},
        {"defaults", fuzz_defaults},
        {"names", fuzz_names},
        {"settings", fuzz_settings},
        {"exec-start", fuzz_exec_start},
        {"guest", fuzz_guest},
        {"environment", fuzz_environment},
        {"elf", fuzz_elf},
        {"ld-cache", fuzz_ld_cache},
        {"self-test", fuzz_self_test},
        {"setup-state", fuzz_setup_state},
        {"proc-text", fuzz_proc_text},
        {"printable", fuzz_printable},
        {"kernel-side", fuzz_kernel_side},
        {"kernel-log", fuzz_kernel_log},
        {"uevent", fuzz_uevent},
        {"manifest", fuzz_manifest},
        {"icd", fuzz_icd},
        {"requests", fuzz_requests},
        {"reports", fuzz_reports},
    };
    return all;
}

void require(bool kept, std::string_view promise) {
    if (kept) return;
    std::fprintf(stderr, "broken promise: %.*s\n", static_cast<int>(promise.size()), promise.data());
    std::abort();
}

void require_printable(std::string_view text, std::string_view what) {
    require(printable(text, text.size()) == text, what);
}

std::string_view take_part(std::string_view& text) {
    std::size_t begin = 0;
    while (begin < text.size()) {
        const std::size_t end = std::min(text.find('\n', begin), text.size());
        if (text.substr(begin, end - begin) == "--") {
            const std::string_view part = text.substr(0, begin);
            text.remove_prefix(std::min(end + 1, text.size()));
            return part;
        }
        begin = end + 1;
    }
    const std::string_view part = text;
    text = {};
    return part;
}

}  // namespace cuda_nspawn::fuzz
