#include "ctl/journal.hpp"

#include <fmt/format.h>
#include <systemd/sd-journal.h>

#include <algorithm>
#include <charconv>
#include <memory>

#include "ctl/terminal.hpp"
#include "plan/plan.hpp"

namespace cuda_nspawn::ctl {

namespace {

struct Close {
    void operator()(sd_journal* journal) const { sd_journal_close(journal); }
};

// Fields of a journal are anybody's to write but for those that begin with "_".
bool match_machine(sd_journal* journal, const std::string& machine) {
    const auto match = [&](const std::string& field) {
        return sd_journal_add_match(journal, field.data(), field.size()) >= 0;
    };
    const std::string unit = our_unit(machine);
    return match("CUDA_NSPAWN_MACHINE=" + machine) && match("_UID=0") && sd_journal_add_disjunction(journal) >= 0 &&
           match("_SYSTEMD_UNIT=" + unit) && match("_UID=0") && sd_journal_add_disjunction(journal) >= 0 &&
           match("UNIT=" + unit) && match("_PID=1");
}

std::string field(sd_journal* journal, const char* name) {
    const void* data = nullptr;
    std::size_t size = 0;
    if (sd_journal_get_data(journal, name, &data, &size) < 0) return "";
    const std::string_view text(static_cast<const char*>(data), size);
    return harmless(text.substr(text.find('=') + 1));
}

JournalLine line_at(sd_journal* journal) {
    JournalLine line{.identifier = field(journal, "SYSLOG_IDENTIFIER"),
                     .pid = field(journal, "_PID"),
                     .message = field(journal, "MESSAGE")};
    sd_journal_get_realtime_usec(journal, &line.usec);
    const std::string priority = field(journal, "PRIORITY");
    std::from_chars(priority.data(), priority.data() + priority.size(), line.priority);
    return line;
}

}  // namespace

std::vector<JournalLine> last_journal_lines(const std::string& machine, std::size_t most) {
    std::vector<JournalLine> lines;
    sd_journal* opened = nullptr;
    if (most == 0 || sd_journal_open(&opened, SD_JOURNAL_LOCAL_ONLY | SD_JOURNAL_SYSTEM) < 0) return lines;
    const std::unique_ptr<sd_journal, Close> journal(opened);
    if (!match_machine(opened, machine) || sd_journal_seek_tail(opened) < 0) return lines;
    while (lines.size() < most && sd_journal_previous(opened) > 0) lines.push_back(line_at(opened));
    std::ranges::reverse(lines);
    return lines;
}

}  // namespace cuda_nspawn::ctl
