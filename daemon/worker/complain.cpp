#include "worker/complain.hpp"

#include <fmt/format.h>
#include <sys/uio.h>

#define SD_JOURNAL_SUPPRESS_LOCATION
#include <systemd/sd-journal.h>

#include <cstdio>
#include <cstdlib>
#include <string>
#include <vector>

namespace cuda_nspawn {

void complain(const Message& message) {
    if (std::getenv("JOURNAL_STREAM") == nullptr)  // systemd.exec(5)
        return fmt::print(stderr, "{}\n", line_of(message.machine, message.text));
    std::vector<std::string> fields = journal_fields(message);
    std::vector<iovec> parts;
    for (std::string& field : fields) parts.push_back({field.data(), field.size()});
    sd_journal_sendv(parts.data(), static_cast<int>(parts.size()));
}

}  // namespace cuda_nspawn
