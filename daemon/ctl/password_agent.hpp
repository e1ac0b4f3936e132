// Who asks for the password when polkit wants one, at a terminal: pkttyagent(1), as systemctl has it do.
#pragma once

#include <sys/types.h>

namespace cuda_nspawn::ctl {

class PasswordAgent {
public:
    // Starts it, if `wanted`, the caller is not root, and there is a terminal to ask at; what is missing is no error.
    explicit PasswordAgent(bool wanted);
    ~PasswordAgent();  // ends it
    PasswordAgent(const PasswordAgent&) = delete;

private:
    pid_t pid_ = 0;
};

}  // namespace cuda_nspawn::ctl
