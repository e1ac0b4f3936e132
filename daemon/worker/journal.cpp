#include "worker/journal.hpp"

#include <fmt/format.h>
#include <systemd/sd-id128.h>
#include <systemd/sd-journal.h>

#include <algorithm>
#include <chrono>
#include <memory>
#include <optional>

namespace cuda_nspawn {

namespace {

constexpr std::size_t most_entries = 20'000;  // that are looked at
constexpr auto longest = std::chrono::milliseconds(1500);

struct Close {
    void operator()(sd_journal* journal) const { sd_journal_close(journal); }
};
using Journal = std::unique_ptr<sd_journal, Close>;

Journal open_journal() {
    sd_journal* journal = nullptr;
    if (sd_journal_open(&journal, SD_JOURNAL_LOCAL_ONLY | SD_JOURNAL_SYSTEM) < 0) return nullptr;
    return Journal(journal);
}

bool match(sd_journal* journal, const std::string& field) {
    return sd_journal_add_match(journal, field.data(), field.size()) >= 0;
}

std::optional<std::string> field(sd_journal* journal, const char* name) {
    const void* data = nullptr;
    std::size_t size = 0;
    if (sd_journal_get_data(journal, name, &data, &size) < 0) return std::nullopt;
    const std::string_view text(static_cast<const char*>(data), size);
    return std::string(text.substr(text.find('=') + 1));
}

// The latest that match, from the last backwards; `take` says whether to go on.
void read_backwards(sd_journal* journal, const std::function<bool()>& take) {
    const auto deadline = std::chrono::steady_clock::now() + longest;
    if (sd_journal_seek_tail(journal) < 0) return;
    for (std::size_t entries = 0; entries < most_entries; ++entries) {
        if (sd_journal_previous(journal) <= 0 || std::chrono::steady_clock::now() > deadline || !take()) return;
    }
}

}  // namespace

std::vector<std::string> read_kernel_log(std::size_t most, const std::function<bool(std::string_view)>& is_wanted) {
    const Journal journal = open_journal();
    sd_id128_t boot{};
    std::vector<std::string> lines;
    if (!journal || sd_id128_get_boot(&boot) < 0) return lines;
    char text[SD_ID128_STRING_MAX];
    if (!match(journal.get(), "_TRANSPORT=kernel") ||
        !match(journal.get(), fmt::format("_BOOT_ID={}", sd_id128_to_string(boot, text))))
        return lines;
    read_backwards(journal.get(), [&] {
        auto message = field(journal.get(), "MESSAGE");
        if (message && is_wanted(*message)) lines.push_back(std::move(*message));
        return lines.size() < most;
    });
    std::ranges::reverse(lines);
    return lines;
}

std::vector<std::string> read_unit_log(const std::string& unit, std::size_t most) {
    const Journal journal = open_journal();
    std::vector<std::string> lines;
    // By nspawn itself, or by PID 1 on how it ended.
    if (!journal || !match(journal.get(), fmt::format("_SYSTEMD_UNIT={}", unit)) ||
        !match(journal.get(), "SYSLOG_IDENTIFIER=systemd-nspawn") || sd_journal_add_disjunction(journal.get()) < 0 ||
        !match(journal.get(), fmt::format("UNIT={}", unit)) || !match(journal.get(), "_PID=1"))
        return lines;
    std::optional<std::string> run;
    read_backwards(journal.get(), [&] {
        const bool is_of_pid1 = field(journal.get(), "UNIT").has_value();  // PID 1's
        const auto invocation = field(journal.get(), is_of_pid1 ? "INVOCATION_ID" : "_SYSTEMD_INVOCATION_ID");
        if (!run) run = invocation;
        if (run != invocation) return false;
        auto message = field(journal.get(), "MESSAGE");
        const bool tells = is_of_pid1 ? message && message->find(": Main process exited") != std::string::npos
                                      : field(journal.get(), "CODE_FILE").has_value();
        if (message && tells) lines.push_back(std::move(*message));
        return lines.size() < most;
    });
    std::ranges::reverse(lines);
    return lines;
}

}  // namespace cuda_nspawn
