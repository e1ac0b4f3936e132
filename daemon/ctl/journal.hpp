// What the host's journal has about a machine.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

namespace cuda_nspawn::ctl {

struct JournalLine {
    std::uint64_t usec = 0;  // CLOCK_REALTIME
    std::string identifier;  // "cuda-nspawnd"
    std::string pid;
    unsigned priority = 6;  // syslog's: 3 error, 4 warning, 5 notice, 6 information
    std::string message;    // without control characters
};

// The last that daemon and workers wrote about it (CUDA_NSPAWN_MACHINE=), and that its unit cuda-nspawn@NAME.service
// and systemd about that unit did; only what root's processes wrote counts. The oldest first. Empty also for a caller
// who may not read the journal.
std::vector<JournalLine> last_journal_lines(const std::string& machine, std::size_t most);

}  // namespace cuda_nspawn::ctl
