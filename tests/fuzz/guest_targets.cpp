// What a guest has on its disk, and what its programs and its kernel's files say.
#include <algorithm>
#include <string>
#include <variant>
#include <vector>

#include "elf/elf.hpp"
#include "elf/ld_cache.hpp"
#include "guest/bounded_tree.hpp"
#include "guest/environment_text.hpp"
#include "guest/guest.hpp"
#include "guest/os_release.hpp"
#include "guest/printable.hpp"
#include "guest/self_test_report.hpp"
#include "guest/software.hpp"
#include "guest/unit_files.hpp"
#include "guest/verdict.hpp"
#include "guest_tree.hpp"
#include "policy/text_check.hpp"
#include "targets.hpp"
#include "worker/enter_protocol.hpp"
#include "worker/proc_text.hpp"

namespace cuda_nspawn::fuzz {

// A whole root file system, and a program in it.
void fuzz_guest(std::string_view text) {
    const TextTree files(text);
    const BoundedTree tree(files);
    const Guest guest = examine_guest(tree);
    require_printable(guest.os_name, "the guest's name can be shown");
    require(guest.os_name.size() <= 128, "the guest's name is short");
    require_printable(guest.libc_version, "its libc's version can be shown");
    for (const std::string& warning : guest_warnings(guest)) require_printable(warning, "a warning can be shown");
    if (const auto problem = guest_problem(guest, "x86-64")) require_printable(*problem, "a problem can be shown");
    const GuestSoftware software = examine_software(tree, guest);
    for (const EnvironmentSetting& setting : software.environment) {
        require_printable(setting.value, "a variable can be shown");
        require_printable(setting.file, "a file's name can be shown");
    }
    for (const CudaPackage& package : software.packages) require_printable(package.name, "a package can be shown");
    for (const BundledLibrary& library : software.libraries) require_printable(library.path, "a path can be shown");
    for (const std::string& note : software.notes) require_printable(note, "a note can be shown");
    const Program program = examine_program(tree, guest, software, "/opt/program", std::nullopt);
    for (const LoadedLibrary& library : program.libraries)
        require_printable(library.name, "a library's name can be shown");
}

void fuzz_environment(std::string_view text) {
    constexpr std::size_t longest_value = 1024;
    for (const auto& assignments : {shell_assignments(text), environment_file_assignments(text), pam_assignments(text),
                                    unit_assignments(1, text)})
        for (const Assignment& one : assignments) {
            require(decides_on_cuda(one.name), "only what decides on CUDA is told");
            require(one.value.size() <= longest_value, "a value is short");
            require_printable(one.value, "a value can be shown");
        }
    for (const std::string& directory : library_path_directories(text))
        require(directory.starts_with('/'), "a directory is an absolute path");
    logical_lines(text);
    parse_unit(text, "Service");
    parse_os_release(text);
    std::string_view rest = text;
    for (int words = 0; !rest.empty() && words < 1000; ++words) {
        const std::size_t before = rest.size();
        take_word(rest, " \t\n;");
        if (rest.size() == before) rest.remove_prefix(1);
    }
}

void fuzz_elf(std::string_view text) {
    const TextBytes bytes(text);
    const auto result = read_elf(bytes);
    if (const auto* file = std::get_if<ElfFile>(&result)) require(file->needed.size() <= 256, "few needed libraries");
    for (const char c : needed_glibc(bytes)) require((c >= '0' && c <= '9') || c == '.', "a version is a number");
    if (const auto note = read_note(bytes, ".note.cuda.fwd_compatibility", "NVIDIA Corporation"))
        require(note->size() <= text.size(), "a note is a part of the file");
}

void fuzz_ld_cache(std::string_view text) {
    const std::string copy(text);
    const auto entries = parse_ld_cache(copy);
    if (!entries) return;
    const auto lies_within = [&](std::string_view part) {
        return part.empty() || (part.data() >= copy.data() && part.data() + part.size() <= copy.data() + copy.size());
    };
    for (const LdCacheEntry& entry : *entries)
        require(lies_within(entry.name) && lies_within(entry.path), "an entry lies within the cache");
}

// Whatever a guest prints: a verdict that can be shown, and none that passed without the GPUs that were granted.
void fuzz_self_test(std::string_view text) {
    const std::string granted = "GPU-3f8e2a61-5c47-4b0d-9e12-7a6c0d4f1b28";
    for (const TestEnd end : {TestEnd::exited, TestEnd::timed_out, TestEnd::flooded, TestEnd::killed}) {
        const Verdict verdict = judge({end, 0, std::string(text), "", 1.0}, {granted});
        require(verdict.checks.size() <= 64, "few checks");
        require_printable(verdict.summary, "a summary can be shown");
        require(verdict.summary.find('\n') == std::string::npos, "a summary is one line");
        for (const Check& check : verdict.checks) {
            require(check.name.size() <= 32 && check.detail.size() <= 512, "a check is short");
            require_printable(check.detail, "a check can be shown");
        }
        if (verdict.result != VerdictResult::passed) continue;
        require(end == TestEnd::exited, "only a test that ended passes");
        require(verdict.gpu_uuids == std::vector{granted}, "only the granted GPUs pass");
        require(parse_self_test(text).ended, "only a whole report passes");
        for (const Check& check : verdict.checks)
            require(check.result != CheckResult::failed, "no check that failed passes");
    }
}

void fuzz_setup_state(std::string_view text) {
    const auto state = parse_setup_state(text);
    if (!state) return;
    for (const std::string& note : state->notes) require_printable(note, "a note can be shown");
    for (const std::string& error : state->errors) require_printable(error, "an error can be shown");
    const std::string line = setup_check_line(*state, 1.0);
    require(line.find('\n') == line.size() - 1 || line.find('\n') == std::string::npos, "its check is one line");
}

void fuzz_proc_text(std::string_view text) {
    shows_our_mounts(text, 42);
    root_in_map(text);
    require(status_field(text, "NSpid").size() <= text.size(), "a field is a part of the file");
    require(unified_cgroup(text).find('\n') == std::string::npos, "a cgroup is one line");
}

void fuzz_printable(std::string_view text) {
    for (const std::size_t limit : {std::size_t{0}, std::size_t{3}, std::size_t{16}, std::size_t{512}}) {
        const std::string shown = printable(text, limit);
        require(shown.size() <= limit, "what is shown is short");
        require(!find_invalid_utf8(shown), "what is shown is UTF-8");
        for (const unsigned char c : shown) require(c >= 0x20 && c != 0x7f, "what is shown has no control characters");
        require(printable(shown, limit) == shown, "what can be shown stays as it is");
    }
}

}  // namespace cuda_nspawn::fuzz
